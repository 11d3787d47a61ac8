"""Several statements in one text, as one each: what every driver takes, and what a reviewer reads."""

from __future__ import annotations

import postgast

from rlsgen.identifiers import Sql


def one_by_one(text: Sql) -> list[Sql]:
    """The statements of a text, split where Postgres' own grammar ends them."""
    return [Sql(each.strip().rstrip(";").rstrip()) for each in postgast.split(text)] if text.strip() else []
