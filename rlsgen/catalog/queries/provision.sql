SELECT p.id::text, p.format, p.spec_hash, p.fingerprint, p.system_identifier, p.seal
FROM rlsgen.provision AS p
