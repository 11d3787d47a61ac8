"""Table by table and tenant by tenant: what the conversation role sees, against what it should see."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from rlsgen.catalog.model import Column
from rlsgen.errors import Position
from rlsgen.identifiers import Name, Sql, display, fill, identifier, identifiers
from rlsgen.proof.verify.labels import Labels
from rlsgen.proof.verify.result import Kind, Note, TableResult, TableStatus
from rlsgen.proof.verify.sides import DENIED, Context, Digest, SideError, Stage
from rlsgen.proof.verify.truth import Query, Truth, Untold
from rlsgen.provision.resolve import Resolved, Table

_MISSING = ("42P01", "3F000", "42703", "42809")
_BUSY = ("55P03", "40001", "40P01")
_SLOW = "57014"
_WORST_FIRST: tuple[TableStatus, ...] = ("leak", "failed", "uncovered")
_AGAIN = 2  # times that a difference is looked at again where both sides cannot share a snapshot


@dataclass(slots=True)
class Subject:
    """One relation, and what has been learnt about it so far."""

    name: Name
    kind: Kind
    shown: tuple[str, ...]  # columns that the conversation role should read
    hidden: tuple[str, ...]
    key: tuple[str, ...]  # columns that tell its rows apart
    query: Query | None = None  # what a context should see
    keyed: bool = False  # whether `key` is one that Postgres keeps unique
    fewer: bool = False  # policies of others may show less than the spec says
    tenants: list[Context] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)  # what each of them should see, and saw
    foreign: bool = False  # whether there are rows that somebody who was compared must not see
    rows: int = 0
    planted: bool = False
    notes: list[Note] = field(default_factory=list)
    seconds: float = 0.0
    position: Position | None = None

    def note(self, status: TableStatus, message: str, remedy: str = "") -> None:
        """Say something once."""
        note = Note(status, message, remedy)
        if note not in self.notes:
            self.notes.append(note)

    def said(self, status: TableStatus) -> bool:
        """Whether there is a note of that status."""
        return any(note.status == status for note in self.notes)

    @property
    def covered(self) -> bool:
        """Whether somebody saw rows, and there were others to withhold."""
        return self.rows > 0 and self.foreign

    @property
    def pairs(self) -> int:
        """Ordered pairs of tenants who should see something else."""
        alike = Counter(self.digests).values()
        return len(self.digests) ** 2 - sum(number**2 for number in alike)

    def result(self, labels: Labels) -> TableResult:
        """All of it, with a status."""
        status: TableStatus = next((each for each in _WORST_FIRST if self.said(each)), "isolated")
        tenants = tuple(labels.of(context) for context in self.tenants)
        notes = tuple(self.notes)
        return TableResult(
            self.name,
            self.kind,
            status,
            tenants,
            self.pairs,
            self.rows,
            self.planted,
            notes,
            self.seconds,
            self.position,
        )


def subjects(resolved: Resolved, truth: Truth, definitions: Mapping[Name, str]) -> Iterator[Subject]:
    """Everything that conversations may read: scoped and shared tables, and views."""
    for name, table in resolved.tables.items():
        if table.spec.access != "hidden":
            key = _key(table)
            shown = _names(table.shown)
            subject = Subject(name, table.spec.access, shown, table.spec.hide, key or shown, keyed=bool(key))
            subject.fewer = table.spec.existing == "keep"
            subject.position = table.spec.position
            yield _told(subject, partial(truth.rows, name))
    for name, view in resolved.views.items():
        if view.spec.access != "hidden":
            shown = _names(view.shown)
            subject = Subject(name, "view", shown, view.spec.hide, shown, position=view.spec.position)
            yield _told(subject, partial(truth.view, name, definitions))


def _told(subject: Subject, told: Callable[[], Query]) -> Subject:
    try:
        subject.query = told()
    except Untold as error:
        subject.note("uncovered", f"what it should show cannot be computed: {error.message}")
    if not subject.shown:
        subject.note("uncovered", "all of its columns are hidden", "declare it hidden")
    return subject


def _names(columns: Iterable[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns)


def _key(table: Table) -> tuple[str, ...]:
    """A key that the conversation role reads, and that is unique over everything that the table shows; or nothing."""
    shown = _names(table.shown)
    inherited = table.relation.kind != "partitioned" and bool(table.relation.children)
    for index in table.relation.indexes:
        columns = tuple(column for column in index.columns if column is not None)
        whole = index.unique and index.valid and not index.partial and len(columns) == len(index.columns)
        not_null = all((column := table.relation.column(name)) and column.not_null for name in columns)
        if whole and not_null and not inherited and set(columns) <= set(shown):
            return columns
    return ()


class Comparison:
    """Compares subjects under one context after another."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def under(self, context: Context, some: Iterable[Subject]) -> Iterator[Subject]:
        """Compare each of these; every one is yielded when it is done.

        Raises:
            SideError: the context is refused.
            ServerError: a connection was lost.
            TimeIsUp: the time budget is spent.
        """
        entered = False
        for subject in some:
            started = time.monotonic()
            try:
                if not entered:
                    self._stage.enter(context)
                    entered = True
                self._compare(subject, context)
            except SideError as error:
                if not entered:
                    raise
                entered = False  # both transactions end, and the next subject gets new ones
                explain(self._stage, subject, error)
            subject.seconds += time.monotonic() - started
            yield subject
        self._stage.leave()

    def _compare(self, subject: Subject, context: Context) -> None:
        query = subject.query
        if query is None or not subject.shown or subject.said("uncovered"):
            return  # what is locked, slow or gone once is not waited for again
        values = query.values(context)
        true, seen = self._both(subject, query, values)
        for _ in range(0 if self._stage.together else _AGAIN):
            if true == seen:
                break
            self._stage.enter(context)
            true, seen = self._both(subject, query, values)
        if true != seen:
            self._differs(subject, query, values)
        subject.tenants.append(context)
        subject.digests.append(true)
        subject.rows = max(subject.rows, true.count)
        subject.foreign = subject.foreign or self._foreign(subject, true)

    def _both(self, subject: Subject, query: Query, values: Sequence[str | None]) -> tuple[Digest, Digest]:
        true = self._stage.truth.digest(fill("({})", query.sql), subject.key, values)
        return true, self._stage.talk.digest(subject.name.sql, subject.key)

    def _differs(self, subject: Subject, query: Query, values: Sequence[str | None]) -> None:
        """Whether there are rows too many or too few."""
        true = self._stage.truth.hashes(fill("({})", query.sql), subject.key, values)
        seen = self._stage.talk.hashes(subject.name.sql, subject.key)
        more = sum(max(seen.get(part, 0) - true.get(part, 0), 0) for part in seen)
        less = sum(max(true.get(part, 0) - seen.get(part, 0), 0) for part in true)
        if more or not less:
            number = f"at least {more:,} rows" if more else "rows"
            subject.note("leak", f"a tenant sees {number} that it must not see", MEND)
        elif not subject.fewer:
            subject.note("failed", f"a tenant does not see {less:,} of its rows", MEND)
        else:
            subject.note("isolated", "policies of others, which `existing: keep` left, show fewer rows than the filter")

    def _foreign(self, subject: Subject, true: Digest) -> bool:
        """Whether there are rows beyond those of this tenant."""
        if any(digest != true for digest in subject.digests):
            return True
        if subject.kind not in ("scoped",):
            return False
        some = Sql(str(true.count + 1))
        counted = fill("SELECT count(*) FROM (SELECT FROM {} LIMIT {}) AS t", subject.name.sql, some)
        return bool(self._stage.truth.ask(counted)[0][0] > true.count)

    def without_context(self, some: Iterable[Subject], nobody: Context) -> None:
        """Every scoped table and view refuses a conversation that has no context."""
        for subject in some:
            if subject.kind not in ("scoped", "view") or subject.query is None or subject.said("uncovered"):
                continue
            try:
                self._stage.enter(None)
                self._refuses(subject, subject.query.values(nobody))
            except SideError as error:
                if error.state == DENIED and error.side == self._stage.talk.name:
                    continue  # as it should be
                explain(self._stage, subject, error)
        self._stage.leave()

    def _refuses(self, subject: Subject, values: Sequence[str | None]) -> None:
        seen = self._stage.talk.digest(subject.name.sql, subject.key)
        assert subject.query is not None  # noqa: S101 - asked before
        everybodys = self._stage.truth.digest(fill("({})", subject.query.sql), subject.key, values)
        if seen.count and seen != everybodys:
            subject.note("leak", f"{seen.count:,} rows are seen without any context", MEND)
        elif not seen.count and subject.kind == "scoped" and subject.rows and subject.foreign:
            message = "without a context it looks empty, and must refuse: an answer that nobody may trust"
            subject.note("failed", message, MEND)

    def columns(self, some: Iterable[Subject], context: Context) -> None:
        """What is shown can be read, column by column, and what is hidden cannot."""
        self._stage.enter(context)
        for subject in some:
            if subject.said("uncovered"):
                continue
            relation = subject.name.sql
            if subject.shown:
                shown = fill("SELECT {} FROM {} LIMIT 0", identifiers(subject.shown), relation)
                state, _, _ = self._stage.talk.attempt((shown, ()))
                if state == DENIED:
                    subject.note("failed", "some columns that the spec shows cannot be read", MEND)
            for column in subject.hidden:
                hidden = fill("SELECT {} FROM {} LIMIT 0", identifier(column), relation)
                state, _, _ = self._stage.talk.attempt((hidden, ()))
                if state == "":
                    subject.note("leak", f"the hidden column {display(column)} can be read", MEND)
        self._stage.leave()

    def hidden(self, names: Iterable[tuple[Name, Kind]], context: Context) -> Iterator[Subject]:
        """What conversations must not read at all: it is tried, and what was declared or can be read is yielded."""
        self._stage.enter(context)
        for name, kind in names:
            started = time.monotonic()
            subject = Subject(name, kind, (), (), ())
            state, _, _ = self._stage.talk.attempt((fill("SELECT FROM {} LIMIT 1", name.sql), ()))
            if state == "":
                what = "it is hidden, and" if kind == "hidden" else "nobody declared it, and"
                subject.note("leak", f"{what} a conversation can read it", MEND)
            elif state in _MISSING and kind == "hidden":
                subject.note("uncovered", _GONE)
            elif state not in (DENIED, *_MISSING):
                subject.note("failed", f"reading it ended with SQLSTATE {state} instead of a refusal")
            subject.seconds = time.monotonic() - started
            if kind == "hidden" or subject.notes:
                yield subject
        self._stage.leave()


