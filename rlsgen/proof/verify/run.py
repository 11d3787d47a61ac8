"""verify as a whole: both sides opened, tenants found, everything compared and tried, and what was not, listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from rlsgen.catalog.connect import driver_errors
from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import ServerError, SpecError
from rlsgen.identifiers import Name, fill, literal
from rlsgen.proof.attacks.catalogue import Attack
from rlsgen.proof.attacks.run import Attacks
from rlsgen.proof.verify.labels import Labels
from rlsgen.proof.verify.pairs import Comparison, Subject, subjects
from rlsgen.proof.verify.plant import Planter
from rlsgen.proof.verify.result import AttackResult, Kind, Uncovered, VerifyResult
from rlsgen.proof.verify.sides import LOCK_SECONDS, Clock, Context, SideError, Stage, TimeIsUp, opened
from rlsgen.proof.verify.tenants import Tenants
from rlsgen.proof.verify.truth import Truth
from rlsgen.proof.verify.writes import Writes
from rlsgen.provision.resolve import Resolved, Resolver
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.model import Spec

Progress = Callable[[str, int, int], None]
TENANTS = 6
"""Contexts in the sample of an ordinary run."""
_OWN = 2  # contexts made for a table in which none of the sample has rows


@dataclass(frozen=True, slots=True)
class Options:
    """How much is done. The defaults read only, and lock nothing."""

    tenants: int = TENANTS  # 0: all that are found
    statement_seconds: float = 30.0
    time_budget: float | None = None  # seconds; what is left then is uncovered
    writes: bool = False  # try to write, in transactions that are rolled back
    plant: bool = False  # put rows into tables that have none for these tenants, and roll back


def verify(
    spec: Spec,
    key: SigningKey,
    dsn: str | None,
    conversation_dsn: str,
    *,
    options: Options = Options(),
    contexts: Sequence[Context] = (),
    attacks: Sequence[Attack] = (),
    progress: Progress = lambda title, done, total: None,
) -> VerifyResult:
    """Compare what conversations see with what they should see, on a live database, and attack it.

    Args:
        spec: what should hold.
        key: signs the contexts of the tenants that are compared.
        dsn: of an unrestricted role that reads every row; None takes libpq's PG* variables.
        conversation_dsn: of the conversation role.
        options: how much is done.
        contexts: tenants to compare besides those that are found in the data.
        attacks: what to try; see `rlsgen.proof.attacks.catalogue`.
        progress: is told what is being done, and how much of it.

    Raises:
        SpecError: the spec does not fit the database.
        ServerError: a role is not what it must be, the database was not provisioned, or a connection failed.
    """
    clock = Clock(options.time_budget, options.statement_seconds)
    with opened(dsn, conversation_dsn, spec, key, clock) as stage:
        catalog = _catalog(stage.truth.connection, spec)
        _require_provision(catalog, key)
        # A relation that nobody declared does not stop this: whether it can be read is what is to be found out.
        resolved, problems = Resolver(replace(spec, undeclared="hidden"), catalog).resolve()
        if problems:
            raise SpecError(problems)
        stage.truth.require_everything(list(resolved.tables))
        run = _Run(stage, resolved, options, progress)
        run.all(contexts, attacks, conversation_dsn)
        return run.result()


def _catalog(connection: psycopg.Connection[Any], spec: Spec) -> Catalog:
    """The catalog, without waiting behind somebody's migration for longer than comparisons do."""
    with driver_errors("begin"):
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [f"{int(LOCK_SECONDS * 1000)}ms"])
    try:
        return read_catalog(connection, spec.conversation)
    finally:
        if not connection.closed:
            with driver_errors("go on"):
                connection.execute("RESET lock_timeout")  # a pooler would hand it to others


def _require_provision(catalog: Catalog, key: SigningKey) -> None:
    if catalog.provision is None:
        raise ServerError("rlsgen has not provisioned this database", hint="run rlsgen apply first")
    if catalog.provision.id != key.audience:
        raise ServerError(
            "the signing key belongs to another database",
            hint="make one with rlsgen keys create here, and give it as RLSGEN_SIGNING_KEY",
        )


