"""What keeps provisioning linear in the number of tables, seen in counts, not in times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rlsgen.catalog.model import LedgerEntry
from rlsgen.catalog.read import read_catalog
from rlsgen.demo.shop import APPLICATION, CONVERSATION, OWNER
from rlsgen.errors import SpecError
from rlsgen.identifiers import Name, fill, identifier
from rlsgen.provision.apply import apply, make_plan
from rlsgen.provision.judge import TOGETHER
from rlsgen.provision.ledger import Ledger
from rlsgen.provision.resolve import SIMILAR_SOUGHT
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Connection, Database

TABLES = TOGETHER + 20


def _spec(entries: dict[str, str], default: str = "organisation_id = userContext.organisationId") -> Spec:
    lines = "".join(f"  {name}: {entry}\n" for name, entry in entries.items())
    text = (
        f"version: 1\ncontext: {{organisationId: integer}}\ndefault_filter: {default}\n"
        f"roles: {{conversation: {CONVERSATION}, unrestricted: [{OWNER}, {APPLICATION}]}}\ntables:\n{lines}"
    )
    return parse_spec(text, "policies.yaml")


def _names() -> Iterator[str]:
    return (f"t{number}" for number in range(TABLES))


@pytest.fixture
def connection(database: Database) -> Connection:
    """To a database of many small tables, the last of which has no organisation."""
    connection = database.connect()
    for name in _names():
        connection.execute(fill("CREATE TABLE {} (id integer, organisation_id integer)", identifier(name)).encode())
    connection.execute(b"ALTER TABLE t119 RENAME organisation_id TO company_id")
    return connection


def _read_in_sequence(connection: Connection) -> int:
    """How many rows of the ledger and of pg_policy were read by going through the whole table."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(
        "SELECT sum(seq_tup_read)::bigint FROM pg_stat_all_tables"
        " WHERE relid IN ('pg_policy'::regclass, to_regclass('rlsgen.object'))"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_the_ledger_is_written_without_reading_all_of_it(connection: Connection) -> None:
    """A session keeps the plans that functions made while the ledger was empty, when reading all of it was best."""
    spec = _spec(dict.fromkeys(_names(), "{}") | {"t119": "company_id = userContext.organisationId"})
    before = _read_in_sequence(connection)
    apply(connection, spec, allow=["PUBLIC_REVOKE"])
    ledger = len(read_catalog(connection, CONVERSATION).ledger)
    assert ledger > 6 * TABLES
    # A plan reads each of them once. Reading all for every row would be hundreds of times as much.
    assert _read_in_sequence(connection) - before < 5 * ledger


def test_one_bad_filter_among_many_that_are_asked_about_together(connection: Connection) -> None:
    spec = _spec(dict.fromkeys(_names(), "{}"))
    with pytest.raises(SpecError) as caught:
        make_plan(connection, spec)
    (problem,) = caught.value.problems
    assert problem.message == 'filter of public.t119: column "organisation_id" does not exist'
    assert str(problem.position) == "policies.yaml:3:17"


def test_similar_names_are_sought_for_the_first_that_are_missing(connection: Connection) -> None:
    spec = _spec({f"tt{number}": "{}" for number in range(SIMILAR_SOUGHT + 5)})
    with pytest.raises(SpecError) as caught:
        make_plan(connection, spec)
    missing = [each for each in caught.value.problems if "does not exist" in each.message]
    assert [each.hint.startswith("did you mean t") for each in missing] == [True] * SIMILAR_SOUGHT + [False] * 5
    assert missing[-1].hint == "is this the database that the spec is for?"


def test_the_ledger_by_relation() -> None:
    first, second = Name("public", "a"), Name("public", "b")
    entries = [
        LedgerEntry("policy", first, "p", "", "", {}),
        LedgerEntry("table", second, "", "", "", {}),
        LedgerEntry("table", first, "", "", "", {}),
    ]
    ledger = Ledger(entries)
    assert ledger["table", second, ""] is entries[1]
    assert list(ledger.of(first)) == [entries[0], entries[2]]
    assert list(ledger.of(first, "table", "view")) == [entries[2]]
    assert list(ledger.of(Name("public", "c"))) == []
