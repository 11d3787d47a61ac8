"""What `rlsgen verify` costs for each table and tenant, and that it grows no faster than they do.

    python benchmarks/verify.py [--tables 20,200,1000] [--tenants 3,6,12,24] [--postgres-bin DIR] [--json FILE]

The sample shop with copies of its products table, provisioned; attacks are left out, since their number is fixed.
`ours` is milliseconds for each relation and tenant, `theirs` the same at the smallest size, and `ratio` one by the
other: linear is 1, and what is paid once makes it less. It starts a server of its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from dataclasses import replace

import psycopg
from result import add_options, write

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.server import Server, temporary_server
from rlsgen.demo.tour import Shop, make_shop, sample_spec
from rlsgen.proof.verify import Options, verify
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec

LIMIT = 1.5


def provision(shop: Shop, tables: int, made: int) -> Spec:
    """The spec of a shop with so many copies of its products, `made` of which are there; it is applied."""
    names = [f"products_{number}" for number in range(tables)]
    with psycopg.connect(shop.owner_dsn) as owner:
        for name in names[made:]:
            owner.execute(f"CREATE TABLE {name} (LIKE products INCLUDING ALL)".encode())
            owner.execute(f"INSERT INTO {name} OVERRIDING SYSTEM VALUE SELECT * FROM products".encode())
    text = sample_spec().read_text(encoding="utf-8")
    more = "".join(f"  {name}: {{}}\n" for name in names)
    spec = parse_spec(text.replace("\nviews:", f"\n{more}\nviews:", 1), "policies.yaml")
    with open_connection(shop.owner_dsn) as owner:
        apply(owner, spec, allow=tuple(Hazard))
        owner.execute("VACUUM ANALYZE")
    return spec


def measure(server: Server, tables: list[int], tenants: list[int]) -> dict[str, object]:
    """All cases: more tables with the first number of tenants, then more tenants with the first number of tables."""
    shop = make_shop(server)
    spec = provision(shop, tables[0], 0)
    with open_connection(shop.owner_dsn) as owner:
        key = create_key(owner)
    cases: list[dict[str, object]] = []

    def case(spec: Spec, wanted: int) -> None:
        options = replace(Options(), tenants=wanted)
        times = []
        for _ in range(3):
            started = time.monotonic()
            result = verify(spec, key, shop.owner_dsn, shop.conversation_dsn, options=options)
            times.append(time.monotonic() - started)
            if result.leaks or result.failed or result.uncovered:
                raise SystemExit(f"verify did not find isolation: {result.summary}")
        seconds = sorted(times)[1]
        cost = 1000 * seconds / (len(result.tables) * len(result.contexts))
        first = cases[0]["ours"] if cases else cost
        assert isinstance(first, float)
        cases.append(
            {
                "case": f"verify, {len(result.tables)} relations, {len(result.contexts)} tenants",
                "ours": round(cost, 4), "theirs": first, "ratio": round(cost / first, 3), "limit": LIMIT,
                "seconds": round(seconds, 3), "pairs": result.summary["pairs"],
            }
        )  # fmt: skip
        print(json.dumps(cases[-1]), file=sys.stderr)

    for wanted in tenants:
        case(spec, wanted)
    for before, number in itertools.pairwise(tables):
        case(provision(shop, number, before), tenants[0])
    return {"name": "verify", "cases": cases}


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="20,200,1000", help="copies of a table (default: %(default)s)")
    parser.add_argument("--tenants", default="3,6,12,24", help="sizes of the sample (default: %(default)s)")
    add_options(parser)
    options = parser.parse_args()
    tables, tenants = ([int(each) for each in text.split(",")] for text in (options.tables, options.tenants))
    with temporary_server(options.postgres_bin) as server:
        result = measure(server, tables, tenants)
    write(result, options.json)


if __name__ == "__main__":
    main()
