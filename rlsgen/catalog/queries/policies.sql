-- A policy that is dropped while this runs has no expression any more: '' then, which equals nothing that was ever made.
SELECT
    p.polrelid,
    p.polname,
    p.polcmd,
    p.polpermissive,
    p.polroles::text,
    CASE WHEN p.polqual IS NOT NULL THEN coalesce(pg_get_expr(p.polqual, p.polrelid), '') END,
    CASE WHEN p.polwithcheck IS NOT NULL THEN coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') END
FROM pg_policy AS p
ORDER BY p.polrelid, p.polname
