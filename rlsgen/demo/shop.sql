-- The sample shop. Run by the database's owner in an empty database, in one transaction; takes about a second.
-- Tables, then rows, then keys and indexes: the order of a restore, because rows load faster without them.
--
-- The rows are the same every time, but for the dates, which end today (UTC), so that "last month" has some.

SET LOCAL TimeZone = 'UTC';  -- or days would be of different lengths
SET LOCAL jit = off;         -- it would take longer than the work

-- Tables ------------------------------------------------------------------------------------------------------------

CREATE TABLE organisations (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    slug        text NOT NULL UNIQUE,
    plan        text NOT NULL DEFAULT 'free' CHECK (plan IN ('free', 'team', 'business')),
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE teams (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer NOT NULL,
    name             text NOT NULL
);

-- The organisations' own people, who sign in, and their customers: users who have ordered.
CREATE TABLE users (
    id               text PRIMARY KEY,
    organisation_id  integer NOT NULL,
    team_id          integer,
    name             text NOT NULL,
    email            text NOT NULL,
    password_hash    text NOT NULL,
    last_order_at    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE countries (
    code      char(2) PRIMARY KEY,
    name      text NOT NULL UNIQUE,
    currency  char(3) NOT NULL
);

CREATE TABLE products (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer NOT NULL,
    sku              text NOT NULL,
    name             text NOT NULL,
    price            numeric(10, 2) NOT NULL CHECK (price >= 0),
    stock            integer NOT NULL DEFAULT 0,
    discontinued     boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE orders (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer NOT NULL,
    user_id          text NOT NULL,
    country_code     char(2) NOT NULL,
    status           text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'paid', 'shipped', 'delivered', 'cancelled')),
    total            numeric(12, 2) NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now()
);

-- No organisation_id: an item belongs to whom its order belongs to.
CREATE TABLE order_items (
    order_id    bigint NOT NULL,
    line        smallint NOT NULL,
    product_id  integer NOT NULL,
    quantity    integer NOT NULL CHECK (quantity > 0),
    unit_price  numeric(10, 2) NOT NULL
);

-- team_id is null for a project that has not been given to a team yet.
CREATE TABLE projects (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer NOT NULL,
    team_id          integer,
    name             text NOT NULL,
    status           text NOT NULL DEFAULT 'planned' CHECK (status IN ('planned', 'active', 'done')),
    budget           numeric(12, 2),
    due_on           date
);

CREATE TABLE notes (
    id          bigserial PRIMARY KEY,
    user_id     text NOT NULL,
    title       text NOT NULL,
    body        text NOT NULL DEFAULT '',
    pinned      boolean NOT NULL DEFAULT false,
    created_at  timestamptz NOT NULL DEFAULT now()
);

-- organisation_id is null for the templates that come with the product: everybody uses them, nobody changes them.
CREATE TABLE templates (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer,
    name             text NOT NULL,
    body             text NOT NULL
);

CREATE TABLE api_keys (
    id               integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id  integer NOT NULL,
    name             text NOT NULL,
    key_hash         text NOT NULL UNIQUE,
    last_used_at     timestamptz
);

-- A partition a month: the last six, this one and the next. Last month was a busy one and is split once more.
CREATE TABLE events (
    organisation_id  integer NOT NULL,
    occurred_at      timestamptz NOT NULL,
    id               uuid NOT NULL DEFAULT gen_random_uuid(),
    user_id          text NOT NULL,
    kind             text NOT NULL,
    path             text NOT NULL,
    duration_ms      integer NOT NULL
) PARTITION BY RANGE (occurred_at);

DO $$
DECLARE
    this_month timestamptz := date_trunc('month', now());
    first timestamptz;
    name text;
BEGIN
    FOR ago IN -1..6 LOOP
        first := this_month - make_interval(months => ago);
        name := to_char(first, '"events_"YYYY"_"MM');
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L) %s',
            name, first, first + interval '1 month',
            CASE WHEN ago = 1 THEN 'PARTITION BY HASH (organisation_id)' END);
        IF ago = 1 THEN
            FOR part IN 0..2 LOOP
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 3, REMAINDER %s)',
                               name || '_' || part, name, part);
            END LOOP;
        END IF;
    END LOOP;
