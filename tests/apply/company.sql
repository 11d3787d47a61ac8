-- A small company: three organisations with the same few rows each, and every shape that apply treats in a way of its own.
-- Every relation says in organisation_id whose a row is, so that a probe of any of them can tell a foreign one (0: nobody's).

CREATE TABLE organisations (organisation_id integer PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id integer NOT NULL,
    team_id integer NOT NULL,
    email text NOT NULL,
    note text
);
CREATE INDEX orders_organisation ON orders (organisation_id);
CREATE TABLE order_items (
    order_id bigint NOT NULL REFERENCES orders,
    line smallint NOT NULL,
    organisation_id integer NOT NULL,
    product text NOT NULL,
    PRIMARY KEY (order_id, line)
);
CREATE TABLE notes (
    id bigserial PRIMARY KEY,
    organisation_id integer NOT NULL,
    user_id text NOT NULL,
    body text NOT NULL DEFAULT ''
);
CREATE TABLE folders (
    id integer PRIMARY KEY,
    parent_id integer REFERENCES folders,
    organisation_id integer NOT NULL,
    name text NOT NULL
);
CREATE TABLE events (organisation_id integer NOT NULL, at date NOT NULL, kind text NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_2024 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY HASH (organisation_id);
CREATE TABLE events_2024_0 PARTITION OF events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE events_2024_1 PARTITION OF events_2024 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE countries (code text PRIMARY KEY, organisation_id integer NOT NULL DEFAULT 0);
CREATE TABLE secrets (id integer PRIMARY KEY, organisation_id integer NOT NULL, secret text NOT NULL);
CREATE VIEW order_totals AS SELECT organisation_id, count(*) AS orders FROM orders GROUP BY organisation_id;

INSERT INTO organisations SELECT o, 'organisation ' || o FROM generate_series(1, 3) AS o;
INSERT INTO orders (organisation_id, team_id, email, note)
    SELECT o, 10 * o + n % 2, 'buyer' || n || '@' || o || '.example', 'note ' || n
    FROM generate_series(1, 3) AS o, generate_series(1, 8) AS n;
INSERT INTO order_items
    SELECT id, line, organisation_id, 'product ' || line FROM orders, generate_series(1, 2) AS line;
INSERT INTO notes (organisation_id, user_id, body)
    SELECT o, 'user_' || o, 'body ' || n FROM generate_series(1, 3) AS o, generate_series(1, 4) AS n;
INSERT INTO folders
    SELECT 10 * o + n, CASE WHEN n > 0 THEN 10 * o + n - 1 END, o, 'folder ' || n
    FROM generate_series(1, 3) AS o, generate_series(0, 3) AS n ORDER BY o, n;
INSERT INTO events
    SELECT o, '2024-06-01'::date + 100 * n, 'kind ' || n FROM generate_series(1, 3) AS o, generate_series(0, 5) AS n;
INSERT INTO countries (code) VALUES ('at'), ('no');
INSERT INTO secrets SELECT o, o, 'secret ' || o FROM generate_series(1, 3) AS o;

GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO shop_app;
ANALYZE;
