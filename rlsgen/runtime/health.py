"""The self-check: whether this role, database and server may be used for conversations, judged from one query's answer.

The query reads the catalog as the conversation role, and takes longer the more relations there are: docs/operations.md
has numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from rlsgen.errors import Problem, RlsgenError, Unhealthy
from rlsgen.identifiers import Name, Sql, display, fill, identifier
from rlsgen.runtime.schema import schemas_of
from rlsgen.runtime.versions import OLDEST, holes_in, mended_in
from rlsgen.spec.fingerprint import Fingerprint, common_fields, compatible
from rlsgen.spec.model import COMMANDS, Spec, TableSpec, ViewSpec

KnownHoles = Literal["refuse", "warn"]
_Declared = TableSpec | ViewSpec
_ATTRIBUTES = ("SUPERUSER", "BYPASSRLS", "REPLICATION", "CREATEROLE", "CREATEDB")
_LETTERS = {"select": "r", "insert": "a", "update": "w", "delete": "d"}  # pg_policy.polcmd
_PLAN = "rlsgen plan shows what differs from the spec, and rlsgen apply mends it"


@dataclass(frozen=True, slots=True)
class Health:
    """What the self-check found. `problems` forbid conversations; `warnings` do not."""

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    fingerprint: Fingerprint | None  # what the database carries; None: nothing that can be read
    server_version: str  # 18.6
    standby: bool

    @property
    def healthy(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def require(self) -> None:
        """Do nothing if it is healthy.

        Raises:
            Unhealthy: it is not; all problems are in it.
        """
        if self.problems:
            raise Unhealthy(self.problems, hint="conversations are refused until this is mended")


def health_query() -> bytes:
    """The query that `judge` needs the answer of: parameters as `health_parameters` says, one row, one column of json.

    It is read-only, needs no context, and is run as the conversation role.
    """
    return files("rlsgen.runtime").joinpath("queries", "health.sql").read_bytes()


def health_parameters(spec: Spec) -> tuple[list[str], list[str]]:
    """$1 and $2 of `health_query`, both text[]: the spec's schemas, and the names of the columns that it hides."""
    hidden = {column for table in spec.tables for column in table.hide}
    return schemas_of(spec), sorted(hidden.union(*(view.hide for view in spec.views)))


def judge(spec: Spec, facts: Mapping[str, Any], *, known_holes: KnownHoles = "refuse") -> Health:
    """What the answer says about conversations under this spec.

    Args:
        spec: what the database should carry.
        facts: the decoded JSON of `health_query`.
        known_holes: whether holes of this server version through which a conversation can reach foreign rows are
            problems, or warnings as all others are.
    """
    carried, problems = _carried(spec, facts)
    problems = [*_role(spec, facts), *problems]
    warnings: list[Problem] = []
    if facts["role"]["name"] == spec.conversation:
        problems += [*_reach(spec, facts), *_functions(spec, facts, carried), *_relations(spec, facts)]
        warnings += [*_definers(facts), *_empty(spec, facts)]
    grave, others = _version(facts["version"])
    (problems if known_holes == "refuse" else warnings).extend(grave)
    if facts["version"] < OLDEST * 10_000:
        message = f"the server is PostgreSQL {_shown(facts['version'])}, and {OLDEST} is the oldest that can be used"
        problems.append(Problem(message, None, "upgrade it"))
    warnings += others
    return Health(tuple(problems), tuple(warnings), carried, _shown(facts["version"]), facts["standby"])


# Who


