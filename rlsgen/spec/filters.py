"""Filters: one Postgres condition each, taken apart by Postgres' own grammar; what scopes wrongly is refused.

A filter is parsed twice, as `SELECT  text` and as `SELECT (text)`. Only one expression, and nothing that closes a
parenthesis or opens a clause, comes out of both as the same tree.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import postgast
from google.protobuf.message import DecodeError, Message
from postgast import pg_query_pb2 as pb

from rlsgen.errors import Position, Problem, SpecError
from rlsgen.spec.inspection import Inspection, inspect
from rlsgen.spec.model import FilterText
from rlsgen.spec.sqltext import COMMENTS, SqlTextError, Token, tokens
from rlsgen.spec.trees import same
from rlsgen.spec.validation import suggest

MAX_BYTES = 10_000
MAX_OPERATORS = 1_000  # each can deepen the tree by one; libpg_query recurses over it on the C stack
_BARE, _CLOSED = ("SELECT  ", ""), ("SELECT (", "\n)")  # of equal length, so that both trees have the same locations
_OFFSET = len(_BARE[0])
_SIMPLE = (pb.IDENT, pb.ICONST, pb.FCONST, pb.SCONST, pb.ASCII_44, pb.ASCII_46)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What a text says, wherever it stands: kept, because a spec repeats its filters thousands of times."""

    text: str
    tree: pb.Node
    found: Inspection = field(compare=False)


def parse_filter(
    text: str, positions: Sequence[Position], fields: Sequence[str] | None, owner: str = "the filter"
) -> FilterText:
    """Read a filter or check.

    Args:
        text: as written; a leading WHERE and a trailing semicolon are blanked out.
        positions: of every character of `text`, and of its end.
        fields: the names of the context fields, as the spec spells them; None accepts any.
        owner: what messages call it: "filter of orders".

    Raises:
        SpecError: it is not one expression, or uses something that a filter must not; all that is wrong is in it.
    """
    try:
        parsed = _parse(text)
    except SqlTextError as error:
        raise SpecError([Problem(f"{owner}: {error.message}", positions[error.offset], error.hint)]) from None
    faults = parsed.found.faults
    problems = [Problem(f"{owner}: {fault.message}", positions[fault.offset], fault.hint) for fault in faults]
    used = []
    spelled = None if fields is None else {name.lower(): name for name in fields}
    for name, offset in parsed.found.fields:
        if spelled is not None and name.lower() not in spelled:
            known = ", ".join(spelled.values()) or "none"
            hint = suggest(name, list(spelled.values()), f"declare it under context; the fields are: {known}")
            problems.append(Problem(f"{owner}: userContext has no field {name}", positions[offset], hint))
        used.append(spelled.get(name.lower(), name) if spelled else name)
    if problems:
        raise SpecError(sorted(problems, key=lambda problem: problem.position or Position("", 0, 0)))
    return FilterText(
        text=parsed.text,
        fields=tuple(dict.fromkeys(used)),
        relations=parsed.found.relations,
        functions=parsed.found.functions,
        positions=positions,
    )


def expression(filter: FilterText) -> pb.Node:
    """A fresh copy of a filter's syntax tree, for its caller to change. See `offset` for its locations."""
    copy = pb.Node()
    copy.CopyFrom(_parse(filter.text).tree)
    return copy


def offset(filter: FilterText, location: int) -> int:
    """Which character of the filter's text a `location` of its tree means; `filter.position` takes it to the file."""
    return len(filter.text.encode()[: max(location - _OFFSET, 0)].decode(errors="replace"))


@functools.lru_cache(maxsize=16_384)
def _parse(text: str) -> _Parsed:
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        raise SqlTextError(f"it is {size} bytes long; at most {MAX_BYTES} are allowed", 0)
    found = [token for token in tokens(text) if token.kind not in COMMENTS]
    text, found = _trimmed(text, found)
    _check_tokens(text, found)
    tree = _only_expression(text, found[-1].end)
    return _Parsed(text, tree, inspect(tree, text, _OFFSET))


def _trimmed(text: str, found: list[Token]) -> tuple[str, list[Token]]:
    """The text without WHERE at its start and a semicolon at its end, blanked so that every offset stays true."""
    if found and found[0].kind == pb.WHERE:
        text = _blank(text, found[0])
        found = found[1:]
    if found and found[-1].kind == pb.ASCII_59:
        text = _blank(text, found[-1])
        found = found[:-1]
    return text, found


def _blank(text: str, token: Token) -> str:
    return text[: token.start] + " " * (token.end - token.start) + text[token.end :]


def _check_tokens(text: str, found: list[Token]) -> None:
    if not found:
        hint = "write a condition, such as organisation_id = userContext.organisationId"
        raise SqlTextError("it is empty", 0, hint=hint)
    for token in found:
        if token.kind == pb.ASCII_59:
            hint = "one condition, without a semicolon; combine several with AND"
            raise SqlTextError("there is a semicolon inside", token.start, hint=hint)
    if sum(token.kind not in _SIMPLE for token in found) > MAX_OPERATORS:
        hint = "look values up in a table, with a sub-query"
        raise SqlTextError(f"it has more than {MAX_OPERATORS} operators and keywords", 0, hint=hint)


def _only_expression(text: str, end: int) -> pb.Node:
    """The tree of the one expression that the text is; `end` is where its last token ends."""
    closed, bare = _statement(text, _CLOSED, end), _statement(text, _BARE, end)
    failures = [each for each in (closed, bare) if isinstance(each, SqlTextError)]
    if isinstance(closed, SqlTextError) or isinstance(bare, SqlTextError):
        raise min(failures, key=lambda failure: failure.offset)
    inner, outer = _value(closed), _value(bare)
    if inner is None or outer is None:
        hint = "combine conditions with AND or OR"
        raise SqlTextError("it is a list, not one condition", _second(bare, text), hint=hint)
    if not same(inner, outer):
        raise SqlTextError("it is not one condition", 0, hint="put the whole of it into parentheses")
    return outer


def _statement(text: str, frame: tuple[str, str], end: int) -> pb.ParseResult | SqlTextError:
    try:
        return postgast.parse(frame[0] + text + frame[1])
    except postgast.PgQueryError as error:
        at = error.cursorpos - 1 - _OFFSET
        if at >= end:  # the closing parenthesis is ours, or the text just stops
            return SqlTextError("it ends too early", end, hint="something is missing after this place")
        return SqlTextError(error.message, max(at, 0))
    except DecodeError:  # protobuf reads 100 levels of messages, of which each level of SQL takes two or more
        hint = "use fewer levels of parentheses, and lists instead of long sums"
        return SqlTextError("it is nested too deeply", 0, hint=hint)


def _value(result: pb.ParseResult) -> pb.Node | None:
    """The value of `SELECT value`, if the statement is that and nothing more."""
    if len(result.stmts) != 1 or not _has_only(result.stmts[0], "stmt"):
        return None
    select = result.stmts[0].stmt.select_stmt
    if len(select.target_list) != 1 or not _has_only(select, "target_list", "limit_option", "op"):
        return None
    target = select.target_list[0].res_target
    value: pb.Node = target.val
    return value if _has_only(target, "val", "location") else None


def _has_only(message: Message, *names: str) -> bool:
    return all(descriptor.name in names for descriptor, _ in message.ListFields())


def _second(result: pb.ParseResult, text: str) -> int:
    """Where the second of several values starts; 0 where that is not what is wrong."""
    targets = result.stmts[0].stmt.select_stmt.target_list
    if len(targets) < 2:
        return 0
    return len(text.encode()[: targets[1].res_target.location - _OFFSET].decode(errors="replace"))