@dataclass(slots=True)
class _Run:
    stage: Stage
    resolved: Resolved
    options: Options
    progress: Progress
    subjects: list[Subject] = field(default_factory=list)
    others: list[Subject] = field(default_factory=list)
    contexts: list[Context] = field(default_factory=list)
    attacks: list[AttackResult] = field(default_factory=list)
    uncovered: list[Uncovered] = field(default_factory=list)

    def all(self, given: Sequence[Context], attacks: Sequence[Attack], conversation_dsn: str) -> None:
        """Every phase, until the time is up."""
        self.subjects = list(subjects(self.resolved, Truth(self.resolved), self._definitions()))
        tenants = Tenants(self.stage.truth.connection, self.resolved, given)
        phases: list[tuple[str, Callable[[], None]]] = [
            ("finding tenants", lambda: self._find(tenants)),
            ("comparing rows", self._compare),
            ("comparing rows of tables that the sample has nothing in", lambda: self._compare_own(tenants)),
            ("conversations without a context", self._without_context),
            ("hidden tables and columns", self._hidden),
        ]
        if self.options.plant:
            phases.append(("planted rows", self._plant))
        if self.options.writes:
            phases.append(("writes", self._write))
        if attacks:
            phases.append(("attacks", lambda: self._attack(attacks, conversation_dsn)))
        for number, (_, phase) in enumerate(phases):
            try:
                phase()
            except TimeIsUp:
                self.stage.leave()
                why = f"the time budget of {self.options.time_budget:g} s was spent"
                self.uncovered += [Uncovered(left, why) for left, _ in phases[number:]]
                break
        self._conclude()

    def result(self) -> VerifyResult:
        """What was found."""
        labels = Labels(self.resolved.spec)
        tables = tuple(subject.result(labels) for subject in (*self.subjects, *self.others))
        named = [
            Uncovered(f"table {table.table}", "; ".join(n.message for n in table.notes if n.status == "uncovered"))
            for table in tables
            if table.status == "uncovered"
        ]
        contexts = tuple(labels.of(context) for context in self.contexts)
        clock = self.stage.talk.clock
        return VerifyResult(
            tables, tuple(self.attacks), (*named, *self.uncovered), contexts, self.stage.together, clock.elapsed
        )

    def _definitions(self) -> Mapping[Name, str]:
        """Of the views, with every name in them qualified."""
        names = [name for name, view in self.resolved.views.items() if view.spec.access != "hidden"]
        connection = self.stage.truth.connection
        with driver_errors("read the views"), connection.transaction():
            connection.execute("SELECT set_config('search_path', 'pg_catalog', true)")
            query = "SELECT pg_catalog.pg_get_viewdef({}::regclass)"
            rows = [connection.execute(fill(query, literal(name.sql)).encode()).fetchone() for name in names]
        return {name: str(row[0]) for name, row in zip(names, rows, strict=True) if row}

    def _find(self, tenants: Tenants) -> None:
        self.progress("finding tenants", 0, 1)
        self.stage.truth.snapshot()
        with driver_errors("find tenants in the data"):
            self.contexts = tenants.sample(self.options.tenants)
        self.stage.leave()
        if not self.contexts:  # also where all is hidden: whether it is, only a conversation can try
            self.uncovered.append(
                Uncovered("tenants", "no values of context fields are found in the data; give some with --context-json")
            )

    def _compare(self) -> None:
        comparison = Comparison(self.stage)
        total, done = len(self.contexts) * len(self.subjects), 0
        for context in self.contexts:
            for subject in self._compared(comparison, context, self.subjects):
                done += 1
                self.progress(str(subject.name), done, total)

    def _compare_own(self, tenants: Tenants) -> None:
        """Tables in which no tenant of the sample has rows, with tenants who have some."""
        comparison = Comparison(self.stage)
        missed = [each for each in self._missed() if not each.notes]
        for number, subject in enumerate(missed):
            self.progress(str(subject.name), number, len(missed))
            self.stage.truth.snapshot()
            with driver_errors("find tenants in the data"):
                own = tenants.of_table(self.resolved.tables[subject.name], _OWN)
            self.stage.leave()
            for context in own:
                list(self._compared(comparison, context, [subject]))

    def _missed(self) -> list[Subject]:
        return [each for each in self.subjects if each.kind == "scoped" and each.query and not each.covered]

    def _compared(self, comparison: Comparison, context: Context, some: Sequence[Subject]) -> Iterator[Subject]:
        try:
            yield from comparison.under(context, some)
        except SideError:
            for subject in some:
                subject.note(
                    "failed", "the database refuses the context of a tenant",
                    "is the signing key retired, or are the clocks apart? rlsgen keys list; rlsgen plan",
                )  # fmt: skip

    def _without_context(self) -> None:
        self.progress("conversations without a context", 0, 1)
        Comparison(self.stage).without_context(self.subjects, {})

    def _hidden(self) -> None:
        if not self.contexts:
            return
        comparison, catalog = Comparison(self.stage), self.resolved.catalog
        declared: dict[Name, Kind] = {n: "hidden" for n, t in self.resolved.tables.items() if t.spec.access == "hidden"}
        declared |= {n: "hidden" for n, v in self.resolved.views.items() if v.spec.access == "hidden"}
        told = {subject.name for subject in self.subjects} | declared.keys()
        undeclared: list[tuple[Name, Kind]] = [(name, "undeclared") for name in catalog.relations if name not in told]
        names = [*declared.items(), *undeclared]
        self.progress("hidden columns", 0, 1)
        try:
            comparison.columns(self.subjects, self.contexts[0])
            for number, subject in enumerate(comparison.hidden(names, self.contexts[0])):
                self.others.append(subject)
                self.progress(str(subject.name), number, len(names))
        except SideError as error:
            self.uncovered.append(Uncovered("hidden tables and columns", f"a context is refused: {error.state}"))

    def _plant(self) -> None:
        planter = Planter(self.stage, self.resolved)
        missed = self._missed()
        for number, subject in enumerate(missed):
            self.progress(str(subject.name), number, len(missed))
            planter.plant(subject, self.contexts)

    def _write(self) -> None:
        writes = Writes(self.stage, self.resolved)
        scoped = [subject for subject in self.subjects if subject.kind in ("scoped", "shared")]
        for number, subject in enumerate(scoped):
            self.progress(str(subject.name), number, len(scoped))
            writes.tried(subject, self.contexts)

    def _attack(self, attacks: Sequence[Attack], conversation_dsn: str) -> None:
        runner = Attacks(self.stage, self.resolved, self.subjects, self.contexts, writes=self.options.writes)
        for number, result in enumerate(runner.run(attacks, conversation_dsn)):
            self.attacks.append(result)
            self.progress(f"attack {result.id}", number, 2 * len(attacks))
        for ring, where in ((1, "on the raw connection"), (2, "through the guard")):
            those = [each for each in self.attacks if each.ring == ring]
            if those and all(each.status == "skipped" for each in those):
                self.uncovered.append(Uncovered(f"attacks {where}", those[0].detail))

    def _conclude(self) -> None:
        """Say of every table that was not covered why it was not."""
        for subject in self.subjects:
            if subject.notes and any(note.status != "isolated" for note in subject.notes):
                continue
            why, remedy = _uncovered(subject)
            if why:
                subject.note("uncovered", why, remedy)


def _uncovered(subject: Subject) -> tuple[str, str]:
    if not subject.tenants:
        return "nobody was compared", "give it more time, or tenants with --context-json"
    shared = subject.kind == "shared" or (subject.query is not None and not subject.query.slots)
    if shared or subject.covered:
        return "", ""
    if not subject.rows:
        return "none of the tenants that were compared has rows in it", "try --plant, or more tenants with --thorough"
    return "it holds no rows but those of the tenants who were compared", "try --plant, or more tenants with --thorough"
