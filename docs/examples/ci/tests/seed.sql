-- Rows of three organisations, so that there is something to keep apart.
INSERT INTO organisations (id, name) VALUES (1, 'Alder Supplies'), (2, 'Birch Foods'), (3, 'Cedar Mills');
INSERT INTO countries (code, name) VALUES ('NL', 'Netherlands'), ('SE', 'Sweden');
INSERT INTO orders (organisation_id, status, total) SELECT id, 'paid', 10 * id FROM organisations, generate_series(1, 4);
INSERT INTO order_items (order_id, product) SELECT id, 'paper' FROM orders;
