"""From `policies.yaml` to a `Spec`: all that can be said without a database, and everything wrong with it at once."""

from __future__ import annotations

from pathlib import Path

from rlsgen.errors import Position, Problem, SpecError
from rlsgen.spec.context import read_fields
from rlsgen.spec.document import Document, Mapping, Node, Scalar, read
from rlsgen.spec.functions import read_functions
from rlsgen.spec.model import ContextField, Exclusion, Limits, LintSettings, Spec
from rlsgen.spec.relations import RelationReader
from rlsgen.spec.schema import RawLimits, RawLint, RawSpec
from rlsgen.spec.validation import suggest, validate

MAX_BYTES = 10 * 1024 * 1024
SYSTEM_SCHEMAS = ("information_schema", "rlsgen", "rlsgen_private")


def load_spec(path: Path) -> Spec:
    """Read a spec from a file.

    Raises:
        SpecError: the file cannot be read, or the spec has problems; all of them are in it, in file order.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _unreadable(path, "there is no such file", "name the spec with --spec, or create policies.yaml") from None
    except IsADirectoryError:
        raise _unreadable(path, "is a directory, not a file", "name the file in it") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, f"cannot be read: {error}", "") from None
    if len(data) > MAX_BYTES:
        hint = "a spec of 5,000 tables takes half a megabyte"
        raise _unreadable(path, f"is larger than {MAX_BYTES // 1024**2} MB", hint)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        place = Position(str(path), before.count("\n") + 1, len(before) - before.rfind("\n"))
        message = f"the byte 0x{data[error.start]:02X} is not UTF-8"
        raise SpecError([Problem(message, place, "save the file as UTF-8")]) from None
    return parse_spec(text, str(path))


def parse_spec(text: str, file: str) -> Spec:
    """Read a spec from its text; `file` is what positions call it.

    Raises:
        SpecError: the spec has problems; all of them are in it, in file order.
    """
    document = read(text, file)
    validated = validate(document)
    raw, problems = validated.raw, [*document.problems, *validated.problems]
    fields = read_fields(document, raw.context, problems)
    _check_roles(document, raw, problems)
    _check_schemas(document, raw, problems)
    relations = RelationReader(document, validated, problems, SYSTEM_SCHEMAS)
    tables, views = relations.tables(), relations.views()
    functions = read_functions(document, raw.functions, problems)
    limits = _limits(document, raw.limits, fields, problems)
    if problems:
        raise SpecError(sorted(dict.fromkeys(problems), key=lambda problem: problem.position or Position("", 0, 0)))
    return Spec(
        file=file,
        context=fields,
        conversation=raw.roles.conversation,
        unrestricted=tuple(raw.roles.unrestricted),
        schemas=tuple(raw.schemas),
        undeclared=raw.undeclared,
        force=raw.force,
        seal=raw.seal,
        tables=tables,
        views=views,
        functions=functions,
        limits=limits,
        positions=_positions(document),
        lint=_lint(document, raw.lint),
    )


def _unreadable(path: Path, message: str, hint: str) -> SpecError:
    return SpecError([Problem(f"{path}: {message}", None, hint)])


def _check_roles(document: Document, raw: RawSpec, problems: list[Problem]) -> None:
    conversation, place = raw.roles.conversation, document.position("roles", "conversation")
    if conversation in raw.roles.unrestricted:
        at = document.position("roles", "unrestricted", raw.roles.unrestricted.index(conversation))
        hint = "the role that runs untrusted SQL needs a login of its own"
        problems.append(Problem(f"{conversation} is the conversation role and cannot be unrestricted", at, hint))
    if conversation.startswith("pg_"):
        message = f"{conversation} cannot be the conversation role: pg_ is reserved"
        problems.append(Problem(message, place, "name a LOGIN role"))
    every = [("conversation", conversation), *(("unrestricted", role) for role in raw.roles.unrestricted)]
    for index, (key, role) in enumerate(every, -1):
        if role in ("public", "none"):
            at = document.position("roles", key, index)
            problems.append(Problem(f"{role} is not a role but a keyword of Postgres", at, "name the roles one by one"))


def _check_schemas(document: Document, raw: RawSpec, problems: list[Problem]) -> None:
    for index, schema in enumerate(raw.schemas):
        if schema in SYSTEM_SCHEMAS or schema.startswith("pg_"):
            message = f"{schema} is a schema of {'rlsgen' if schema.startswith('rlsgen') else 'Postgres'}"
            hint = "name the schemas that hold your tables"
            problems.append(Problem(message, document.position("schemas", index), hint))


def _limits(document: Document, raw: RawLimits, fields: tuple[ContextField, ...], problems: list[Problem]) -> Limits:
    per = next((each for each in fields if raw.per and each.name.lower() == raw.per.lower()), None)
    if raw.per is not None and (per is None or per.array):
        names = [each.name for each in fields if not each.array]
        what = "is an array" if per else "is no context field"
        hint = suggest(raw.per, names, f"name one of: {', '.join(names)}") if not per else "name a field with one value"
        problems.append(Problem(f"limits.per: {raw.per} {what}", document.position("limits", "per"), hint))
    for key in ("concurrent", "per_minute"):
        if raw.per is None and getattr(raw, key) is not None:
            message = f"limits.{key} does not say per what it counts"
            problems.append(Problem(message, document.key_position("limits", key), "add `per` and a context field"))
    return Limits(per.name if per else None, raw.rows, raw.bytes, raw.seconds, raw.concurrent, raw.per_minute)


def _lint(document: Document, raw: RawLint) -> LintSettings:
    ignore = tuple(
        Exclusion(each.rule, each.object, each.why, each.until, document.position("lint", "ignore", index))
        for index, each in enumerate(raw.ignore)
    )
    return LintSettings(raw.key_days, ignore)


def _positions(document: Document) -> dict[str, Position]:
    """The places of everything outside of tables, views and context fields: `roles.unrestricted.0`."""
    found: dict[str, Position] = {}

    def add(name: str, node: Node, depth: int) -> None:
        found[name] = document.place(node.start)
        if depth == 0 or isinstance(node, Scalar):
            return
        children = node.values.items() if isinstance(node, Mapping) else enumerate(node.items)
        for step, child in children:
            add(f"{name}.{step}", child, depth - 1)

    for key, node in document.root.values.items():
        add(key, node, 0 if key in ("tables", "views", "context") else 2)
    return found
