"""The attack catalogue: a YAML file of attacks, read with positions; the one in this package, and users' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from rlsgen.errors import Problem, SpecError
from rlsgen.proof.attacks.places import PLACES, named
from rlsgen.spec.document import Document, read
from rlsgen.spec.validation import suggest

LeakIf = Literal["value", "rows", "success", "allowed"]
Protocol = Literal["simple", "extended", "both"]
_State = Annotated[str, StringConstraints(pattern="^[0-9A-Z]{5}$")]


class RawToken(BaseModel):
    """A context token that is not as it should be: a valid one, changed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    header: dict[str, Any] = Field(
        default={}, description="Members of the header that are set, or removed by <absent>."
    )
    claims: dict[str, Any] = Field(
        default={}, description="Claims that are set, or <absent>; now+60 and now-60 are seconds since 1970."
    )
    context: dict[str, Any] = Field(
        default={}, description="Context fields that are set, or <absent>; <field> is the first required one."
    )
    repeat: Literal["claims", "context", "header"] | None = Field(
        default=None, description="A part whose members stand there twice, the second time as another tenant's."
    )
    sign: Literal["valid", "none", "other", "cut", "longer"] = Field(default="valid", description="The signature.")
    raw: str | None = Field(default=None, description="The whole token, if it is none at all.")
    times: int = Field(default=1, ge=1, le=100_000, description="How often `raw` is repeated.")
    after: Literal["valid"] | None = Field(default=None, description="A valid context stands already.")


class RawAttack(BaseModel):
    """One attack. Its SQL has places such as <table> and <foreign>, which are filled in with what the database has."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str = Field(description="What it tries, in one line.")
    threat: Literal["A", "B", "C", "D", "own"] = Field(default="own", description="The chapter of THREATS.md.")
    rings: list[Literal[1, 2]] = Field(default=[1, 2], description="1: raw connection, 2: through the guard.")
    sql: str | None = None
    token: RawToken | None = None
    leak_if: LeakIf = Field(
        default="value",
        description="value: the first column of the last result is not null, false, 0 or empty. rows: there are rows."
        " success: there is no error. allowed: the guard lets it through; it is never run.",
    )
    blocked_by: list[_State] = Field(default=[], description="SQLSTATEs that are an answer, besides 42501.")
    protocol: Protocol = Field(default="both", description="Of ring 1; several statements need the simple one.")
    writes: bool = Field(default=False, description="Needs READ WRITE: only with --writes, and rolled back.")
    since: int = Field(default=15, description="The major version that has the syntax.")


class RawCatalogue(BaseModel):
    """A file of attacks."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    attacks: dict[Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9-]{0,63}$")], RawAttack]


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack; `token` or `sql`."""

    id: str
    title: str
    threat: str
    rings: tuple[int, ...]
    sql: str
    token: RawToken | None
    leak_if: LeakIf
    blocked_by: frozenset[str]
    protocol: Protocol
    writes: bool
    since: int


def catalogue() -> tuple[Attack, ...]:
    """The attacks that come with this package."""
    place = files("rlsgen.proof.attacks").joinpath("catalogue.yaml")
    return parse_attacks(place.read_text(encoding="utf-8"), "catalogue.yaml")


def load_attacks(path: Path) -> tuple[Attack, ...]:
    """Attacks of one's own.

    Raises:
        SpecError: the file cannot be read, or has problems; all of them are in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}"
        raise SpecError([Problem(message, None, "name a YAML file of attacks; docs/verify.md shows one")]) from None
    return parse_attacks(text, str(path))


def parse_attacks(text: str, file: str) -> tuple[Attack, ...]:
    """Attacks from a file's text.

    Raises:
        SpecError: it has problems; all of them are in it, in file order.
    """
    document = read(text, file)
    problems = list(document.problems)
    try:
        raw = RawCatalogue.model_validate(document.data)
    except ValidationError as error:
        problems += [_problem(document, dict(detail)) for detail in error.errors(include_url=False)]
        raise SpecError(problems) from None
    problems += [problem for id, each in raw.attacks.items() for problem in _faults(document, id, each)]
    if problems:
        raise SpecError(problems)
    return tuple(_attack(id, each) for id, each in raw.attacks.items())


def _attack(id: str, raw: RawAttack) -> Attack:
    rings = (1,) if raw.token else (2,) if raw.leak_if == "allowed" else tuple(raw.rings)
    return Attack(
        id=id, title=raw.title, threat=raw.threat, rings=rings, sql=(raw.sql or "").strip(), token=raw.token,
        leak_if="success" if raw.token else raw.leak_if, blocked_by=frozenset(raw.blocked_by), protocol=raw.protocol,
        writes=raw.writes, since=raw.since,
    )  # fmt: skip


def _faults(document: Document, id: str, raw: RawAttack) -> Iterator[Problem]:
    if (raw.sql is None) == (raw.token is None):
        place = document.key_position("attacks", id)
        yield Problem(f"attacks.{id} needs sql or token, and not both", place)
    for name in named(raw.sql or ""):
        if name not in PLACES:
            at = document.position("attacks", id, "sql")
            hint = suggest(name, list(PLACES), f"places: {', '.join(PLACES)}")
            yield Problem(f"attacks.{id}: <{name}> is no place", at, hint)


def _problem(document: Document, detail: dict[str, Any]) -> Problem:
    path = tuple(step for step in detail["loc"] if step != "[key]")
    name = ".".join(str(step) for step in path) or "the file"
    if detail["type"] == "extra_forbidden":
        model = RawToken if "token" in path[:-1] else RawAttack if len(path) > 1 else RawCatalogue
        hint = suggest(str(path[-1]), list(model.model_fields), f"known keys: {', '.join(model.model_fields)}")
        return Problem(f"unknown key {path[-1]!r}", document.key_position(*path), hint)
    if detail["type"] == "missing":
        above = ".".join(str(step) for step in path[:-1]) or "the file"
        return Problem(f"{above} lacks the key {path[-1]}", document.position(*path))
    place = document.key_position(*path) if "[key]" in detail["loc"] else document.position(*path)
    message = str(detail["msg"])
    return Problem(f"{name}: {message[:1].lower()}{message[1:]}", place)