def _role(spec: Spec, facts: Mapping[str, Any]) -> Iterator[Problem]:
    role = facts["role"]
    name, shown = role["name"], display(role["name"])
    if name != spec.conversation:
        message = f"the connection is {shown}'s, and conversations are {display(spec.conversation)}'s"
        yield Problem(message, None, "give the pool the DSN of the conversation role")
    if facts["session_user"] != name:
        message = f"the connection was opened by {display(facts['session_user'])}, and acts as {shown}"
        yield Problem(message, None, "log in as the conversation role itself: SET ROLE can be undone")
    who = identifier(name)
    for attribute in _ATTRIBUTES:
        if role[attribute]:
            change = fill("ALTER ROLE {} {}", who, Sql(f"NO{attribute}"))
            yield Problem(f"{shown} has {attribute}", None, f"an administrator can run: {change}")
    for group in facts["member_of"]:
        hint = f"an administrator can run: {fill('REVOKE {} FROM {}', identifier(group), who)}"
        yield Problem(f"{shown} is a member of {display(group)}", None, hint)
    if facts["settings"]:
        hint = f"an administrator can run: {fill('ALTER ROLE {} RESET ALL', who)} (and IN DATABASE …)"
        yield Problem(f"{shown} has settings of its own: {', '.join(facts['settings'])}", None, hint)
    if facts["owned"]:
        owned = ", ".join(facts["owned"][:3]) + ("…" if len(facts["owned"]) > 3 else "")
        yield Problem(f"{shown} owns {owned}", None, f"give it another owner: {fill('REASSIGN OWNED BY {} TO …', who)}")


def _carried(spec: Spec, facts: Mapping[str, Any]) -> tuple[Fingerprint | None, list[Problem]]:
    body = facts["fingerprint"]
    if body is None:
        hint = "run rlsgen apply; it makes the fingerprint last, so an apply that was interrupted leaves none"
        return None, [Problem("this database has no rlsgen.fingerprint(): it was not provisioned", None, hint)]
    try:
        # The body is one literal, in which there is no quote: templates/fingerprint.sql.j2.
        carried = Fingerprint.parse(body[body.find("'") + 1 : body.rfind("'")])
    except RlsgenError as error:
        return None, [Problem(error.message, None, error.hint)]
    return carried, compatible(spec, carried)


# What it reaches besides relations


def _reach(spec: Spec, facts: Mapping[str, Any]) -> Iterator[Problem]:
    who = display(spec.conversation)
    roles = fill("PUBLIC, {}", identifier(spec.conversation))
    for privilege in facts["on_database"]:
        what = "temporary tables" if privilege == "TEMPORARY" else "schemas"
        revoke = fill("REVOKE {} ON DATABASE {} FROM {}", Sql(privilege), identifier(facts["database"]), roles)
        message = f"{who} may create {what} in database {display(facts['database'])}"
        yield Problem(message, None, f"its owner can run: {revoke}")
    for schema in facts["create_in"]:
        revoke = fill("REVOKE CREATE ON SCHEMA {} FROM {}", identifier(schema), roles)
        message = f"{who} may create objects in schema {display(schema)}"
        yield Problem(message, None, f"its owner can run: {revoke}")


def _functions(spec: Spec, facts: Mapping[str, Any], carried: Fingerprint | None) -> Iterator[Problem]:
    if carried is None:
        return
    there = {name.partition("__")[0] for name in facts["functions"]}  # organisation_id__2 is a version of its accessor
    wanted = ["set_context", "fingerprint", *(field.snake for field in common_fields(spec, carried))]
    missing = [f"rlsgen.{name}" for name in wanted if name not in there]
    if missing:
        message = f"{display(spec.conversation)} cannot execute {', '.join(missing)}"
        yield Problem(message, None, _PLAN)


def _definers(facts: Mapping[str, Any]) -> Iterator[Problem]:
    for function in facts["definers"]:
        hint = "the guard refuses it; without the guard it is open: revoke EXECUTE from PUBLIC, or run rlsgen apply"
        yield Problem(f"conversations may execute the SECURITY DEFINER function {function}", None, hint)


# Relations


def _declared(spec: Spec, facts: Mapping[str, Any]) -> list[tuple[_Declared, Name | None]]:
    """Everything that the spec declares, with the relation that was found for it."""
    known = {Name(row["schema"], row["name"]) for row in facts["relations"]}
    declared: list[_Declared] = [*spec.tables, *spec.views]
    found: list[tuple[_Declared, Name | None]] = []
    for each in declared:
        names = [Name(schema, each.ref.name) for schema in ([each.ref.schema] if each.ref.schema else spec.schemas)]
        found.append((each, next((name for name in names if name in known), None)))
    return found


