"""Names in a spec: relations and `through` as Postgres' scanner reads them, and context fields in snake_case."""

from __future__ import annotations

import functools
import re

import postgast
from postgast import pg_query_pb2 as pb

from rlsgen.spec.model import RelationRef
from rlsgen.spec.sqltext import SqlTextError, Token, tokens

MAX_NAME_BYTES = 63  # NAMEDATALEN - 1; Postgres cuts longer names and says so only in a notice
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """A context field's name as an SQL name: organisationId is organisation_id, HTTPServerId is http_server_id.

    One rule: an underscore goes before a capital that follows a small letter or a digit, and before the last capital of
    several when a small letter follows it; then everything becomes small. `name` matches [A-Za-z][A-Za-z0-9]*, so that
    no underscore is ever doubled, and an underscore is never followed by a digit.
    """
    return _WORD_STARTS.sub("_", name).lower()


@functools.lru_cache(maxsize=8192)
def parse_relation(text: str) -> RelationRef:
    """Read a table's or view's name as SQL does: `User` is user, '"User"' keeps its capital, `billing.invoices`.

    Reserved words need no quotes, since nothing but a name can stand here: `order`, `user`.

    Raises:
        SqlTextError: it is no name, has more than two parts, or a part that Postgres would cut.
    """
    if len(text) <= MAX_NAME_BYTES and text.isascii() and text.isidentifier() and text.islower():
        return RelationRef(None, text)  # the grammar would only give it back
    reader = _Reader(text)
    ref = reader.relation()
    reader.end("a table's name stands alone: no alias, no ONLY, no *, no parentheses, no comments")
    return ref


@functools.lru_cache(maxsize=8192)
def parse_through(text: str) -> tuple[tuple[str, ...], RelationRef, tuple[str, ...]]:
    """Read `order_id -> orders(id)` or `(order_id, n) -> "Order"(id, n)`: columns, parent, the parent's columns.

    Raises:
        SqlTextError: it is not of this form, or the two sides differ in their number of columns.
    """
    reader = _Reader(text)
    columns = reader.columns() if reader.sees("(") else (reader.name("a column"),)
    reader.expect("->", "an arrow -> and the parent")
    parent = reader.relation()
    start = reader.offset
    parent_columns = reader.columns()
    reader.end("write `column -> parent(column)`; several paths are a list")
    if len(columns) != len(parent_columns):
        counts = f"{len(columns)} on the left, {len(parent_columns)} on the right"
        raise SqlTextError(f"both sides of -> need the same number of columns: {counts}", start)
    return columns, parent, parent_columns


class _Reader:
    """Walks over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens(text)
        self.at = 0

    @property
    def token(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    @property
    def offset(self) -> int:
        return self.token.start if self.token else len(self.text)

    def sees(self, text: str) -> bool:
        return self.token is not None and self.token.text == text

    def expect(self, text: str, what: str) -> None:
        if not self.sees(text):
            raise self.unexpected(what)
        self.at += 1

    def unexpected(self, what: str) -> SqlTextError:
        found = f"found {self.token.text!r}" if self.token else "the text ends"
        hint = "a name with other characters goes in quotes: '\"Line Item\"'"
        if "->" in self.text:
            hint = "write `column -> parent(column)`; inside {…}, YAML wants quotes around a text with a comma"
        return SqlTextError(f"expected {what}, but {found}", self.offset, hint=hint)

    def end(self, hint: str) -> None:
        if self.token:
            raise SqlTextError(f"unexpected {self.token.text!r} after the name", self.offset, hint=hint)

    def relation(self) -> RelationRef:
        first = self.name("a table's name")
        if not self.sees("."):
            return RelationRef(None, first)
        self.at += 1
        second = self.name("a table's name after the schema")
        if self.sees("."):
            hint = "leave the database out; a name that contains a dot goes in quotes: '\"a.b\"'"
            raise SqlTextError("a table's name has at most two parts, schema and name", self.offset, hint=hint)
        return RelationRef(first, second)

    def columns(self) -> tuple[str, ...]:
        self.expect("(", "columns in parentheses")
        names = [self.name("a column")]
        while self.sees(","):
            self.at += 1
            names.append(self.name("a column"))
        self.expect(")", "a comma or a closing parenthesis")
        return tuple(names)

    def name(self, what: str) -> str:
        token = self.token
        if token is None or not (token.keyword or token.kind in (pb.IDENT, pb.UIDENT)):
            raise self.unexpected(what)
        self.at += 1
        return _folded(token)


def _folded(token: Token) -> str:
    """A name as Postgres reads it. After a dot its grammar takes every word, reserved ones too."""
    if token.kind == pb.UIDENT:
        hint = "write the characters themselves"
        raise SqlTextError('names in the form U&"…" are not supported', token.start, hint=hint)
    spelled = token.text[1:-1].replace('""', '"') if token.text.startswith('"') else token.text
    if len(spelled.encode()) > MAX_NAME_BYTES:
        message = f"the name is {len(spelled.encode())} bytes long; Postgres cuts names after {MAX_NAME_BYTES}"
        raise SqlTextError(message, token.start, hint="write the name as the database has it")
    tree = postgast.parse(f"SELECT x.{token.text}")
    name: str = tree.stmts[0].stmt.select_stmt.target_list[0].res_target.val.column_ref.fields[1].string.sval
    return name
