-- Everything by which a session changes what pg_get_expr, format_type and their kin show, fixed for this transaction; the
-- planner kept from compiling queries that run once; memory for hashing what a large catalog has.
SELECT pg_catalog.set_config(setting.name, setting.value, true)
FROM (
    VALUES
    ('search_path', 'pg_catalog, pg_temp'),
    ('client_encoding', 'UTF8'),
    ('quote_all_identifiers', 'off'),
    ('standard_conforming_strings', 'on'),
    ('DateStyle', 'ISO, YMD'),
    ('IntervalStyle', 'postgres'),
    ('TimeZone', 'UTC'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex'),
    ('lc_monetary', 'C'),
    ('jit', 'off'),
    ('work_mem', '64MB')
) AS setting (name, value)
