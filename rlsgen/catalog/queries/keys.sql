-- Never a secret: when keys were made, and on which cluster.
SELECT 'signing', k.kid, k.created_at, k.retired_at IS NOT NULL, k.system_identifier
FROM rlsgen_private.signing_key AS k
UNION ALL
SELECT 'seal', '', k.created_at, false, k.system_identifier
FROM rlsgen_private.seal_key AS k
ORDER BY 1, 2
