-- What came with Postgres 16 to 18.
SELECT any_value(status) IS NOT NULL FROM orders;
SELECT count(*) FROM (SELECT 1 FROM orders);
SELECT j.n FROM json_table('[{"n": 1}, {"n": 2}]'::jsonb, '$[*]' COLUMNS (i FOR ORDINALITY, n int PATH '$.n')) AS j ORDER BY 1;
SELECT json_value('{"a": 1}'::jsonb, '$.a' RETURNING int), json_query('{"a": [1]}'::jsonb, '$.a'), json_exists('{"a": 1}'::jsonb, '$.a');
SELECT json_object('a': 1, 'b': 2), json_array(1, 2, 3), json_arrayagg(id ORDER BY id), json_objectagg(id: name) FROM teams;
SELECT '1' IS JSON, '{"a": 1}' IS JSON OBJECT, json('{"a": 1}'), json_scalar(5), json_serialize('{}');
SELECT json_array(SELECT id FROM teams ORDER BY id);
SELECT array_sort(ARRAY[3, 1, 2]), array_reverse(ARRAY[1, 2]), casefold('Ä'), uuid_extract_version(uuidv7());
SELECT date_add(timestamptz '2024-01-01', interval '1 day', 'UTC'), random(1, 1), to_bin(5), to_oct(8);
SELECT 0x1F + 0b101 + 0o17 + 1_000;
