-- Every shape of DESIGN.md §3, "What real schemas need", in one database, as its owner; nothing of rlsgen in it.
-- Organisations 1, 2, 3 have rows, in turn; 4 exists and has none.
CREATE SCHEMA billing;
CREATE SCHEMA "Odd. schema";
CREATE TYPE region AS ENUM ('north', 'south', 'we''st');
CREATE DOMAIN org_id AS integer CHECK (VALUE >= 0);
CREATE DOMAIN user_code AS varchar(21);

CREATE FUNCTION account(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT md5('account' || n)::uuid $$;
CREATE FUNCTION user_of(n integer) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'user_' || n $$;

-- The tenants themselves
CREATE TABLE organisations (id integer PRIMARY KEY, name text NOT NULL UNIQUE, account_id uuid NOT NULL UNIQUE);
INSERT INTO organisations SELECT n, 'organisation ' || n, account(n) FROM generate_series(1, 4) AS n;

-- Keys
CREATE TABLE k_integer (id integer PRIMARY KEY, organisation_id integer NOT NULL REFERENCES organisations, number integer UNIQUE);
CREATE TABLE k_smallint (id integer PRIMARY KEY, organisation_id smallint);
CREATE TABLE k_bigint (id bigint PRIMARY KEY, organisation_id bigint NOT NULL);
CREATE TABLE k_numeric (id bigint PRIMARY KEY, organisation_id numeric NOT NULL);
CREATE TABLE k_uuid (id uuid PRIMARY KEY, account_id uuid NOT NULL);
CREATE TABLE k_text (id integer PRIMARY KEY, user_id text NOT NULL);
CREATE TABLE k_varchar (id integer PRIMARY KEY, user_id varchar(21) NOT NULL);
CREATE TABLE k_char (id integer PRIMARY KEY, user_id char(12) NOT NULL);
CREATE TABLE k_enum (id integer PRIMARY KEY, region region NOT NULL);
CREATE TABLE k_domain (id integer PRIMARY KEY, organisation_id org_id NOT NULL);
CREATE TABLE k_domain_text (id integer PRIMARY KEY, user_id user_code NOT NULL);
CREATE TABLE k_uuid_as_text (id integer PRIMARY KEY, account_id text NOT NULL);
CREATE TABLE k_generated (
  id integer PRIMARY KEY, document jsonb NOT NULL,
  organisation_id integer GENERATED ALWAYS AS ((document ->> 'organisation')::integer) STORED
);
CREATE TABLE k_array (id integer PRIMARY KEY, organisation_ids integer[] NOT NULL);
CREATE TABLE k_array_bigint (id integer PRIMARY KEY, organisation_ids bigint[] NOT NULL);
CREATE TABLE k_array_varchar (id integer PRIMARY KEY, user_ids varchar(21)[] NOT NULL);
CREATE TABLE k_overlap (id integer PRIMARY KEY, project_ids bigint[] NOT NULL);
CREATE TABLE k_camel (id integer PRIMARY KEY, "tenantId" integer NOT NULL);
CREATE TABLE k_snake (id integer PRIMARY KEY, tenant_id integer NOT NULL);
CREATE TABLE teams (id integer PRIMARY KEY, organisation_id integer NOT NULL REFERENCES organisations);
CREATE TABLE k_three (
  id integer PRIMARY KEY, organisation_id integer, team_id integer NOT NULL REFERENCES teams, user_id text
);
CREATE TABLE k_either (id integer PRIMARY KEY, project_id bigint, namespace_id bigint);

INSERT INTO k_integer SELECT n, 1 + n % 3, n * 7 FROM generate_series(1, 12) AS n;
INSERT INTO k_smallint SELECT n, nullif(1 + n % 4, 4) FROM generate_series(1, 12) AS n;
INSERT INTO k_bigint SELECT n + 5000000000, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO k_numeric SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO k_uuid SELECT md5('k' || n)::uuid, account(1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_text SELECT n, user_of(1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_varchar SELECT n, user_of(1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_char SELECT n, user_of(1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_enum SELECT n, (ARRAY['north', 'south', 'we''st'])[1 + n % 3]::region FROM generate_series(1, 12) AS n;
INSERT INTO k_domain SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO k_domain_text SELECT n, user_of(1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_uuid_as_text SELECT n, account(1 + n % 3)::text FROM generate_series(1, 12) AS n;
INSERT INTO k_uuid_as_text VALUES (13, 'no uuid at all'), (14, '');
INSERT INTO k_generated SELECT n, jsonb_build_object('organisation', 1 + n % 3) FROM generate_series(1, 12) AS n;
INSERT INTO k_array SELECT n, ARRAY[1 + n % 3, 1 + n % 2] FROM generate_series(1, 12) AS n;
INSERT INTO k_array VALUES (13, '{}'), (14, '{NULL}');
INSERT INTO k_array_bigint SELECT n, ARRAY[1 + n % 3, 1 + n % 2] FROM generate_series(1, 12) AS n;
INSERT INTO k_array_varchar SELECT n, ARRAY[user_of(1 + n % 3), user_of(1 + n % 2)] FROM generate_series(1, 12) AS n;
INSERT INTO k_overlap SELECT n, ARRAY[n, n + 1] FROM generate_series(1, 12) AS n;
INSERT INTO k_camel SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO k_snake SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO teams SELECT n, 1 + n % 3 FROM generate_series(1, 6) AS n;
INSERT INTO k_three SELECT n, CASE n % 2 WHEN 0 THEN t.organisation_id END, t.id, user_of(1 + n % 4)
  FROM generate_series(1, 24) AS n JOIN teams AS t ON t.id = 1 + n % 6;
INSERT INTO k_either SELECT n, nullif(n % 5, 0), nullif(n % 7, 0) FROM generate_series(1, 35) AS n;

-- Rows that everyone reads and nobody writes, with children that follow
CREATE TABLE s_null (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, organisation_id integer, title text);
CREATE TABLE s_null_child (id serial PRIMARY KEY, parent_id integer NOT NULL, body text);
CREATE TABLE s_null_grandchild (id serial PRIMARY KEY, child_id integer NOT NULL, body text);
CREATE TABLE s_sentinel (id integer PRIMARY KEY, organisation_id integer NOT NULL, title text);
CREATE TABLE s_sentinel_child (id integer PRIMARY KEY, parent_id integer NOT NULL, body text);
INSERT INTO s_null SELECT n, nullif(n % 4, 0), 'title' FROM generate_series(1, 12) AS n;
SELECT setval(pg_get_serial_sequence('s_null', 'id'), 100);
INSERT INTO s_null_child (parent_id, body) SELECT 1 + n % 12, 'body' FROM generate_series(1, 24) AS n;
INSERT INTO s_null_grandchild (child_id, body) SELECT n, 'body' FROM generate_series(1, 24) AS n;
INSERT INTO s_sentinel SELECT n, n % 4, 'title' FROM generate_series(1, 12) AS n;
INSERT INTO s_sentinel_child SELECT n, 1 + n % 12, 'body' FROM generate_series(1, 24) AS n;

-- Names
CREATE TABLE "Order" ("Id" integer PRIMARY KEY, "organisation Id" integer NOT NULL);
CREATE TABLE "select" ("from" integer PRIMARY KEY, "user" integer NOT NULL);
CREATE TABLE "qu""ote" ("or""g" integer NOT NULL, "i'd" integer PRIMARY KEY);
CREATE TABLE "dot.ted" ("a.b" integer PRIMARY KEY, "c.d" integer NOT NULL);
CREATE TABLE "Odd. schema"."sp ace" (" id" integer PRIMARY KEY, "org id " integer NOT NULL);
CREATE TABLE "Odd. schema"."ünï☃" ("größe" integer PRIMARY KEY, "组织" integer NOT NULL);
CREATE TABLE "Odd. schema"."new
line; DROP TABLE organisations; --" ("i
d" integer PRIMARY KEY, "o
rg" integer NOT NULL, "$1{}%s" text);
CREATE TABLE "Odd. schema"."Line.Item" ("n-1" integer PRIMARY KEY, "order.id" integer NOT NULL);
CREATE TABLE billing.invoices (id integer PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE billing.teams (id integer PRIMARY KEY, organisation_id integer NOT NULL); -- the name again, elsewhere
INSERT INTO "Order" SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO "select" SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO "qu""ote" SELECT 1 + n % 3, n FROM generate_series(1, 12) AS n;
INSERT INTO "dot.ted" SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO "Odd. schema"."sp ace" SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO "Odd. schema"."ünï☃" SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO "Odd. schema"."new
line; DROP TABLE organisations; --" SELECT n, 1 + n % 3, 'x' FROM generate_series(1, 12) AS n;
INSERT INTO "Odd. schema"."Line.Item" SELECT n, 1 + n % 12 FROM generate_series(1, 24) AS n;
INSERT INTO billing.invoices SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO billing.teams SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;

-- Paths of one to four hops; uniqueness and foreign keys without the tenant's column
CREATE TABLE p_orders (id integer PRIMARY KEY, organisation_id integer NOT NULL, number integer UNIQUE);
CREATE TABLE p_items (id integer PRIMARY KEY, order_id integer NOT NULL REFERENCES p_orders, quantity integer);
CREATE TABLE p_notes (id integer PRIMARY KEY, item_id integer REFERENCES p_items, body text);
CREATE TABLE p_marks (id integer PRIMARY KEY, note_id integer NOT NULL REFERENCES p_notes);
CREATE TABLE p_pings (id integer PRIMARY KEY, mark_id integer NOT NULL);
CREATE TABLE p_readings (id bigint, at timestamptz, organisation_id integer NOT NULL, PRIMARY KEY (id, at));
CREATE TABLE p_values (id integer PRIMARY KEY, reading_id bigint, reading_at timestamptz);
CREATE TABLE p_envelopes (id integer PRIMARY KEY, organisation_id integer NOT NULL, document_meta_id integer NOT NULL);
CREATE TABLE p_document_meta (id integer PRIMARY KEY, subject text);
CREATE TABLE p_tags (id integer PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE p_order_tags (order_id integer, tag_id integer, PRIMARY KEY (order_id, tag_id));
CREATE TABLE p_order_tags_filtered (id integer PRIMARY KEY, order_id integer, user_id text);
CREATE TABLE p_text_ids (id text PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE p_bigint_to_text (id integer PRIMARY KEY, parent_id bigint);
CREATE TABLE p_bigint_ids (id bigint PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE p_integer_to_bigint (id integer PRIMARY KEY, parent_id integer);
CREATE TABLE p_text_to_bigint (id integer PRIMARY KEY, parent_id text);
CREATE TABLE p_uuid_ids (id uuid PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE p_text_to_uuid (id integer PRIMARY KEY, parent_id text);
CREATE TABLE p_self (id integer PRIMARY KEY, organisation_id integer NOT NULL, parent_id integer REFERENCES p_self);
CREATE TABLE p_self_child (id integer PRIMARY KEY, self_id integer NOT NULL);
CREATE TABLE h_secrets (id integer PRIMARY KEY, organisation_id integer, token text);
CREATE TABLE h_uses (id serial PRIMARY KEY, secret_id integer NOT NULL, body text);
CREATE TABLE h_box_members (id integer PRIMARY KEY, organisation_id integer NOT NULL, box_id integer NOT NULL);
CREATE TABLE h_boxes (id integer PRIMARY KEY, label text);
CREATE TABLE h_shelves (id integer PRIMARY KEY, box_id integer);
CREATE TABLE h_books (id integer PRIMARY KEY, shelf_id integer);
CREATE TABLE h_codes (label integer PRIMARY KEY, organisation_id integer NOT NULL, code text UNIQUE);
CREATE TABLE h_code_uses (id integer PRIMARY KEY, code text);

INSERT INTO p_orders SELECT n, 1 + n % 3, n FROM generate_series(1, 12) AS n;
INSERT INTO p_items SELECT n, 1 + n % 12, n FROM generate_series(1, 24) AS n;
INSERT INTO p_notes SELECT n, nullif(n % 25, 0), 'body' FROM generate_series(1, 50) AS n;
INSERT INTO p_marks SELECT n, n FROM generate_series(1, 50) AS n;
INSERT INTO p_pings SELECT n, n FROM generate_series(1, 60) AS n; -- ten of them lead nowhere
INSERT INTO p_readings SELECT n % 4, timestamptz '2026-01-01 00:00:00+00' + n * interval '1 hour', 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO p_values SELECT n, (n + 1) % 4, timestamptz '2026-01-01 00:00:00+00' + (1 + n % 14) * interval '1 hour' FROM generate_series(1, 42) AS n;
INSERT INTO p_envelopes SELECT n, 1 + n % 3, 100 + n / 2 FROM generate_series(1, 24) AS n;
INSERT INTO p_document_meta SELECT n, 'subject' FROM generate_series(100, 120) AS n;
INSERT INTO p_tags SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO p_order_tags SELECT o, t FROM generate_series(1, 12) AS o, generate_series(1, 12) AS t;
INSERT INTO p_order_tags_filtered SELECT n, 1 + n % 12, user_of(1 + n % 4) FROM generate_series(1, 48) AS n;
INSERT INTO p_text_ids SELECT n::text, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO p_text_ids VALUES ('not a number', 1), ('', 2), ('0012', 2);
INSERT INTO p_bigint_to_text SELECT n, n FROM generate_series(1, 20) AS n;
INSERT INTO p_bigint_ids SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO p_bigint_ids VALUES (5000000001, 1);
INSERT INTO p_integer_to_bigint SELECT n, n FROM generate_series(1, 20) AS n;
INSERT INTO p_text_to_bigint SELECT n, n::text FROM generate_series(1, 20) AS n;
INSERT INTO p_text_to_bigint VALUES (21, 'not a number'), (22, NULL), (23, '5000000001'), (24, '99999999999999999999');
INSERT INTO p_uuid_ids SELECT account(n), 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO p_text_to_uuid SELECT n, account(n)::text FROM generate_series(1, 15) AS n;
INSERT INTO p_text_to_uuid VALUES (16, 'no uuid'), (17, '');
INSERT INTO p_self VALUES (1, 1, NULL), (2, 1, 1), (3, 1, 2), (4, 2, NULL), (5, 2, 4), (6, 1, 5), (7, 1, 6), (8, 2, 3), (9, 3, NULL);
UPDATE p_self SET parent_id = 9 WHERE id = 9; -- its own parent: no topmost ancestor
INSERT INTO p_self_child SELECT n, 1 + n % 10 FROM generate_series(1, 20) AS n;
INSERT INTO h_secrets SELECT n, nullif(n % 4, 0), md5(n::text) FROM generate_series(1, 12) AS n;
INSERT INTO h_uses (secret_id, body) SELECT 1 + n % 12, 'body' FROM generate_series(1, 24) AS n;
INSERT INTO h_box_members SELECT n, 1 + n % 3, 1 + n % 8 FROM generate_series(1, 12) AS n;
INSERT INTO h_boxes SELECT n, 'box' FROM generate_series(1, 10) AS n;
INSERT INTO h_shelves SELECT n, 1 + n % 10 FROM generate_series(1, 20) AS n;
INSERT INTO h_books SELECT n, 1 + n % 20 FROM generate_series(1, 40) AS n;
INSERT INTO h_codes SELECT n, 1 + n % 3, 'code' || n FROM generate_series(1, 12) AS n;
INSERT INTO h_code_uses SELECT n, 'code' || 1 + n % 14 FROM generate_series(1, 28) AS n;

-- Filters with sub-queries; polymorphic owners
CREATE TABLE f_memberships (id integer PRIMARY KEY, organisation_id integer NOT NULL, user_id text NOT NULL);
CREATE TABLE f_users (id text PRIMARY KEY, email text, password_hash text);
CREATE TABLE f_attachments (id integer PRIMARY KEY, item_type text NOT NULL, item_id integer NOT NULL);
CREATE TABLE f_attachment_reads (id integer PRIMARY KEY, attachment_id integer NOT NULL);
CREATE TABLE f_countries (code text PRIMARY KEY, name text);
INSERT INTO f_memberships SELECT n, 1 + n % 3, user_of(n % 9) FROM generate_series(1, 12) AS n;
INSERT INTO f_users SELECT user_of(n), 'u' || n || '@example.org', md5(n::text) FROM generate_series(0, 12) AS n;
INSERT INTO f_attachments SELECT n, (ARRAY['Order', 'Invoice', 'Nothing'])[1 + n % 3], 1 + n % 12 FROM generate_series(1, 48) AS n;
INSERT INTO f_attachment_reads SELECT n, 1 + n % 48 FROM generate_series(1, 96) AS n;
INSERT INTO f_countries VALUES ('PT', 'Portugal'), ('NZ', 'New Zealand');

-- Written tables
CREATE TABLE w_notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL, body text);
CREATE TABLE w_templates (id integer PRIMARY KEY, organisation_id integer, title text);
CREATE TABLE w_items (id serial PRIMARY KEY, order_id integer NOT NULL, quantity integer);
CREATE TABLE w_folders (id integer PRIMARY KEY, organisation_id integer NOT NULL, parent_id integer);
INSERT INTO w_notes (user_id, body) SELECT user_of(1 + n % 3), 'body' FROM generate_series(1, 12) AS n;
INSERT INTO w_templates SELECT n, nullif(n % 4, 0), 'title' FROM generate_series(1, 12) AS n;
INSERT INTO w_items (order_id, quantity) SELECT 1 + n % 12, n FROM generate_series(1, 24) AS n;
INSERT INTO w_folders VALUES (1, 1, NULL), (2, 1, 1), (3, 2, NULL), (4, 2, 3), (5, 1, 3);

-- Partitions of several levels, inheritance
CREATE TABLE r_events (id integer, organisation_id integer NOT NULL, at date NOT NULL, kind text) PARTITION BY RANGE (at);
CREATE TABLE r_events_2025 PARTITION OF r_events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE r_events_2026 PARTITION OF r_events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (organisation_id);
CREATE TABLE r_events_2026_1 PARTITION OF r_events_2026 FOR VALUES IN (1);
CREATE TABLE r_events_2026_rest PARTITION OF r_events_2026 DEFAULT;
INSERT INTO r_events SELECT n, 1 + n % 3, date '2025-01-15' + n * 30, 'kind' FROM generate_series(0, 22) AS n;
CREATE TABLE r_event_tags (id integer PRIMARY KEY, event_id integer, event_at date);
INSERT INTO r_event_tags SELECT n, n % 25, date '2025-01-15' + n * 30 FROM generate_series(0, 22) AS n;
CREATE TABLE r_animals (id integer PRIMARY KEY, organisation_id integer NOT NULL);
CREATE TABLE r_dogs (breed text) INHERITS (r_animals);
CREATE TABLE r_puppies (weeks integer) INHERITS (r_dogs);
CREATE TABLE r_animal_visits (id integer PRIMARY KEY, animal_id integer);
INSERT INTO r_animals SELECT n, 1 + n % 3 FROM generate_series(1, 6) AS n;
INSERT INTO r_dogs SELECT n, 1 + n % 3, 'breed' FROM generate_series(4, 12) AS n; -- ids 4 to 6 twice
INSERT INTO r_puppies SELECT n, 1 + n % 3, 'breed', 3 FROM generate_series(13, 18) AS n;
INSERT INTO r_animal_visits SELECT n, 1 + n % 20 FROM generate_series(1, 40) AS n;

-- Views, materialized views
CREATE VIEW v_orders AS SELECT o.id, o.organisation_id, o.number FROM p_orders AS o;
CREATE VIEW v_totals AS SELECT v.organisation_id, count(*) AS orders, sum(i.quantity) AS quantity
  FROM v_orders AS v JOIN p_items AS i ON i.order_id = v.id GROUP BY v.organisation_id;
CREATE VIEW v_already WITH (security_invoker = on) AS SELECT id, organisation_id FROM p_tags;
CREATE VIEW "v Odd.view" WITH (security_barrier = true, security_invoker = false) AS SELECT " id" AS "I""d" FROM "Odd. schema"."sp ace";
CREATE VIEW v_everything AS SELECT * FROM k_integer;
CREATE VIEW v_hidden AS SELECT * FROM k_integer;
CREATE MATERIALIZED VIEW m_counts AS SELECT organisation_id, count(*) AS n FROM p_orders GROUP BY 1;
CREATE MATERIALIZED VIEW m_kinds AS SELECT DISTINCT kind FROM r_events;

-- Policies that are there already; service tables
CREATE TABLE x_kept (id integer PRIMARY KEY, organisation_id integer NOT NULL, deleted boolean NOT NULL);
ALTER TABLE x_kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY "not deleted" ON x_kept AS RESTRICTIVE FOR SELECT USING (NOT deleted);
CREATE POLICY "everybody reads" ON x_kept USING (true);
CREATE TABLE x_replaced (id integer PRIMARY KEY, organisation_id integer NOT NULL);
ALTER TABLE x_replaced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY "by setting; --" ON x_replaced TO PUBLIC
  USING (organisation_id = current_setting('app.current_organisation', true)::integer OR current_user = 'shop_owner')
  WITH CHECK (current_user = 'shop_owner');
CREATE TABLE x_dormant (id integer PRIMARY KEY, organisation_id integer NOT NULL);
CREATE POLICY sleeping ON x_dormant FOR SELECT TO shop_app USING (organisation_id > 0);
CREATE TABLE x_migrations (version text PRIMARY KEY);
CREATE TABLE x_queue (id integer PRIMARY KEY, payload text);
INSERT INTO x_kept SELECT n, 1 + n % 3, n % 2 = 0 FROM generate_series(1, 12) AS n;
INSERT INTO x_replaced SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO x_dormant SELECT n, 1 + n % 3 FROM generate_series(1, 12) AS n;
INSERT INTO x_migrations VALUES ('0001');
INSERT INTO x_queue VALUES (1, 'job');

-- Private columns, default filter
CREATE TABLE c_people (
  id integer PRIMARY KEY, organisation_id integer NOT NULL, email text, password_hash text, phone text
);
ALTER TABLE c_people ALTER phone SET STATISTICS 50;
INSERT INTO c_people SELECT n, 1 + n % 3, 'p' || n || '@example.org', md5(n::text), '+351' || n FROM generate_series(1, 300) AS n;
ANALYZE c_people;

CREATE INDEX ON k_integer (organisation_id);
CREATE INDEX ON p_items (order_id);
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, billing, "Odd. schema" TO shop_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop_app;
GRANT USAGE ON SCHEMA billing, "Odd. schema" TO shop_app;
