"""The whole run: a scratch database, migrations, the spec, check, lint, verify, attacks, and what changes in access.

A step that fails ends what depends on it; the rest is done all the same, and everything is told at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rlsgen.catalog.connect import driver_errors, open_connection
from rlsgen.catalog.read import read_catalog
from rlsgen.ci import findings as found
from rlsgen.ci.access import compare
from rlsgen.ci.base import load_base
from rlsgen.ci.changes import Access
from rlsgen.ci.migrations import Migrated, run_alembic, run_sql, sql_files
from rlsgen.ci.scratch import Scratch, scratch, throw_away
from rlsgen.errors import HazardRefused, InvalidContext, RlsgenError, SpecError
from rlsgen.identifiers import Name
from rlsgen.proof.attacks.catalogue import catalogue
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.lint import LintResult, examine
from rlsgen.proof.rules import RULES as LINT_RULES
from rlsgen.proof.rules import server_version
from rlsgen.proof.verify import Options as VerifyOptions
from rlsgen.proof.verify import VerifyResult, verify
from rlsgen.proof.verify.findings import RULES as VERIFY_RULES
from rlsgen.proof.verify.findings import UNCOVERED
from rlsgen.proof.verify.findings import findings as verify_findings
from rlsgen.proof.verify.tenants import invented
from rlsgen.provision.apply import apply, make_plan
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.token import SigningKey, canonical_context
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

_TRIES = 8
"""Values that are made up for a field, until two of them differ."""

Status = Literal["fine", "findings", "failed", "skipped"]
Verdict = Literal["fine", "failed", "findings", "hazard"]
Context = Mapping[str, object]
RULES: tuple[Rule, ...] = (*found.RULES, *LINT_RULES, *VERIFY_RULES)

_LEFT_OUT = (server_version.RULE.id,)
"""Rules about the server itself, which here is not the one that counts."""
_TITLES = {
    "spec": "The spec is read",
    "database": "A scratch database is made",
    "migrations": "The migrations run",
    "check": "The spec fits the database",
    "apply": "The spec is applied",
    "lint": "Nothing in the catalog defeats it",
    "verify": "Conversations see their rows and no others; attacks are refused",
    "access": "Access is compared with what holds now",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What is run, and what is accepted."""

    spec: Path
    alembic: Path | None = None
    sql: Sequence[Path] = ()  # files and folders, in order
    setup: Sequence[Path] = ()  # run by an administrator, before the migrations
    seed: Sequence[Path] = ()  # rows, after the migrations
    base: str = ""  # the spec to compare with; empty: nothing is compared
    dsn: str | None = None  # an empty database; None: a server that is thrown away
    conversation_dsn: str | None = None
    database: str = "ci"
    binaries: Path | None = None
    alembic_arguments: Sequence[str] = ()  # as for `alembic -x`
    several_heads: bool = False
    access_only: bool = False  # no database: read the spec, and compare
    severity: Severity = Severity.warning  # of lint's findings
    allow: frozenset[str] | None = None  # hazards; None: all, since nobody can be hurt here
    allow_widened: bool = False
    allow_uncovered: bool = False
    contexts: Sequence[Context] = ()  # tenants besides those that are found in the rows
    tenants: int = 6


@dataclass(slots=True)
class Step:
    """One step, and how it ended."""

    name: str
    status: Status = "skipped"
    detail: str = ""
    seconds: float = 0.0

    @property
    def title(self) -> str:
        """What it says if all is well."""
        return _TITLES[self.name]


@dataclass(slots=True)
class Result:
    """All that a run found."""

    options: Options
    steps: dict[str, Step] = field(default_factory=lambda: {name: Step(name) for name in _TITLES})
    findings: list[Finding] = field(default_factory=list)
    access: Access | None = None
    hazards: tuple[str, ...] = ()  # that applying this to a database like it has
    lint: LintResult | None = None
    verified: VerifyResult | None = None
    refused: bool = False  # a hazard was

    @property
    def verdict(self) -> Verdict:
        """How it ended: a refused hazard, then failures, then findings."""
        if self.refused:
            return "hazard"
        if any(step.status == "failed" for step in self.steps.values()):
            return "failed"
        return "findings" if any(step.status == "findings" for step in self.steps.values()) else "fine"

    @property
    def file(self) -> str:
        """The spec, as findings without a place of their own show it."""
        return str(self.options.spec)


