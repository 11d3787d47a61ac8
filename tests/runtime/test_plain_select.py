"""A plain SELECT over one's own rows, whose order tells what others have: until the column is private."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.pool import ConversationPool
from rlsgen.spec.load import parse_spec
from tests.support.postgres import Database, Databases, Server

SPEC = """
version: 1
context: {organisationId: integer}
roles: {conversation: nl_conversation, unrestricted: [shop_owner, shop_app]}
schemas: [public]
default_filter: organisation_id = userContext.organisationId
tables:
  patients: {}
  visits: {%s}
"""
# Half of everything belongs to organisation 1. Only organisation 2 knows influenza, and it is a third of its visits.
TABLES: LiteralString = """
CREATE TABLE patients (id integer PRIMARY KEY, organisation_id integer NOT NULL,
  filling text NOT NULL DEFAULT repeat('x', 60));
CREATE TABLE visits (id integer PRIMARY KEY, organisation_id integer NOT NULL, patient_id integer NOT NULL,
  diagnosis text NOT NULL);
INSERT INTO patients SELECT n, 1 + n % 2 FROM generate_series(1, 60000) AS n;
INSERT INTO visits SELECT n, 1 + n % 2, 60001 - n, CASE WHEN n % 6 = 2 THEN 'influenza' ELSE 'number ' || n END
  FROM generate_series(1, 60000) AS n;
UPDATE visits SET organisation_id = 3 - organisation_id;
CREATE INDEX ON visits (diagnosis);
CREATE INDEX ON visits (organisation_id);
CREATE INDEX ON patients (organisation_id);
"""
# The planner starts with the visits if it expects few of them, and with the patients if it expects many: so the rows
# come in one order or in the other, and both are the asker's own.
ORACLE = """SELECT p.id FROM visits AS v JOIN patients AS p ON p.id = v.patient_id
  WHERE v.diagnosis IN ('{}', 'number 11', 'number 59999')"""


GUESSES = ("measles", "influenza", "number 40004")  # the last is somebody's, once: no statistics keep it


@pytest.fixture(scope="module")
def clinics(server: Server) -> Iterator[Database]:
    databases = Databases(server, f"clinics_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}")
    database = databases()
    with psycopg.connect(database.dsn()) as owner:
        owner.execute(TABLES)
    yield database
    databases.drop()


def orders(database: Database, columns: str, **options: Any) -> list[list[object]]:
    """The own rows in the order in which they come with each guess, after everything was analysed."""
    spec = parse_spec(SPEC % columns, "clinic.yaml")
    with open_connection(database.dsn()) as owner:
        apply(owner, spec, allow=tuple(Hazard))
        key = create_key(owner)
        owner.execute("ANALYZE")
    dsn = database.dsn(spec.conversation)
    with ConversationPool(dsn, spec, key, known_holes="warn", min_size=0, **options) as pool:
        talk = pool.conversation({"organisationId": 1})
        found = [[row[0] for row in talk.query(ORACLE.format(guess)).rows] for guess in GUESSES]
    assert [sorted(each) for each in found] == [[2, 59_990]] * 3, "own rows, and no others"
    return found


@pytest.mark.parametrize("twins", [False, True])
def test_the_order_of_own_rows_tells_what_others_have(clinics: Database, twins: bool) -> None:
    measles, influenza, number = orders(clinics, "", twins=twins)
    assert measles == number
    assert influenza != measles, "if it tells nothing any more, the words about private columns can be weaker"


@pytest.mark.parametrize("twins", [False, True])
def test_of_a_private_column_it_tells_nothing(clinics: Database, twins: bool) -> None:
    measles, influenza, number = orders(clinics, "columns: {private: [diagnosis]}", twins=twins)
    assert measles == influenza == number