END
$$;

CREATE VIEW monthly_revenue AS
SELECT organisation_id,
       date_trunc('month', created_at AT TIME ZONE 'UTC')::date AS month,
       count(*) AS orders,
       sum(total) AS revenue
FROM orders
WHERE status <> 'cancelled'
GROUP BY 1, 2;

COMMENT ON TABLE organisations IS 'The customers of the product; every other row belongs to one of them, or to all';
COMMENT ON TABLE order_items IS 'The lines of an order';
COMMENT ON COLUMN orders.total IS 'Sum of the items, in the currency of the organisation';
COMMENT ON COLUMN products.discontinued IS 'No longer sold; kept for old orders';
COMMENT ON VIEW monthly_revenue IS 'Orders and revenue by calendar month (UTC), without cancelled orders';

-- Rows --------------------------------------------------------------------------------------------------------------

-- A number from 0 to below - 1 that looks random and is the same every time. (hashint8extended decides into which hash
-- partition a row goes, so it gives the same answer on every version.)
CREATE FUNCTION pg_temp.pick(number bigint, salt bigint, below bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE AS 'SELECT mod(hashint8extended(number, salt) & 9223372036854775807, below)';

CREATE FUNCTION pg_temp.choose(number bigint, salt bigint, choices text[]) RETURNS text
LANGUAGE sql IMMUTABLE AS 'SELECT choices[1 + mod(hashint8extended(number, salt) & 9223372036854775807, cardinality(choices))]';

-- Thousandths of all orders and events: one organisation has 30 %, four have 5 %, most have little, the last has nothing.
CREATE TEMPORARY TABLE share ON COMMIT DROP AS
SELECT organisation_id, share, users, products,
       sum(share) OVER w - share AS share_before,
       (sum(users) OVER w - users)::bigint AS users_before,
       (sum(products) OVER w - products)::bigint AS products_before
FROM (
    SELECT id AS organisation_id, share,
           CASE share WHEN 0 THEN 0 ELSE greatest(3, share) END AS users,
           CASE share WHEN 0 THEN 0 ELSE greatest(8, share) END AS products
    FROM generate_series(1, 40) AS id,
         LATERAL (SELECT CASE WHEN id = 1 THEN 300 WHEN id <= 5 THEN 50 WHEN id <= 15 THEN 25 WHEN id <= 30 THEN 14
                              WHEN id <= 34 THEN 5 WHEN id <= 39 THEN 4 ELSE 0 END AS share) AS step
) AS sizes
WINDOW w AS (ORDER BY organisation_id);

CREATE TEMPORARY TABLE today ON COMMIT DROP AS
SELECT date_trunc('day', now()) AS midnight;

INSERT INTO organisations (name, slug, plan, created_at)
SELECT first || ' ' || second, lower(first), CASE WHEN id <= 5 THEN 'business' WHEN id <= 30 THEN 'team' ELSE 'free' END,
       midnight - make_interval(days => 1200 - id::integer * 10)
FROM today, generate_series(1, 40) AS id,
     LATERAL (SELECT ('{Alder,Birch,Cedar,Dune,Ember,Fjord,Granite,Harbour,Iris,Juniper,Kestrel,Linden,Maple,Nettle,Oak,'
                      'Poplar,Quartz,Reed,Sage,Thistle,Umber,Violet,Willow,Yarrow,Zephyr,Aspen,Bramble,Clover,Dahlia,'
                      'Elder,Fern,Gorse,Hazel,Ivy,Jasmine,Kelp,Laurel,Moss,Nutmeg,Orchid}'::text[])[id] AS first,
                     ('{Traders,Supplies,Foods,Instruments,Outfitters}'::text[])[1 + id % 5] AS second) AS names
ORDER BY id;

INSERT INTO teams (organisation_id, name)
SELECT organisation_id, name
FROM share, unnest('{Sales,Operations,Design}'::text[]) WITH ORDINALITY AS team (name, number)
WHERE share > 0
ORDER BY organisation_id, number;

INSERT INTO countries VALUES
    ('AT', 'Austria', 'EUR'), ('AU', 'Australia', 'AUD'), ('BE', 'Belgium', 'EUR'), ('BR', 'Brazil', 'BRL'),
    ('CA', 'Canada', 'CAD'), ('CH', 'Switzerland', 'CHF'), ('CZ', 'Czechia', 'CZK'), ('DE', 'Germany', 'EUR'),
    ('DK', 'Denmark', 'DKK'), ('ES', 'Spain', 'EUR'), ('FI', 'Finland', 'EUR'), ('FR', 'France', 'EUR'),
    ('GB', 'United Kingdom', 'GBP'), ('IE', 'Ireland', 'EUR'), ('IN', 'India', 'INR'), ('IT', 'Italy', 'EUR'),
    ('JP', 'Japan', 'JPY'), ('KE', 'Kenya', 'KES'), ('MX', 'Mexico', 'MXN'), ('NL', 'Netherlands', 'EUR'),
    ('NO', 'Norway', 'NOK'), ('NZ', 'New Zealand', 'NZD'), ('PL', 'Poland', 'PLN'), ('PT', 'Portugal', 'EUR'),
    ('SE', 'Sweden', 'SEK'), ('SG', 'Singapore', 'SGD'), ('US', 'United States', 'USD'), ('ZA', 'South Africa', 'ZAR');

INSERT INTO products (organisation_id, sku, name, price, stock, discontinued, created_at)
SELECT organisation_id, format('%s-%s', upper(left(slug, 3)), to_char(n, 'FM0000')),
       format('%s %s %s', pg_temp.choose(number, 11, '{Small,Large,Light,Sturdy,Folding,Classic}'),
              pg_temp.choose(number, 12, '{oak,steel,linen,copper,glass,wool,cork}'),
              pg_temp.choose(number, 13, '{lamp,chair,kettle,bag,clock,shelf,blanket,tray,mug,bench}')),
       (pg_temp.pick(number, 14, 19000) + 500) / 100.0, pg_temp.pick(number, 15, 400),
       pg_temp.pick(number, 16, 20) = 0, midnight - make_interval(days => 400 + pg_temp.pick(number, 17, 600)::integer)
FROM today, share JOIN organisations ON id = organisation_id, generate_series(1, products) AS n,
     LATERAL (SELECT products_before + n AS number) AS numbered
ORDER BY number;

-- Orders, without their totals, numbered by time. Seven users in ten buy; the last three of ten never do.
CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY midnight - age, number) AS number, organisation_id,
       users_before + 1 + pg_temp.pick(number, 22, users * 7 / 10) AS user_number,
       products_before, products, midnight - age AS created_at
