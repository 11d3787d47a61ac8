"""What plans lose when a column is private, so that the planner knows nothing about its values.

    python benchmarks/private.py [--rows 500000] [--repeat 7] [--together] [--postgres-bin DIR] [--json FILE]

Two databases with the same visits and patients, provisioned; in one the column `diagnosis` is private. The same
queries in turns (A B A B) as the conversation role with a context, in milliseconds, medians. `ratio` is private by
plain; `expected` is how many visits the planner expects, with the column private and not.
It starts a server of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any, LiteralString

import psycopg
from result import add_options, write

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.server import Server, temporary_server
from rlsgen.demo.shop import CONVERSATION, OWNER, create_roles
from rlsgen.identifiers import fill, identifier
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.token import mint
from rlsgen.spec.load import parse_spec

SPEC = """
version: 1
context: {organisationId: integer}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
schemas: [public]
default_filter: organisation_id = userContext.organisationId
tables:
  patients: {}
  visits: {columns: {private: [%s]}}
"""
TABLES: LiteralString = """
CREATE TABLE patients (id integer PRIMARY KEY, organisation_id integer NOT NULL, name text NOT NULL);
CREATE TABLE visits (id integer PRIMARY KEY, organisation_id integer NOT NULL, patient_id integer NOT NULL,
  diagnosis text NOT NULL, cost integer NOT NULL);
INSERT INTO patients SELECT n, 1 + n % 10, 'patient ' || n FROM generate_series(1, {0} / 10) AS n;
INSERT INTO visits SELECT n, 1 + n % 10, 1 + (n - 1) % ({0} / 10),
  CASE WHEN n % 3 = 0 THEN 'influenza' ELSE 'number ' || n / 40 END, n % 997 FROM generate_series(1, {0}) AS n;
CREATE INDEX ON visits {1};
CREATE INDEX ON patients (organisation_id);
"""
_APART = "(organisation_id); CREATE INDEX ON visits (diagnosis)"
_TOGETHER = "(organisation_id, diagnosis)"
QUERIES: dict[str, LiteralString] = {
    "a rare value": "SELECT sum(cost) FROM visits WHERE diagnosis = 'number 4000'",
    "a frequent value": "SELECT sum(cost) FROM visits WHERE diagnosis = 'influenza'",
    "a list": "SELECT sum(cost) FROM visits WHERE diagnosis IN ('number 4000', 'number 5000', 'number 6000')",
    "a range": "SELECT sum(cost) FROM visits WHERE diagnosis >= 'number 400' AND diagnosis < 'number 402'",
    "groups": "SELECT diagnosis, count(*) FROM visits GROUP BY diagnosis ORDER BY 2 DESC LIMIT 10",
    "a join, rare": (
        "SELECT count(p.name) FROM visits v JOIN patients p ON p.id = v.patient_id WHERE diagnosis = 'number 4000'"
    ),
    "a join, frequent": (
        "SELECT count(p.name) FROM visits v JOIN patients p ON p.id = v.patient_id WHERE diagnosis = 'influenza'"
    ),
}


def make(server: Server, name: str, private: str, rows: int, together: bool) -> psycopg.Connection[Any]:
    """A database, and a connection of the conversation role with a context and an open transaction."""
    with psycopg.connect(server.dsn(), autocommit=True) as administrator:
        administrator.execute(fill("CREATE DATABASE {} OWNER {}", identifier(name), identifier(OWNER)).encode())
    spec = parse_spec(SPEC % private, "clinic.yaml")
    with open_connection(server.dsn(name, OWNER)) as owner:
        owner.execute(TABLES.replace("{0}", str(rows)).replace("{1}", _TOGETHER if together else _APART).encode())
        apply(owner, spec, allow=tuple(Hazard))
        key = create_key(owner)
        owner.execute("VACUUM ANALYZE")
    connection = psycopg.connect(server.dsn(name, CONVERSATION), prepare_threshold=None)
    token = mint(key, spec.context, {"organisationId": 1}, lifetime_seconds=300)
    connection.execute("SELECT rlsgen.set_context(%s)", [token])
    return connection


def expected(connection: psycopg.Connection[Any], query: LiteralString) -> int:
    """The rows that the planner expects from the scan of visits."""

    def scans(node: dict[str, Any]) -> list[int]:
        own = [node["Plan Rows"]] if node.get("Relation Name") == "visits" else []
        return own + [rows for below in node.get("Plans", []) for rows in scans(below)]

    found = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchone()
    assert found is not None
    return scans(found[0][0]["Plan"])[0]


def measure(server: Server, rows: int, repeat: int, together: bool) -> dict[str, object]:
    """All queries."""
    with psycopg.connect(server.dsn(), autocommit=True) as administrator:
        create_roles(administrator)
    sides = {
        "theirs": make(server, "plain", "", rows, together),
        "ours": make(server, "private", "diagnosis", rows, together),
    }
    cases = []
    for name, query in QUERIES.items():
        times: dict[str, list[float]] = {side: [] for side in sides}
        answers = set()
        for _ in range(repeat):
            for side, connection in sides.items():
                started = time.perf_counter()
                answer = connection.execute(query).fetchall()
                times[side].append(1000 * (time.perf_counter() - started))
                answers.add(str(sorted(count for *_, count in answer)))
        if len(answers) != 1:
            raise SystemExit(f"{name}: the two databases answer differently")
        ours, theirs = (statistics.median(times[side]) for side in ("ours", "theirs"))
        cases.append(
            {
                "case": name, "ours": round(ours, 2), "theirs": round(theirs, 2), "ratio": round(ours / theirs, 2),
                "expected": expected(sides["ours"], query), "expected_plain": expected(sides["theirs"], query),
            }
        )  # fmt: skip
        print(json.dumps(cases[-1]), file=sys.stderr)
    for connection in sides.values():
        connection.close()
    return {"name": "private", "rows": rows, "cases": cases}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=500_000, help="visits (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=7, help="how often each query is asked (default: %(default)s)")
    parser.add_argument("--together", action="store_true", help="one index of tenant and column instead of two")
    add_options(parser)
    options = parser.parse_args()
    with temporary_server(options.postgres_bin) as server:
        result = measure(server, options.rows, options.repeat, options.together)
    write(result, options.json)


if __name__ == "__main__":
    main()