@contextmanager
def _silent(title: str) -> Iterator[None]:
    yield


def run(options: Options, *, working: Callable[[str], AbstractContextManager[None]] = _silent) -> Result:
    """Do all of it. What goes wrong is in the result; nothing of a throw-away server is left.

    Args:
        options: what is run.
        working: is told what is being done, for as long as it is.
    """
    return _Run(options, working).all()


class _Failed(Exception):
    """A step failed, and what depends on it cannot be done; its finding is noted already."""


class _Run:
    def __init__(self, options: Options, working: Callable[[str], AbstractContextManager[None]]) -> None:
        self.options = options
        self.working = working
        self.result = Result(options)
        self.migrated = ""
        self.columns: dict[Name, tuple[str, ...]] | None = None

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Does a step: how long it took, and what its failure means."""
        step, started = self.result.steps[name], time.monotonic()
        try:
            with self.working(step.title), driver_errors("go on"):
                yield step
        except RlsgenError as error:
            step.status, step.detail = "failed", error.message.partition("\n")[0]
            if isinstance(error, SpecError) and len(error.problems) > 1:
                step.detail = f"{len(error.problems)} problems"
            self.result.findings += found.of_error(error, name, self.migrated)
            self.result.refused |= isinstance(error, HazardRefused)
            raise _Failed from error
        else:
            if step.status == "skipped":
                step.status = "fine"
        finally:
            step.seconds = time.monotonic() - started

    def all(self) -> Result:
        with suppress(_Failed):  # what failed is in the result
            self._everything()
        self.result.findings.sort(key=lambda each: each.severity.rank)
        return self.result

    def _everything(self) -> None:
        with self.step("spec") as step:
            spec = load_spec(self.options.spec)
            step.detail = f"{_count(spec.tables, 'table')}, {_count(spec.views, 'view')}"
        if not self.options.access_only:
            with suppress(_Failed):  # access is compared all the same
                self._on_database(spec)
        if self.options.base:
            self._compare(spec)
        else:
            self.result.steps["access"].detail = "no --base was given"

    def _on_database(self, spec: Spec) -> None:
        with self.step("migrations") as step:
            files, seed = sql_files(self.options.sql), sql_files(self.options.seed)  # before a server is started
        step.status = "skipped"
        with ExitStack() as stack:
            with self.step("database") as step:
                place = stack.enter_context(self._scratch(spec))
                step.detail = "on a server of its own" if place.throw_away else "the one that --dsn names"
            self._migrate(place, files, seed)
            key = self._provision(place, spec)
            self._prove(place, spec, key)

    def _scratch(self, spec: Spec) -> AbstractContextManager[Scratch]:
        given = self.options
        if given.dsn is None:
            return throw_away(spec, database=given.database, binaries=given.binaries, setup=given.setup)
        return scratch(given.dsn, spec, conversation_dsn=given.conversation_dsn, setup=given.setup)

    def _migrate(self, place: Scratch, files: Sequence[Path], seed: Sequence[Path]) -> None:
        options = self.options
        with self.step("migrations") as step:
            if options.alembic is not None:
                migrated = run_alembic(
                    place.dsn, options.alembic, arguments=options.alembic_arguments,
                    several_heads=options.several_heads,
                )  # fmt: skip
            else:
                migrated = run_sql(place.dsn, files) if files else Migrated((), "no migrations")
            self.migrated = migrated.at
            step.detail = f"{_count(migrated.files, 'migration')}, up to {migrated.at}"
            if seed:
                run_sql(place.dsn, seed)
                step.detail += f", and {_count(seed, 'file')} of rows"

    def _provision(self, place: Scratch, spec: Spec) -> SigningKey:
        allow = frozenset(Hazard) if self.options.allow is None else self.options.allow
        with open_connection(place.dsn) as connection:
            with self.step("check") as step:
                catalog = read_catalog(connection, spec.conversation)
                relations = catalog.relations.items()
                self.columns = {name: tuple(each.name for each in relation.columns) for name, relation in relations}
                plan = make_plan(connection, spec)
                self.result.hazards = tuple(plan.refused(()))
                step.detail = f"{_count(plan.transactions, 'transaction')} to apply"
                if catalog.provision is not None and (behind := list(found.behind(plan, self.migrated))):
                    self.result.findings += behind
                    step.status = "findings"
            with self.step("apply") as step:
                apply(connection, spec, allow=allow)
                step.detail = f"hazards: {', '.join(self.result.hazards)}" if self.result.hazards else "no hazards"
                return create_key(connection)

    def _prove(self, place: Scratch, spec: Spec, key: SigningKey) -> None:
        with open_connection(place.dsn) as connection, self.step("lint") as step:
            self.result.lint = linted = examine(connection, spec)
            kept = [each for each in linted.at_least(self.options.severity) if each.rule not in _LEFT_OUT]
            self.result.findings += kept
            step.status, step.detail = ("findings" if kept else "fine"), _count(kept, "finding")
        with self.step("verify") as step:
            options = VerifyOptions(tenants=self.options.tenants, writes=True, plant=True)
            contexts = self.options.contexts or ([] if self.options.seed else made_up(spec))
            self.result.verified = verified = verify(
                spec, key, place.verifier_dsn, place.conversation_dsn,
                options=options, contexts=contexts, attacks=catalogue(),
            )  # fmt: skip
            self._judge(step, verified)

    def _judge(self, step: Step, verified: VerifyResult) -> None:
        open_ = self.options.allow_uncovered
        told = verify_findings(verified)
        self.result.findings += [each for each in told if each.rule != UNCOVERED.id or not open_]
        blocked = sum(each.status == "blocked" for each in verified.attacks)
        isolated = sum(each.status == "isolated" for each in verified.tables)
        step.detail = f"{isolated} of {len(verified.tables)} relations isolated, {blocked} attacks refused"
        if verified.leaks:
            step.status, step.detail = "findings", f"{verified.leaks} leaks; {step.detail}"
        elif verified.failed:
            step.status, step.detail = "failed", f"{verified.failed} relations do not work; {step.detail}"
        elif verified.uncovered and not open_:
            step.status, step.detail = "findings", f"{len(verified.uncovered)} not covered; {step.detail}"
            if not self.options.seed:
                step.detail += "; rows of two tenants help: --seed"

    def _compare(self, spec: Spec) -> None:
        with self.step("access") as step:
            before = load_base(self.options.base)
            access = compare(before, spec, self.columns, base=self.options.base if before else "")
            self.result.access = access
            self.result.findings += found.of_access(access, allowed=self.options.allow_widened)
            step.detail = "it is wider" if access.opens else "it is not wider"
            if before is None:
                step.detail += f": there is no spec at {self.options.base} yet, so all of it is new"
            step.status = "findings" if access.opens and not self.options.allow_widened else "fine"


def _count(these: Sized, what: str) -> str:
    return f"{len(these)} {what}{'' if len(these) == 1 else 's'}"


def made_up(spec: Spec) -> list[Context]:
    """Two tenants for tables without rows, different in all that can be different, if values can be made up."""
    values: dict[str, list[object]] = {each.name: [] for each in spec.context}
    for each in spec.context:
        for number in range(_TRIES):
            values[each.name] += [new for new in invented(each, number).values() if new not in values[each.name]]
    contexts: list[Context] = [
        {name: found[number % len(found)] for name, found in values.items() if found} for number in range(2)
    ]
    try:
        for context in contexts:
            canonical_context(spec.context, context)
    except InvalidContext:
        return []
    return contexts