MEND = "rlsgen plan shows what differs from the spec, and rlsgen apply mends it; rlsgen lint says what defeats it"
_GONE = "it was dropped or changed while verify ran, or rlsgen apply has not seen it yet"


def explain(stage: Stage, subject: Subject, error: SideError) -> None:
    """What a failed statement says about a subject."""
    ours = error.side == stage.talk.name
    if error.state in _MISSING:
        subject.note("uncovered", _GONE, "run verify again")
    elif error.state in _BUSY:
        subject.note("uncovered", "another session holds a lock on it", "run verify again when it is through")
    elif error.state == _SLOW and stage.talk.clock.spent:
        subject.note("uncovered", "the time budget was spent while it was compared", "give it more time")
    elif error.state == _SLOW:
        seconds = stage.talk.clock.statement_seconds
        subject.note("uncovered", f"comparing it took longer than {seconds:g} s", "raise --statement-timeout")
    elif error.state == DENIED and ours and error.ours:
        subject.note("failed", "the context is there, and the table says that there is none", MEND)
    elif error.state == DENIED and ours:
        subject.note("failed", "a conversation may not read it", MEND)
    elif ours:
        subject.note("failed", f"reading it as a conversation fails with SQLSTATE {error.state}", MEND)
    else:
        subject.note("uncovered", f"what it should show cannot be computed: SQLSTATE {error.state} ({error.kind})")
