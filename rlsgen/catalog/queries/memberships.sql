-- PostgreSQL 16 keeps inherit_option and set_option by grant, and one member may hold several grants of a role; before 16 the
-- columns do not exist, the member's own INHERIT counts, and SET ROLE is always allowed.
SELECT
    m.roleid,
    m.member,
    bool_or(coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit)),
    bool_or(coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))
FROM pg_auth_members AS m
JOIN pg_roles AS r ON r.oid = m.member
GROUP BY m.roleid, m.member