def _empty(spec: Spec, facts: Mapping[str, Any]) -> Iterator[Problem]:
    """Relations that give an error or no rows where the spec promises some: no leak, but no honest answer."""
    secured = {Name(row["schema"], row["name"]) for row in facts["relations"] if row["row_security"]}
    for each, name in _declared(spec, facts):
        if name in secured and each.access == "shared":
            message = f"row security of {name}, which is shared, is switched on: conversations may see none of its rows"
            yield Problem(message, each.position, "switch it off, or declare a filter")
        if name is None and each.access != "hidden":
            message = f"{display(each.ref.name)} is declared, and conversations cannot find it"
            yield Problem(message, each.position, _PLAN)


def _relations(spec: Spec, facts: Mapping[str, Any]) -> Iterator[Problem]:
    declared = {name: each for each, name in _declared(spec, facts) if name is not None and each.access != "hidden"}
    filled = {name for name, each in declared.items() if isinstance(each, TableSpec) and "insert" in each.allow}
    who = display(spec.conversation)
    for row in facts["relations"]:
        name = Name(row["schema"], row["name"])
        each = declared.get(name)
        allowed: set[str] = set()
        if row["kind"] == "S" and any(Name(*table) in filled for table in row["serves"] or ()):
            allowed = {"USAGE"}
        elif each is not None:
            allowed = {"SELECT", *(word.upper() for word in (each.allow if isinstance(each, TableSpec) else ()))}
            yield from _readable(name, each, row, who)
        surplus = [word for word in row["held"] if word not in allowed]
        if surplus:
            state = "" if allowed else ", which the spec does not show"
            yield Problem(f"{who} holds {', '.join(surplus)} on {name}{state}", None, _PLAN)


def _readable(name: Name, each: _Declared, row: Mapping[str, Any], who: str) -> Iterator[Problem]:
    """A relation that the spec shows."""
    hidden = [column for column in row["hidden"] or () if column in each.hide]
    if hidden:
        yield Problem(f"{who} may read hidden columns of {name}: {', '.join(map(display, hidden))}", None, _PLAN)
    if row["whole"]:
        message = f"{who} holds SELECT on all of {name}, and so on every column that it will get"
        yield Problem(message, None, _PLAN)
    if isinstance(each, ViewSpec):
        if not row["invoker"]:
            message = f"view {name} is not security_invoker: it shows what its owner may read"
            yield Problem(message, each.position, _PLAN)
    elif each.access == "scoped":
        if not row["row_security"]:
            yield Problem(f"row security of {name} is switched off", each.position, _PLAN)
        yield from _policies(name, each, row["policies"] or ())


def _policies(name: Name, table: TableSpec, policies: Sequence[Sequence[Any]]) -> Iterator[Problem]:
    """Policies are rows of name, command, whether permissive, whether they name the role; others do not apply to it."""
    wanted = {f"rlsgen_only_{word}": [_LETTERS[word], False, True] for word in COMMANDS}
    wanted |= {f"rlsgen_allow_{word}": [_LETTERS[word], True, True] for word in table.allow}
    found = {policy: [command, permissive, mine] for policy, command, permissive, mine in policies}
    missing = [policy for policy, shape in wanted.items() if found.get(policy) != shape]
    if missing:
        yield Problem(f"{name} lacks its policies {', '.join(missing)}", table.position, _PLAN)
    if table.existing != "keep":
        for policy, (_, permissive, _) in found.items():
            if permissive and policy not in wanted:
                message = f"policy {display(policy)} on {name}, which rlsgen did not make, applies to conversations"
                yield Problem(message, table.position, "drop it, or name the roles that it is for")


# The server


def _version(version: int) -> tuple[list[Problem], list[Problem]]:
    """The holes through which a conversation can reach foreign rows, and the others."""
    holes = holes_in(version)
    hint = f"upgrade to {mended_in(version)} or later"
    risk = f'{hint}; for development there is known_holes="warn"'
    grave = ", ".join(hole.id for hole in holes if hole.grave)
    others = ", ".join(hole.id for hole in holes if not hole.grave)
    what = f"PostgreSQL {_shown(version)} has known holes in row security"
    return (
        [Problem(f"{what} that a conversation may reach foreign rows through: {grave}", None, risk)] if grave else [],
        [Problem(f"{what}, though none of foreign rows for conversations: {others}", None, hint)] if others else [],
    )


def _shown(version: int) -> str:
    return "{}.{}".format(*divmod(version, 10_000))
