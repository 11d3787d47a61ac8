"""The audit log: what an event tells and leaves out, that no text forges a line, and real OpenTelemetry spans."""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rlsgen.identifiers import Name
from rlsgen.runtime import audit as module
from rlsgen.runtime.audit import LOGGER, AuditEvent, AuditLog
from rlsgen.runtime.statement import AppliedFilter, Statement
from rlsgen.spec.load import parse_spec
from tests.runtime.conftest import Place
from tests.runtime.talking import ALDER, Pool

SPEC = parse_spec(
    """\
version: 1
context:
  organisationId: {type: integer, loggable: true}
  teamIds: {type: "bigint[]", loggable: true, required: false}
  userId: {type: text, loggable: false}
roles: {conversation: talker}
""",
    "p.yaml",
)
CONTEXT: Mapping[str, object] = {"organisationId": 1, "userId": "secret@example.org"}
TEXT = "SELECT name /* of 4711 */ FROM orders WHERE email = 'secret@example.org' AND total > 4711 -- or so\n LIMIT 3"
WORDS = "SELECT name FROM orders WHERE email = ? AND total > ? LIMIT ?"
STATEMENT = Statement(
    sql="SELECT name FROM public.orders",
    command="select",
    parameters=0,
    twins=(),
    filters=(
        AppliedFilter(Name("public", "orders"), "organisation_id = userContext.organisationId"),
        AppliedFilter(Name("public", "User"), "shared"),
        AppliedFilter(Name("public", "orders"), "organisation_id = userContext.organisationId"),
    ),
    fingerprint="a25db9ec907ea0ce",
)


def log(**options: Any) -> AuditLog:
    return AuditLog(SPEC.context, **options)


def event(
    text: str = TEXT, statement: Statement | None = STATEMENT, *, by: AuditLog | None = None, **more: Any
) -> AuditEvent:
    values: dict[str, Any] = {
        "time": 1_700_000_000.25, "decision": "allowed", "conversation": "c1", "user": "user_1", "context": CONTEXT,
    }  # fmt: skip
    return (by or log()).event(text, statement, **values | more)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, LOGGER):
        yield caplog


def test_an_allowed_statement(lines: pytest.LogCaptureFixture) -> None:
    log().record(event(rows=0, bytes=0, elapsed_ms=1.23456, waited_ms=0.0))
    (record,) = lines.records
    assert (record.name, record.levelname) == ("rlsgen.audit", "INFO")
    assert json.loads(record.getMessage()) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "decision": "allowed",
        "conversation": "c1",
        "user": "user_1",
        "context": {"organisationId": 1},
        "command": "select",
        "relations": ["public.orders", 'public."User"'],
        "fingerprint": "a25db9ec907ea0ce",
        "statement": WORDS,
        "length": len(TEXT),
        "rows": 0,
        "bytes": 0,
        "elapsed_ms": 1.235,
        "waited_ms": 0.0,
    }


@pytest.mark.parametrize("decision", ["refused", "failed", "timeout", "limited"])
def test_everything_else_is_a_warning(decision: Any, lines: pytest.LogCaptureFixture) -> None:
    log().record(event(statement=None, decision=decision, reason="relation", sqlstate="42P01", truncated=True))
    (record,) = lines.records
    told = json.loads(record.getMessage())
    assert record.levelname == "WARNING"
    assert (told["decision"], told["reason"], told["sqlstate"], told["truncated"]) == (
        decision,
        "relation",
        "42P01",
        True,
    )
    assert told["statement"] == WORDS, "it can be parsed, so its words are told"
    assert len(told["fingerprint"]) == 16


def test_what_is_not_loggable_is_nowhere() -> None:
    assert "secret" not in event().line
    assert "4711" not in event().line
    assert "secret" not in event(statement=None, decision="refused").line
    assert "4711" not in repr(event(statement=None, decision="refused"))
    assert "userId" not in event().line


