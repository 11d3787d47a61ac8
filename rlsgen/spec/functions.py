"""Functions and operators that a spec allows in statements, by their SQL names; dangerous ones never pass."""

from __future__ import annotations

import functools
from importlib.resources import files

from postgast import pg_query_pb2 as pb

from rlsgen.errors import Problem
from rlsgen.identifiers import display
from rlsgen.spec.document import Document
from rlsgen.spec.model import AllowedFunction
from rlsgen.spec.names import parse_relation
from rlsgen.spec.schema import RawFunctions
from rlsgen.spec.sqltext import COMMENTS, SqlTextError, tokens

_OWN = ("rlsgen", "rlsgen_private", "information_schema")
_SIGNS = frozenset("+-*/<>=~!@#%^&|`?")
_HINT = "write its schema, a dot, and its name: public.similarity; for an operator its signs: 'public.<->'"


def read_functions(document: Document, raw: RawFunctions, problems: list[Problem]) -> tuple[AllowedFunction, ...]:
    """The functions and operators of `functions.allow`; what is wrong with them is added to `problems`."""
    found: list[AllowedFunction] = []
    for index, written in enumerate(raw.allow):
        path = ("functions", "allow", index)
        try:
            schema, name, operator = parse_function(written)
        except SqlTextError as error:
            place = document.characters(*path)[error.offset]
            problems.append(Problem(f"functions.allow: {written!r} is not usable: {error.message}", place, error.hint))
            continue
        found.append(AllowedFunction(schema, name, operator, document.position(*path)))
    return tuple(found)


def parse_function(written: str) -> tuple[str, str, bool]:
    """Read `public.similarity`, `public."Word"` or `public.<->`: schema, name, whether it is an operator.

    Raises:
        SqlTextError: it is no qualified name, or must not be allowed.
    """
    found = [token for token in tokens(written) if token.kind not in COMMENTS]
    last = found[-1] if found else None
    if last is None or len(found) < 3 or found[-2].kind != pb.ASCII_46:
        raise SqlTextError("it needs a schema and a name", 0, hint=_HINT)
    operator = frozenset(last.text) <= _SIGNS
    if operator:
        schema, name = parse_relation(written[: found[-2].start]), last.text
        if schema.schema is not None:
            raise SqlTextError("it has more than two parts", 0, hint=_HINT)
        qualifier = schema.name
    else:
        ref = parse_relation(written)
        qualifier, name = ref.schema or "", ref.name
    refused = _refusal(qualifier, name)
    if refused:
        raise SqlTextError(refused, 0, hint="no statement may call it; remove it")
    return qualifier, name, operator


def _refusal(schema: str, name: str) -> str:
    if schema in _OWN or (schema.startswith("pg_") and schema != "pg_catalog"):
        return f"{display(schema)} is a schema of Postgres or of rlsgen itself"
    exact, beginnings = dangerous()
    if schema == "pg_catalog" and (name in exact or name.startswith(beginnings)):
        return f"{name} reaches beyond the rows that a conversation may see"
    if name in exact or name.startswith(("dblink", "crosstab", "lo_", "pg_read", "pg_file", "pg_ls")):
        return f"functions called {name} run SQL from a text, or reach beyond the database"
    return ""


@functools.cache
def dangerous() -> tuple[frozenset[str], tuple[str, ...]]:
    """Names of functions that must never be allowed, and beginnings of such names."""
    text = files("rlsgen.spec").joinpath("dangerous_functions.txt").read_text(encoding="utf-8")
    words = [word for line in text.splitlines() for word in line.partition("#")[0].split()]
    return (
        frozenset(word for word in words if not word.endswith("*")),
        tuple(word[:-1] for word in words if word.endswith("*")),
    )
