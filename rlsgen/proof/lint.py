"""Lint: what on a live database would defeat the spec. Reads the catalog in one snapshot, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg

from rlsgen.catalog.model import Catalog
from rlsgen.catalog.read import read_catalog
from rlsgen.errors import Problem
from rlsgen.proof.exclusions import excluded
from rlsgen.proof.finding import Finding, Severity
from rlsgen.proof.rules import ALWAYS, PROVISIONED, RULES, drift, spec_misfit
from rlsgen.proof.subject import Subject
from rlsgen.provision.diff import search_path
from rlsgen.provision.judge import judge
from rlsgen.spec.model import Exclusion, Spec


@dataclass(frozen=True, slots=True)
class LintResult:
    """What was found: the worst first; what the spec accepts apart, each with the entry that accepts it."""

    findings: tuple[Finding, ...]
    ignored: tuple[tuple[Finding, Exclusion], ...]
    expired: tuple[Exclusion, ...]

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings that are at least as bad."""
        return tuple(each for each in self.findings if each.severity.reaches(severity))


def examine(
    connection: psycopg.Connection[Any], spec: Spec, *, catalog: Catalog | None = None, now: datetime | None = None
) -> LintResult:
    """Lint a database. Filters that are new to it, Postgres is asked about, as `rlsgen check` does.

    Args:
        connection: outside a transaction; of the role that runs apply, or of one that may read rlsgen's tables.
        spec: what is declared.
        catalog: what was read of it just now for the spec's conversation role; it is read where it is left out.
        now: for ages and expiries; the present where it is left out.

    Raises:
        ServerError: the server cannot be used, rlsgen's tables may not be read, or the connection is lost.
    """
    subject = Subject(spec, catalog or read_catalog(connection, spec.conversation), now or datetime.now(UTC))
    unjudged = [table for table in subject.unjudged if table.name not in subject.doubtful]
    return _lint(subject, judge(connection, subject.resolved, unjudged, search_path(spec)))


def lint(spec: Spec, catalog: Catalog, *, now: datetime | None = None) -> LintResult:
    """Lint what was read of a database; for filters that are new to it, Postgres is not asked.

    Args:
        spec: what is declared.
        catalog: read for the spec's conversation role.
        now: for ages and expiries; the present where it is left out.
    """
    return _lint(Subject(spec, catalog, now or datetime.now(UTC)), ())


def _lint(subject: Subject, refused: Iterable[Problem]) -> LintResult:
    findings = [finding for problem in refused for finding in spec_misfit.of(subject, problem)]
    for check in (*ALWAYS, *(PROVISIONED if subject.provisioned else ())):
        findings += check.find(subject)
    if subject.provisioned:
        findings += drift.find(subject, findings)
    today = subject.now.date()
    kept, ignored, about = excluded(findings, subject.spec.lint.ignore, [rule.id for rule in RULES], today)
    return LintResult(_sorted([*kept, *about]), tuple(ignored), _expired(subject.spec.lint.ignore, today))


def _expired(ignore: Sequence[Exclusion], today: date) -> tuple[Exclusion, ...]:
    return tuple(each for each in ignore if each.until is not None and each.until < today)


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = {rule.id: number for number, rule in enumerate(RULES)}
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda each: (each.severity.rank, order[each.rule], each.object)))