def test_without_loggable_fields_there_is_no_context() -> None:
    quiet = AuditLog([field for field in SPEC.context if not field.loggable])
    assert "context" not in json.loads(event(by=quiet).line)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'secret", "SELECT $$secret", 'SELECT "secret', "SELEC secret", "secret\x00", "secret \ud800", "",
        "/* secret */",
        "SELECT " + "'secret'," * 10_000 + "1", "(" * 30_000 + "secret", "1+" * 15_000 + "secret",
    ],
)  # fmt: skip
def test_of_a_text_that_is_none_only_length_and_hash_are_told(text: str) -> None:
    told = json.loads(event(text, None, decision="refused", reason="syntax").line)
    assert "secret" not in json.dumps(told)
    assert told["sha256"] == hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    assert told.get("length", 0) == len(text)
    assert not told.keys() & {"statement", "fingerprint", "text"}


@pytest.mark.parametrize(("text", "words"), [
    ("SELECT 1", "SELECT ?"),
    ("SELECT\t-1.5e3,\n$1,B'101',x'ff',U&'\\0041',E'a\\'b',$x$c$x$,'it''s'", "SELECT -?, $1,?,?,?,?,?,?"),
    ("COPY orders TO '/secret/4711'", "COPY orders TO ?"),
    ("PREPARE p AS SELECT 'secret', 4711", "PREPARE p AS SELECT ?, ?"),
    ("DO $$ BEGIN PERFORM 'secret'; END $$", "DO ?"),
    ("SELECT 1; SELECT 'secret'", "SELECT ?; SELECT ?"),
    ("SELECT/*secret*/1/*secret*/--secret", "SELECT ?"),
    ("SELECT 'é', naïve FROM t", "SELECT ?, naïve FROM t"),
    ("SET app.x = 'secret'", "SET app.x = ?"),
])  # fmt: skip
def test_constants_and_comments_are_left_out(text: str, words: str) -> None:
    assert event(text, None, decision="refused").statement == words
    assert event(text, STATEMENT).statement == words


def test_texts_are_told_if_they_are_asked_for() -> None:
    assert event(by=log(literals=True)).text == TEXT
    assert (
        json.loads(event("SELECT 'secret", None, by=log(literals=True), decision="refused").line)["text"]
        == "SELECT 'secret"
    )


def test_long_texts_are_cut() -> None:
    long = "SELECT " + "a, " * 7_000 + "b"
    assert len(event(long, None, by=log(literals=True)).line) < 25_000
    assert event(long, None).statement.endswith("…")


FORGERIES = [
    "\n", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00", "\x1b[2J", "\x7f",
    "\ud800", '"}\n{"decision": "allowed"}', "\\", "\u202e", "\x9b2J",
]  # fmt: skip


@pytest.mark.parametrize("forgery", FORGERIES)
def test_no_text_forges_a_line(forgery: str, lines: pytest.LogCaptureFixture) -> None:
    texts = log(literals=True)
    made = event(
        f"SELECT '{forgery}'", None, by=texts, user=f"u{forgery}{{", conversation=f"c{forgery}%s", decision="refused",
        context={"organisationId": f"x{forgery}"}, reason="text",
    )  # fmt: skip
    texts.record(made)
    (record,) = lines.records
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    told = json.loads(line)
    assert told["decision"] == "refused"
    assert told["user"].startswith("u")


@given(text=st.text(max_size=200), user=st.text(max_size=50))
def test_any_text_makes_one_line(text: str, user: str) -> None:
    line = event(text, None, by=log(literals=True), user=user, decision="refused").line
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["decision"] == "refused"


def test_nothing_is_built_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "level", logging.ERROR)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    assert not log().enabled("refused")
    monkeypatch.setattr(logger, "level", logging.WARNING)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    assert log().enabled("refused")
    assert not log().enabled("allowed")


