SELECT d.defaclrole, n.nspname, d.defaclobjtype, entry.grantee, entry.privilege_type, entry.grantor, entry.is_grantable
FROM pg_default_acl AS d
LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
CROSS JOIN aclexplode(d.defaclacl) AS entry
