"""Properties: any value of a field's type comes back as it was, and nothing but a token that was minted is taken."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsgen.runtime.token import canonical_context
from rlsgen.spec.model import BaseType
from tests.context.conftest import lasting
from tests.context.stage import ABSENT, REFUSED, Stage, context_field, sign, spec_of
from tests.support.postgres import Connection, Server

TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40
)  # without control characters and lone surrogates
HOSTILE = st.lists(
    st.sampled_from(
        ["'", '"', "\\", "{", "}", ",", "NULL", "$rlsgen$", "|", "--", ";", "\u2028", "%s", ":", " ", "0", "ü"]
    ),
    min_size=1,
    max_size=12,
).map("".join)
OFFSETS = st.integers(-15 * 60, 15 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=OFFSETS)
VALUES: dict[BaseType, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**31), 2**31 - 1),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "uuid": st.uuids(),
    "text": TEXT | HOSTILE,
    "boolean": st.booleans(),
    "date": st.dates(),
    "timestamptz": MOMENTS,
}
FIELDS = [
    field
    for base in VALUES
    for field in (
        context_field(f"one{base}", base, required=False),
        context_field(f"many{base}", base, array=True, required=False),
    )
]
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        field.name: st.lists(VALUES[field.base], max_size=5) if field.array else VALUES[field.base] for field in FIELDS
    },
)
STYLES = st.tuples(
    st.sampled_from(["ISO, MDY", "SQL, DMY", "German", "Postgres, MDY"]),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns"]),
)


@pytest.fixture(scope="module")
def every_type(server: Server) -> Iterator[Stage]:
    with lasting(server, "types", spec_of(*FIELDS)) as made:
        yield made


@pytest.fixture(scope="module")
def connection(every_type: Stage) -> Connection:
    return every_type.conversation()


def expected(value: Any) -> Any:
    if isinstance(value, list):
        return [expected(each) for each in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@settings(max_examples=150, deadline=None)
@given(context=CONTEXTS, style=STYLES)
def test_values_come_back(
    every_type: Stage, connection: Connection, context: dict[str, Any], style: tuple[str, str]
) -> None:
    accessors = ", ".join(f"rlsgen.{field.snake}()" for field in FIELDS)
    with connection.transaction():
        connection.execute("SELECT set_config('DateStyle', %s, true), set_config('TimeZone', %s, true)", style)
        connection.execute("SELECT rlsgen.set_context(%s)", [every_type.token(context)])
        # psycopg reads dates and times in the ISO style only; the values are what is tested.
        connection.execute("SET LOCAL DateStyle = ISO; SET LOCAL TimeZone = UTC")
        row = connection.execute(f"SELECT {accessors}".encode(), binary=True).fetchone()
    assert row is not None
    assert list(row) == [expected(context.get(field.name)) for field in FIELDS]


@settings(max_examples=150, deadline=None)
@given(context=CONTEXTS, part=st.integers(0, 2), place=st.floats(0, 1, exclude_max=True), data=st.data())
def test_changed_tokens_are_refused(
    every_type: Stage, connection: Connection, context: dict[str, Any], part: int, place: float, data: st.DataObject
) -> None:
    parts = every_type.token(context).split(".")
    at = int(place * len(parts[part]))
    character = data.draw(
        st.characters(codec="utf-8", exclude_characters="\x00").filter(lambda c: c != parts[part][at])
    )
    cut = data.draw(st.integers(0, 1))
    parts[part] = parts[part][:at] + character + parts[part][at + cut :]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
        connection.execute("SELECT rlsgen.set_context(%s)", [".".join(parts)])


@settings(max_examples=150, deadline=None)
@given(token=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=300))
def test_any_text_is_refused(connection: Connection, token: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
        connection.execute("SELECT rlsgen.set_context(%s)", [token])


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(field=st.sampled_from(FIELDS), value=JSON)
def test_what_the_database_takes_the_minter_makes(
    every_type: Stage, connection: Connection, field: Any, value: Any
) -> None:
    """Signed contexts of any JSON: taken as one of the spellings that `mint` would write, or refused."""
    payload = every_type.payload({field.name: value})
    try:
        with connection.transaction():
            connection.execute("SELECT rlsgen.set_context(%s)", [every_type.forge(payload)])
    except psycopg.errors.InsufficientPrivilege as error:
        if error.diag.message_primary != REFUSED:
            raise
    else:
        whole = [int(each) for each in value] if field.base == "bigint" and field.array and value else value
        whole = int(value) if field.base == "bigint" and isinstance(value, str) else whole
        assert value is None or canonical_context([field], {field.name: whole})


@settings(max_examples=100, deadline=None)
@given(payload=JSON.map(str) | st.text(max_size=50), header=st.text(max_size=50))
def test_signed_nonsense_is_refused(every_type: Stage, connection: Connection, payload: str, header: str) -> None:
    clean = payload.encode("utf-8", "replace").decode(), header.encode("utf-8", "replace").decode()
    for token in (every_type.forge(clean[0]), sign(every_type.key.secret, clean[1], "{}")):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
            connection.execute("SELECT rlsgen.set_context(%s)", [token])


ENCODING = spec_of(
    context_field("one", "text", required=False),
    context_field("two", "text", required=False),
    context_field("three", "text", array=True, required=False),
)


@pytest.fixture(scope="module")
def texts(server: Server) -> Iterator[Stage]:
    with lasting(server, "texts", ENCODING) as made:
        yield made


@settings(max_examples=150, deadline=None)
@given(
    sealed=st.tuples(HOSTILE | st.none(), HOSTILE | st.none()),
    claimed=st.tuples(HOSTILE | st.just(""), HOSTILE | st.just("")),
)
def test_one_seal_fits_one_context(
    texts: Stage, sealed: tuple[str | None, str | None], claimed: tuple[str, str]
) -> None:
    """However the texts are cut: another pair of values than the sealed one is no context."""
    connection = texts.sealed(dict(zip(("one", "two"), sealed, strict=True)))
    connection.execute("SELECT set_config('app.one', %s, true), set_config('app.two', %s, true)", claimed)
    try:
        if tuple(each or None for each in claimed) == sealed:
            assert connection.execute("SELECT rlsgen.one(), rlsgen.two()").fetchone() == sealed
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
                connection.execute("SELECT rlsgen.one()")
    finally:
        connection.close()


def test_the_extremes_of_dates(every_type: Stage, connection: Connection) -> None:
    context = {"onedate": date.min, "manydate": [date.max], "oneuuid": uuid.UUID(int=2**128 - 1)}
    with connection.transaction():
        connection.execute("SELECT rlsgen.set_context(%s)", [every_type.token(context)])
        row = connection.execute("SELECT rlsgen.onedate(), rlsgen.manydate(), rlsgen.oneuuid()").fetchone()
    assert row == (date.min, [date.max], uuid.UUID(int=2**128 - 1))
