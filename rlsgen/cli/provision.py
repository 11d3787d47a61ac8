"""rlsgen check, plan, apply and destroy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from rlsgen.catalog.connect import open_connection, require_writable_session
from rlsgen.catalog.read import read_catalog
from rlsgen.cli.options import DEFAULT_SPEC, Allow, Dsn, LockTimeout, OutputFormat, SpecPath
from rlsgen.cli.output import (
    Exit,
    Format,
    PlanFormat,
    err,
    examples,
    progress,
    say,
    show_exactly,
    show_plan,
    show_problems,
    working,
    write_json,
)
from rlsgen.errors import Problem, RlsgenError, SpecError
from rlsgen.identifiers import Name
from rlsgen.provision.apply import Patience, apply, check_plan, exclusive, execute, make_plan
from rlsgen.provision.destroy import destroy_plan
from rlsgen.provision.diff import search_path
from rlsgen.provision.plan import Hazard, Plan
from rlsgen.provision.reindex import make_indexes
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec
from rlsgen.spec.names import parse_relation
from rlsgen.spec.sqltext import SqlTextError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "rlsgen check --dsn postgresql://owner@localhost/shop",
            "rlsgen check --spec policies.yaml --format json",
        )
    )(check)
    app.command(
        epilog=examples(
            "rlsgen plan",
            "rlsgen plan --out plan.json",
            "rlsgen plan --format sql > policies.sql",
            "rlsgen plan > /dev/null  (in CI: exit code 3 says that the database is not as the spec says)",
        )
    )(plan)
    app.command(
        "apply",
        epilog=examples(
            "rlsgen apply --allow PUBLIC_REVOKE --allow PLANNER_STATISTICS",
            "rlsgen apply plan.json",
            "rlsgen apply --indexes",
        ),
    )(apply_)
    app.command(
        epilog=examples(
            "rlsgen destroy --dry-run",
            "rlsgen destroy --yes",
            "rlsgen destroy --table billing.invoices",
        )
    )(destroy)


@contextmanager
def _boundary() -> Iterator[None]:
    """Says where the database stands when somebody stops what changes it."""
    try:
        yield
    except KeyboardInterrupt:
        err().print("stopped: what was committed is safe, what ran is rolled back; `rlsgen plan` shows what is left")
        raise


def check(dsn: Dsn = None, spec: SpecPath = DEFAULT_SPEC, format: OutputFormat = Format.text) -> int:
    """Does the spec fit the database? Needs no data and changes nothing.

    Exit codes: 0 it fits, 1 it does not.
    """
    try:
        declared = load_spec(spec)
        with open_connection(dsn) as connection, working("comparing the spec with the database"):
            made = make_plan(connection, declared)
    except SpecError as error:
        if format is Format.json:
            write_json({"problems": [_problem(each) for each in error.problems], "advice": []})
            return Exit.FAILED
        raise
    if format is Format.json:
        write_json({"problems": [], "advice": [_problem(each) for each in made.advice]})
        return Exit.FINE
    show_problems(made.advice, "yellow")
    scoped = sum(table.access == "scoped" for table in declared.tables)
    say(f"{spec} fits the database: {len(declared.tables)} tables, {scoped} of them scoped.")
    return Exit.FINE


def _problem(problem: Problem) -> dict[str, object]:
    at = problem.position
    place = {"file": at.file, "line": at.line, "column": at.column} if at else {}
    return {**place, "message": problem.message, "hint": problem.hint}


def plan(
    dsn: Dsn = None,
    spec: SpecPath = DEFAULT_SPEC,
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan for `apply FILE`.")
    ] = None,
    format: Annotated[
        PlanFormat, typer.Option("--format", help="text, json, or sql for psql and migration tools.")
    ] = PlanFormat.text,
) -> int:
    """What would apply do? Reads the database in one snapshot and changes nothing.

    Exit codes: 0 nothing to do, 1 failed, 3 there are changes.
    """
    declared = load_spec(spec)
    with open_connection(dsn) as connection, working("comparing the spec with the database"):
        made = make_plan(connection, declared)
    if out_file is not None:
        _save(made, out_file)
    match format:
        case PlanFormat.json:
            write_json(json.loads(made.to_json()))
        case PlanFormat.sql:
            show_exactly(made.to_sql())
        case PlanFormat.text:
            show_plan(made.to_text())
            show_problems(made.advice, "yellow")
            if made.hazards:
                allowed = "".join(f" --allow {hazard}" for hazard in made.refused(()))
                err().print(f"To accept the hazards: rlsgen apply{allowed}")
    return Exit.DIFFERENCES if made.transactions else Exit.FINE


def _save(made: Plan, file: Path) -> None:
    try:
        file.write_text(made.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise RlsgenError(f"cannot write {file}: {error.strerror}") from error


def apply_(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A saved plan: applied only if it is still the plan.")
    ] = None,
    dsn: Dsn = None,
    spec: SpecPath = DEFAULT_SPEC,
    allow: Allow = None,
    indexes: Annotated[
        bool, typer.Option("--indexes", help="Also make the indexes that filters want, CONCURRENTLY.")
    ] = False,
    single_transaction: Annotated[
        bool, typer.Option("--single-transaction", help="All or nothing, under all locks at once: for small databases.")
    ] = False,
    lock_timeout: LockTimeout = Patience().lock_timeout,
    lock_attempts: Annotated[int, typer.Option(min=1, help="How often to try for a lock.")] = Patience().attempts,
    format: OutputFormat = Format.text,
) -> int:
    """Make the database as the spec says, table by table, each in one short transaction.

    Safe to interrupt and to run again: a second apply finds nothing to do.

    Exit codes: 0 done, 1 failed, 4 a hazard was not allowed.
    """
    allowed = allowed_hazards(allow)
    declared = load_spec(spec)
    expected = _fingerprint(file) if file else None
    patience = Patience(lock_timeout=lock_timeout, attempts=lock_attempts)
    with open_connection(dsn) as connection, _boundary(), progress() as bar:
        outcome = apply(
            connection,
            declared,
            allow=allowed,
            expected=expected,
            single_transaction=single_transaction,
            patience=patience,
            progress=bar,
        )
        made = make_indexes(connection, declared, bar, patience) if indexes else []
    if format is Format.json:
        write_json({**json.loads(outcome.plan.to_json()), "indexes": made, "retries": outcome.retries})
        return Exit.FINE
    if outcome.plan.transactions:
        say(_done("Applied", outcome.plan))
    else:
        say("No changes: the database is as the spec says.")
    for label in made:
        say(f"Made {label}.")
    if not indexes:
        show_problems(outcome.plan.advice, "yellow")
    return Exit.FINE


def allowed_hazards(names: list[str] | None) -> set[str]:
    """Hazards from `--allow A --allow B` or `--allow A,B`."""
    allowed = {part.strip().upper() for name in names or [] for part in name.split(",") if part.strip()}
    unknown = sorted(allowed - set(Hazard))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: no such hazard; there are {', '.join(Hazard)}")
    return allowed


def _fingerprint(file: Path) -> str:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        return str(document["fingerprint"])
    except OSError as error:
        raise RlsgenError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RlsgenError(f"{file} is no saved plan", hint="make one with: rlsgen plan --out FILE") from error


def _done(verb: str, plan: Plan) -> str:
    changes, transactions = len(list(plan.steps)), len(plan.transactions)
    plural = "" if transactions == 1 else "s"
    return f"{verb} {changes} change{'' if changes == 1 else 's'} in {transactions} transaction{plural}."


def destroy(
    dsn: Dsn = None,
    spec: SpecPath = DEFAULT_SPEC,
    table: Annotated[
        str | None, typer.Option("--table", help='Only this table, as SQL names it: orders, billing."Line".')
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")] = False,
    lock_timeout: LockTimeout = Patience().lock_timeout,
    format: OutputFormat = Format.text,
) -> int:
    """Give back what stood before: grants, then row security, then policies. Signing keys are gone afterwards.

    Safe to interrupt and to run again.

    Exit codes: 0 done, 1 failed or not confirmed.
    """
    declared = load_spec(spec)
    with open_connection(dsn) as connection:
        with working("reading the database"):
            made = _destroy_plan(connection, declared, table)
        if format is Format.text and (dry_run or not yes):
            show_plan(made.to_text())
        if not dry_run:
            if not yes:
                typer.confirm("Give all of this back?", abort=True, err=True)
            _give_back(connection, declared, table, made, Patience(lock_timeout=lock_timeout))
    if format is Format.json:
        write_json(json.loads(made.to_json()))
    elif not dry_run:
        say(_done("Gave back what stood before:", made))
    return Exit.FINE


def _give_back(
    connection: psycopg.Connection[Any], declared: Spec, table: str | None, seen: Plan, patience: Patience
) -> None:
    """Do what was shown, if it is still what is to be done: nobody holds the others up while a person thinks."""
    require_writable_session(connection)
    with _boundary(), exclusive(connection), progress() as bar:
        check_plan(_destroy_plan(connection, declared, table), (), seen.fingerprint)
        execute(connection, seen, patience=patience, progress=bar)


def _destroy_plan(connection: psycopg.Connection[Any], declared: Spec, table: str | None) -> Plan:
    catalog = read_catalog(connection, declared.conversation)
    name = None
    if table is not None:
        try:
            ref = parse_relation(table)
        except SqlTextError as error:
            raise RlsgenError(f"--table {table}: {error.message}", hint=error.hint) from error
        schemas = [ref.schema] if ref.schema else list(declared.schemas)
        found = [each for schema in schemas if (each := Name(schema, ref.name)) in catalog.relations]
        name = found[0] if found else Name(schemas[0], ref.name)
    return destroy_plan(catalog, declared.conversation, search_path(declared), name)