FROM today, generate_series(1, 12000) AS number
CROSS JOIN LATERAL (SELECT make_interval(secs => pg_temp.pick(number, 23, 365 * 24 * 3600)) AS age) AS past
JOIN share ON pg_temp.pick(number, 21, 1000) BETWEEN share_before AND share_before + share - 1;

-- One to four items each, neighbours in the catalogue, so that no product is twice in an order (everybody has eight).
-- The lesser of two picks, so that some products sell better than others.
INSERT INTO order_items (order_id, line, product_id, quantity, unit_price)
SELECT number, line, product.id, 1 + pg_temp.pick(number * 4 + line, 32, 5), price
FROM placed
CROSS JOIN LATERAL generate_series(1, 1 + pg_temp.pick(number, 31, 4)) AS line
CROSS JOIN LATERAL (SELECT least(pg_temp.pick(number, 33, products), pg_temp.pick(number, 34, products)) AS first)
     AS choice
JOIN products AS product ON product.id = products_before + 1 + (first + line - 1) % products;

INSERT INTO orders (organisation_id, user_id, country_code, status, total, created_at)
SELECT organisation_id, 'user_' || user_number,
       pg_temp.choose(number, 41, '{DE,DE,FR,GB,GB,IT,ES,NL,PL,SE,US,US,CA,AT,CH,IE,PT,DK}'),
       CASE WHEN pg_temp.pick(number, 42, 25) = 0 THEN 'cancelled'
            WHEN created_at > midnight - interval '2 days' THEN 'new'
            WHEN created_at > midnight - interval '4 days' THEN 'paid'
            WHEN created_at > midnight - interval '9 days' THEN 'shipped'
            ELSE 'delivered' END,
       total, created_at