# OpenTelemetry


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """The SDK's own provider, for the time of one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return exporter


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def test_a_span_by_the_semantic_conventions(spans: InMemorySpanExporter) -> None:
    made = log(namespace="shop")
    assert made.enabled("allowed")
    context = {"organisationId": 1, "teamIds": [1, "9007199254740993"], "userId": "secret"}
    made.record(event(by=made, rows=3, elapsed_ms=20.0, waited_ms=5.0, context=context))
    span = only(spans)
    assert span.name == 'SELECT public.orders public."User"'
    assert span.kind is trace.SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "db.operation.name": "SELECT",
        "db.query.summary": 'SELECT public.orders public."User"',
        "db.query.text": WORDS,
        "db.response.returned_rows": 3,
        "user.id": "user_1",
        "rlsgen.conversation": "c1",
        "rlsgen.decision": "allowed",
        "rlsgen.fingerprint": "a25db9ec907ea0ce",
        "rlsgen.truncated": False,
        "rlsgen.waited_ms": 5.0,
        "rlsgen.context.organisationId": "1",
        "rlsgen.context.teamIds": '[1, "9007199254740993"]',
    }
    assert span.start_time == 1_700_000_000_250_000_000
    assert span.end_time == span.start_time + 25_000_000
    assert span.status.status_code is trace.StatusCode.UNSET


@pytest.mark.parametrize(("more", "error"), [
    ({"decision": "refused", "reason": "relation"}, "relation"),
    ({"decision": "failed", "reason": "QueryFailed", "sqlstate": "22012"}, "22012"),
    ({"decision": "timeout"}, "timeout"),
])  # fmt: skip
def test_a_span_of_what_went_wrong(more: dict[str, Any], error: str, spans: InMemorySpanExporter) -> None:
    log().record(event(statement=None, **more))
    span = only(spans)
    assert span.name == more["decision"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert (span.attributes or {})["error.type"] == error
    assert (span.attributes or {}).get("db.response.status_code") == more.get("sqlstate")
    assert "secret" not in str(span.to_json())


def test_the_span_is_a_child_of_the_caller_s(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("application").start_as_current_span("question") as question:
        log().record(event())
    child, parent = spans.get_finished_spans()
    assert child.parent is not None
    assert child.parent.span_id == question.get_span_context().span_id
    assert parent.name == "question"


@pytest.mark.parametrize("forgery", FORGERIES)
def test_spans_take_any_text(forgery: str, spans: InMemorySpanExporter) -> None:
    made = log(literals=True)
    made.record(event(f"SELECT '{forgery}'", None, by=made, user=f"u{forgery}", decision="refused"))
    for value in (only(spans).attributes or {}).values():
        str(value).encode()


def test_a_log_made_before_the_provider_finds_it(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """As libraries do that are imported before the application sets OpenTelemetry up: in a process of its own."""
    code = """
import logging
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rlsgen.runtime.audit import AuditLog
log = AuditLog(())
assert not log.enabled("allowed")
exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
assert log.enabled("allowed")
log.record(log.event("SELECT 1", None, time=0.0, decision="allowed", context={}))
assert [span.name for span in exporter.get_finished_spans()] == ["allowed"]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_spans_name_the_database(place: Place, make_pool: Callable[..., Pool], spans: InMemorySpanExporter) -> None:
    make_pool(place).conversation(ALDER).query("SELECT 1")
    assert (only(spans).attributes or {})["db.namespace"] == place.database.name


def test_without_opentelemetry_all_else_works() -> None:
    """It is an extra: a process where it cannot be imported."""
    code = """
import sys
sys.modules["opentelemetry"] = None
sys.modules["opentelemetry.trace"] = None
import logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from rlsgen.runtime.audit import AuditLog
log = AuditLog(())
assert log.enabled("allowed")
log.record(log.event("SELECT 1", None, time=0.0, decision="allowed", context={}))
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["statement"] == "SELECT ?"
    assert module.LOGGER == "rlsgen.audit"


def test_where_logging_is_not_set_up_nothing_is_printed() -> None:
    """Python prints warnings that no handler takes; the audit log's would carry texts into whatever reads stderr."""
    code = """
from rlsgen.runtime.audit import AuditLog
for log in (AuditLog(()), AuditLog(())):
    log.record(log.event("SELECT 1", None, time=0.0, decision="refused", context={}))
import logging
assert len(logging.getLogger("rlsgen.audit").handlers) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == done.stdout == ""
