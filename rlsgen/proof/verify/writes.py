"""Writes that must fail, and writes that must work: one row each, in transactions that are rolled back.

Postgres checks a policy's WITH CHECK before any constraint, so a violated constraint says that the policy let the row
pass. Triggers run, rows that are touched are locked for a moment, and sequences move on: this is done only when it is
asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlsgen.identifiers import Sql, fill, identifier, identifiers, join
from rlsgen.proof.verify.pairs import MEND, Subject, explain
from rlsgen.proof.verify.sides import DENIED, Context, SideError, Stage
from rlsgen.proof.verify.tenants import compared
from rlsgen.proof.verify.truth import Truth
from rlsgen.provision.resolve import Resolved, Table
from rlsgen.spec.model import COMMANDS, Command

_TRIED = 2  # tenants
_PASSED = "23"  # class of constraint violations: only rows that the policy let pass come so far


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the database: the values of its key, and those of the columns that a conversation may fill."""

    key: tuple[str | None, ...]
    values: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Picked:
    """What is tried on: a row of the tenant's own, one that it must not write, and one that it may read at most."""

    own: _Row | None
    foreign: _Row | None
    shared: _Row | None


class Writes:
    """Tries writes as a conversation, on rows that the unrestricted role picks."""

    def __init__(self, stage: Stage, resolved: Resolved) -> None:
        self._stage = stage
        self._resolved = resolved
        self._truth = Truth(resolved)

    def tried(self, subject: Subject, contexts: Sequence[Context]) -> None:
        """Everything that may be tried on one table.

        Raises:
            ServerError: a connection was lost.
            TimeIsUp: the time budget is spent.
        """
        if not subject.shown:
            return
        table = self._resolved.tables[subject.name]
        # Those who have rows first: without a row of one's own, little can be tried.
        for context in list(subject.tenants or contexts)[:_TRIED]:
            try:
                rows = self._picked(subject, table, context)
                self._stage.talk.enter(context, None, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                for command in COMMANDS[1:]:
                    self._command(subject, table, command, rows)
            except SideError as error:
                explain(self._stage, subject, error)
            finally:
                self._stage.leave()

    def _command(self, subject: Subject, table: Table, command: Command, rows: _Picked) -> None:
        allowed = command in table.spec.allow and table.spec.access == "scoped"
        for what, row, values in self._attempts(table, command, rows, allowed=allowed):
            state, _, touched = self._stage.talk.attempt(*_statements(subject, table, command, row, values))
            done = (not state and touched > 0) or state.startswith(_PASSED)
            if what == "own":
                if not done and state != "P0001":
                    message = f"a tenant may {command} its rows, and it does not work: {_said(state)}"
                    subject.note("failed", message, MEND)
            elif done:
                subject.note("leak", f"a conversation can {command} {what}", MEND)
            elif state not in ("", DENIED):
                subject.note("uncovered", f"whether a conversation can {command} {what} is not known: SQLSTATE {state}")

    def _attempts(
        self, table: Table, command: Command, rows: _Picked, *, allowed: bool
    ) -> Iterator[tuple[str, _Row, tuple[str | None, ...] | None]]:
        """What is tried: its name, the row that it is about, and what it is changed to."""
        own, foreign, shared = rows.own, rows.foreign, rows.shared
        if foreign is not None:
            yield "rows of another tenant", foreign, None
        if shared is not None:
            yield "rows that it may only read", shared, None
        if own is None:
            return
        if not allowed:
            yield "rows, which the spec does not allow", own, None
            return
        moved, taken = self._moved(table, own, foreign), self._moved(table, shared, own)
        if command == "update" and moved is not None:
            yield "a row of its own so that it becomes another tenant's", own, moved
        if command == "update" and shared is not None and taken is not None:
            yield "a row that everybody reads so that it becomes its own", shared, taken
        yield "own", own, None

    def _moved(self, table: Table, row: _Row | None, other: _Row | None) -> tuple[str | None, ...] | None:
        """The row's values, with those that decide whose it is taken from the other one."""
        deciding = {column.name for _, column in compared(table, self._resolved.spec)}
        deciding |= {column.name for path in table.paths for column in path.columns if path.parent != table.name}
        names = _writable(table)
        if row is None or other is None or not deciding & set(names) or not deciding <= set(names):
            return None
        pairs = zip(names, row.values, other.values, strict=True)
        return tuple(theirs if name in deciding else mine for name, mine, theirs in pairs)

    def _picked(self, subject: Subject, table: Table, context: Context) -> _Picked:
        """A row that this tenant may write (or, where none may, see), one that it may not, one that it only reads."""
        self._stage.truth.snapshot()
        if table.spec.access == "shared":
            mine = self._row(subject, table, subject.name.sql, ())
            return _Picked(mine, None, None)
        rows = self._truth.rows(subject.name, "write")
        own = self._row(subject, table, fill("({})", rows.sql), rows.values(context))
        allowed = self._truth.checked(subject.name)
        key = identifiers(subject.key)
        others = fill(
            "(SELECT * FROM {0} WHERE ROW({1})::text NOT IN (SELECT ROW({1})::text FROM ({2}) AS c))",
            subject.name.sql, key, allowed.sql,
        )  # fmt: skip
        foreign = self._row(subject, table, others, allowed.values(context))
        if table.spec.check is None:
            return _Picked(own, foreign, None)
        shared = self._truth.only_read(subject.name, key)
        return _Picked(own, foreign, self._row(subject, table, fill("({})", shared.sql), shared.values(context)))

    def _row(self, subject: Subject, table: Table, source: Sql, values: Sequence[str | None]) -> _Row | None:
        names = [*subject.key, *_writable(table)]
        texts = join(", ", [fill("t.{}::text", identifier(name)) for name in names])
        found = self._stage.truth.ask(fill("SELECT {} FROM {} AS t LIMIT 1", texts, source), values)
        return _Row(tuple(found[0][: len(subject.key)]), tuple(found[0][len(subject.key) :])) if found else None


def _writable(table: Table) -> list[str]:
    """The columns that a conversation may fill where the spec allows it."""
    return [each.name for each in table.shown if not (each.identity or each.generated or each.sequence)]


def _statements(
    subject: Subject, table: Table, command: Command, row: _Row, values: tuple[str | None, ...] | None
) -> list[tuple[Sql, list[str | None]]]:
    names, relation = _writable(table), subject.name.sql
    if command == "insert":
        places = join(", ", [Sql(f"${number}") for number in range(1, len(names) + 1)])
        if not names:
            return [(fill("INSERT INTO {} DEFAULT VALUES", relation), [])]
        return [(fill("INSERT INTO {} ({}) VALUES ({})", relation, identifiers(names), places), list(row.values))]
    ends = [(identifier(name), Sql(f"${number}")) for number, name in enumerate(subject.key, 1)]
    if subject.keyed:
        where = join(" AND ", [fill("{} = {}", *each) for each in ends])
    else:
        where = join(" AND ", [fill("{}::text IS NOT DISTINCT FROM {}", *each) for each in ends])
    if command == "delete":
        return [(fill("DELETE FROM {} WHERE {}", relation, where), list(row.key))]
    if values is None:
        column = identifier(next(iter(names), subject.key[0]))
        return [(fill("UPDATE {} SET {} = {} WHERE {}", relation, column, column, where), list(row.key))]
    return _through_cursor(fill("SELECT FROM {} WHERE {}", relation, where), table, row, values)


def _through_cursor(
    query: Sql, table: Table, row: _Row, values: tuple[str | None, ...]
) -> list[tuple[Sql, list[str | None]]]:
    """An UPDATE that reads no column: then Postgres holds the new row against the policy for UPDATE alone."""
    bound, settings = list[str | None](), []
    names = _writable(table)
    for name, mine, new in zip(names, row.values, values, strict=True):
        if mine != new:
            bound.append(new)
            settings.append(fill("{} = {}", identifier(name), Sql(f"${len(bound)}")))
    if not settings:
        return []
    changes = join(", ", settings)
    return [
        (fill("DECLARE rlsgen_moved CURSOR FOR {}", query), list(row.key)),
        (Sql("FETCH 1 FROM rlsgen_moved"), []),
        (fill("UPDATE {} SET {} WHERE CURRENT OF rlsgen_moved", table.name.sql, changes), bound),
    ]


def _said(state: str) -> str:
    return f"SQLSTATE {state}" if state else "no row is touched"