FROM today, placed JOIN (SELECT order_id, sum(quantity * unit_price) AS total FROM order_items GROUP BY 1) AS items
     ON order_id = number
ORDER BY number;

INSERT INTO users (id, organisation_id, team_id, name, email, password_hash, last_order_at, created_at)
SELECT 'user_' || number, organisation_id,
       (organisation_id - 1) * 3 + 1 + (n - 1) % 3,
       first || ' ' || last, format('%s.%s.%s@%s.example', lower(first), lower(last), n, slug),
       '$scrypt$ln=16,r=8,p=1$' || md5('salt' || number) || '$' || md5('password' || number), ordered.last_order_at,
       midnight - make_interval(days => 370 + pg_temp.pick(number, 53, 700)::integer)
FROM today, share JOIN organisations ON id = organisation_id, generate_series(1, users) AS n,
     LATERAL (SELECT users_before + n AS number) AS numbered
LEFT JOIN (SELECT user_number, max(created_at) AS last_order_at FROM placed GROUP BY 1) AS ordered
     ON user_number = number,
     LATERAL (SELECT pg_temp.choose(number, 51, '{Ada,Amara,Bo,Carla,Chidi,Dilnoza,Elif,Femi,Grace,Hana,Ines,Jonas,Kofi,'
                     'Leila,Mateo,Nadia,Oskar,Priya,Rosa,Sven,Tomoko,Uma,Viktor,Wei,Yusuf,Zoe}') AS first,
                     pg_temp.choose(number, 52, '{Abe,Brandt,Castillo,Diallo,Eriksen,Fischer,Garcia,Haddad,Ivanova,'
                     'Jansen,Kaya,Lindqvist,Mensah,Novak,Okafor,Petrov,Quinn,Rossi,Silva,Tanaka}') AS last) AS names
ORDER BY number;

INSERT INTO projects (organisation_id, team_id, name, status, budget, due_on)
SELECT organisation_id, CASE WHEN n % 4 > 0 THEN (organisation_id - 1) * 3 + n % 4 END,
       pg_temp.choose(organisation_id * 100 + n, 61, '{Spring,Summer,Autumn,Winter}') || ' '
       || pg_temp.choose(organisation_id * 100 + n, 62, '{catalogue,campaign,warehouse,website,fair,audit}') || ' ' || n,
       pg_temp.choose(organisation_id * 100 + n, 63, '{planned,active,active,done}'),
       1000 * (1 + pg_temp.pick(organisation_id * 100 + n, 64, 90)),
       midnight::date + pg_temp.pick(organisation_id * 100 + n, 65, 300)::integer - 100
FROM today, share, generate_series(1, least(32, users)) AS n
ORDER BY organisation_id, n;

INSERT INTO notes (user_id, title, body, pinned, created_at)
SELECT 'user_' || number,
       pg_temp.choose(number * 4 + n, 71, '{Call back,Check stock,Ask for a discount,Prepare the fair,Renew the contract,'
                      'Send samples}') || ' #' || n,
       'Before ' || pg_temp.choose(number * 4 + n, 72, '{Monday,Tuesday,Wednesday,Thursday,Friday}') || ', please.',
       pg_temp.pick(number * 4 + n, 73, 6) = 0,
       midnight - make_interval(hours => pg_temp.pick(number * 4 + n, 74, 24 * 90)::integer)
