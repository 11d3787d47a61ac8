-- What the sample shop lacks and attackers like: a tree, a hidden parent with a key of another type, a child that may be
-- written, inheritance. And in every table rows of other organisations that say CANARY, so that a leak is seen.

CREATE TABLE folders (
    id               bigint PRIMARY KEY,
    parent_id        bigint REFERENCES folders,
    organisation_id  integer NOT NULL,
    name             text NOT NULL
);
INSERT INTO folders VALUES
    (1, NULL, 1, 'own root'), (2, 1, 1, 'own leaf'), (3, NULL, 2, 'CANARY root'), (4, 3, 2, 'CANARY leaf'),
    (5, 3, 1, 'CANARY: own, below a foreign one'), (6, 1, 2, 'CANARY: foreign, below an own one');

CREATE TABLE vaults (id bigint PRIMARY KEY, organisation_id integer NOT NULL, secret text NOT NULL);
INSERT INTO vaults VALUES (1, 1, 'CANARY: hidden, own'), (2, 2, 'CANARY: hidden, foreign');

CREATE TABLE vault_entries (vault_id text NOT NULL, name text NOT NULL);
INSERT INTO vault_entries VALUES ('1', 'own entry'), ('2', 'CANARY entry'), ('CANARY: no number', 'CANARY entry of none');

CREATE TABLE remarks (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    note_id  bigint NOT NULL REFERENCES notes ON DELETE CASCADE,
    body     text NOT NULL
);

CREATE TABLE vehicles (organisation_id integer NOT NULL, plate text NOT NULL);
CREATE TABLE trucks (load integer) INHERITS (vehicles);
INSERT INTO vehicles VALUES (1, 'own car'), (2, 'CANARY car');
INSERT INTO trucks VALUES (1, 'own truck', 7), (2, 'CANARY truck', 7);

INSERT INTO users (id, organisation_id, name, email, password_hash)
    VALUES ('CANARY_user', 2, 'CANARY name', 'canary@CANARY.example', 'CANARY hash of another');
UPDATE users SET password_hash = 'CANARY hash of an own user' WHERE organisation_id = 1;
INSERT INTO notes (user_id, title, body) VALUES ('CANARY_user', 'CANARY title', 'CANARY body');
INSERT INTO remarks (note_id, body)
    SELECT id, CASE user_id WHEN 'user_1' THEN 'own remark' ELSE 'CANARY remark' END FROM notes
    WHERE user_id IN ('user_1', 'CANARY_user');
INSERT INTO products (organisation_id, sku, name, price) VALUES (2, 'CANARY', 'CANARY product', 1);
INSERT INTO orders (organisation_id, user_id, country_code, total, created_at)
    VALUES (2, 'CANARY_user', 'DE', 987654, '2001-01-15');
INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
    SELECT max(o.id), 1, max(p.id), 987654, 1 FROM orders AS o, products AS p;
INSERT INTO projects (organisation_id, team_id, name) VALUES (2, 4, 'CANARY project');
INSERT INTO teams (organisation_id, name) VALUES (2, 'CANARY team');
INSERT INTO templates (organisation_id, name, body) VALUES (2, 'CANARY template', 'CANARY');
INSERT INTO api_keys (organisation_id, name, key_hash) VALUES (1, 'CANARY key', 'CANARY key hash');
INSERT INTO events (organisation_id, occurred_at, user_id, kind, path, duration_ms)
    SELECT 2, now() - make_interval(days => day), 'CANARY_user', 'view', '/CANARY', 1 FROM generate_series(0, 60, 5) AS day;
UPDATE organisations SET name = 'CANARY organisation' WHERE id = 2;
ANALYZE;
