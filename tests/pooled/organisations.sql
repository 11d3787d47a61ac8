-- Forty organisations, twelve thousand rows each, and in every row whose it is: a canary. Rows of nobody say `shared`.

CREATE TABLE orders (
    id               bigint PRIMARY KEY,
    organisation_id  integer NOT NULL,
    canary           text NOT NULL,
    status           text NOT NULL,
    total            numeric(12, 2) NOT NULL,
    placed_on        date NOT NULL
);
CREATE TABLE order_items (
    order_id  bigint NOT NULL,
    line      smallint NOT NULL,
    canary    text NOT NULL,
    quantity  integer NOT NULL
);
CREATE TABLE events (
    organisation_id  integer NOT NULL,
    occurred_on      date NOT NULL,
    canary           text NOT NULL,
    kind             text NOT NULL
) PARTITION BY RANGE (occurred_on);
CREATE TABLE events_old PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE events_new PARTITION OF events FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE TABLE notes (
    id       bigserial PRIMARY KEY,
    user_id  text NOT NULL,
    canary   text NOT NULL,
    body     text NOT NULL
);
CREATE TABLE documents (
    id               integer PRIMARY KEY,
    organisation_id  integer,
    canary           text NOT NULL
);
CREATE TABLE secrets (
    organisation_id  integer NOT NULL,
    canary           text NOT NULL
);
CREATE VIEW revenue WITH (security_invoker) AS
SELECT canary, date_trunc('month', placed_on)::date AS month, count(*) AS orders, sum(total) AS total
FROM orders
GROUP BY 1, 2;

-- Organisations lie scattered over the pages, as they do in life.
INSERT INTO orders
SELECT n, 1 + n % 40, 'CANARY-' || 1 + n % 40, (ARRAY ['new', 'paid', 'shipped'])[1 + n % 3], n % 977,
       date '2025-01-01' + (n % 700)::integer
FROM generate_series(1, 80000) AS n;
INSERT INTO order_items
SELECT n, line, 'CANARY-' || 1 + n % 40, line
FROM generate_series(1, 80000) AS n, generate_series(1, 3) AS line;
INSERT INTO events
SELECT 1 + n % 40, date '2025-06-01' + n % 400, 'CANARY-' || 1 + n % 40, (ARRAY ['view', 'search'])[1 + n % 2]
FROM generate_series(1, 160000) AS n;
INSERT INTO notes (user_id, canary, body)
SELECT 'user_' || 1 + n % 40, 'CANARY-' || 1 + n % 40, 'written before' FROM generate_series(1, 4000) AS n;
INSERT INTO documents
SELECT n, CASE WHEN n > 80 THEN 1 + n % 40 END, CASE WHEN n > 80 THEN 'CANARY-' || 1 + n % 40 ELSE 'shared' END
FROM generate_series(1, 880) AS n;
INSERT INTO secrets SELECT n, 'CANARY-' || n FROM generate_series(1, 40) AS n;

ALTER TABLE order_items ADD PRIMARY KEY (order_id, line);
CREATE INDEX ON orders (organisation_id);
CREATE INDEX ON events (organisation_id, occurred_on);
CREATE INDEX ON notes (user_id);
CREATE INDEX ON documents (organisation_id);
ANALYZE;