FROM today, (SELECT sum(users) AS everybody FROM share) AS total, generate_series(1, everybody) AS person,
     LATERAL (SELECT person::bigint AS number) AS numbered, generate_series(1, 1 + pg_temp.pick(number, 75, 3)) AS n
ORDER BY number, n;

INSERT INTO templates (organisation_id, name, body)
SELECT NULL, name, 'Dear {{ customer }}, …'
FROM unnest('{Welcome,Order confirmation,Dispatch note,Invoice,Reminder,Thank you}'::text[]) AS name;

INSERT INTO templates (organisation_id, name, body)
SELECT organisation_id, name, 'Hello {{ customer }}, greetings from us all.'
FROM share, unnest('{Welcome,Seasonal offer,Feedback}'::text[]) AS name
WHERE share >= 5
ORDER BY organisation_id, name;

INSERT INTO api_keys (organisation_id, name, key_hash, last_used_at)
SELECT organisation_id, name, md5('key' || organisation_id || name) || md5(name || organisation_id),
       midnight - make_interval(hours => pg_temp.pick(organisation_id, 81, 1000)::integer)
FROM today, share, unnest('{production,staging}'::text[]) AS name
WHERE share > 0
ORDER BY organisation_id, name;

INSERT INTO events (organisation_id, occurred_at, id, user_id, kind, path, duration_ms)
SELECT organisation_id, midnight - make_interval(secs => pg_temp.pick(number, 92, 150 * 24 * 3600)),
       md5('event' || number)::uuid, 'user_' || users_before + 1 + pg_temp.pick(number, 93, users),
       pg_temp.choose(number, 94, '{view,view,view,view,search,search,add_to_cart,checkout}'),
       pg_temp.choose(number, 95, '{/,/products,/products/new,/cart,/account,/help}'), 20 + pg_temp.pick(number, 96, 900)
FROM today, generate_series(1, 15000) AS number
JOIN share ON pg_temp.pick(number, 91, 1000) BETWEEN share_before AND share_before + share - 1;

DROP FUNCTION pg_temp.pick(bigint, bigint, bigint), pg_temp.choose(bigint, bigint, text[]);

-- Keys and indexes --------------------------------------------------------------------------------------------------

ALTER TABLE teams ADD FOREIGN KEY (organisation_id) REFERENCES organisations;
ALTER TABLE users ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                  ADD FOREIGN KEY (team_id) REFERENCES teams,
                  ADD UNIQUE (organisation_id, email);
ALTER TABLE products ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                     ADD UNIQUE (organisation_id, sku);
ALTER TABLE orders ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                   ADD FOREIGN KEY (user_id) REFERENCES users,
                   ADD FOREIGN KEY (country_code) REFERENCES countries;
ALTER TABLE order_items ADD PRIMARY KEY (order_id, line),
                        ADD FOREIGN KEY (order_id) REFERENCES orders ON DELETE CASCADE,
                        ADD FOREIGN KEY (product_id) REFERENCES products;
ALTER TABLE projects ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                     ADD FOREIGN KEY (team_id) REFERENCES teams;
ALTER TABLE notes ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE;
ALTER TABLE templates ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                      ADD UNIQUE (organisation_id, name);
ALTER TABLE api_keys ADD FOREIGN KEY (organisation_id) REFERENCES organisations;
ALTER TABLE events ADD PRIMARY KEY (organisation_id, occurred_at, id),
                   ADD FOREIGN KEY (organisation_id) REFERENCES organisations,
                   ADD FOREIGN KEY (user_id) REFERENCES users;

CREATE INDEX ON teams (organisation_id);
CREATE INDEX ON users (team_id);
CREATE INDEX ON orders (organisation_id, created_at);
CREATE INDEX ON orders (user_id);
CREATE INDEX ON order_items (product_id);
CREATE INDEX ON projects (organisation_id, team_id);
CREATE INDEX ON notes (user_id, created_at);
CREATE INDEX ON api_keys (organisation_id);
CREATE INDEX ON events (user_id);

-- Rights of the main application ------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA public TO shop_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO shop_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO shop_app;

ANALYZE;
