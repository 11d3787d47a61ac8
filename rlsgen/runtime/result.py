"""What a statement gave: rows as Python values, their columns, and what is to be known about them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import postgres
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import AdaptersMap
from psycopg.types.datetime import TimestamptzLoader

from rlsgen.runtime.schema import Schema
from rlsgen.runtime.statement import AppliedFilter

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ResultColumn:
    """A column of a result; names need not be unique."""

    name: str
    type: str  # as Postgres shows it: integer, timestamp with time zone, order_status
    type_oid: int


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one statement. Values are those of psycopg's default loaders."""

    rows: list[Row]
    columns: tuple[ResultColumn, ...]
    filters: tuple[AppliedFilter, ...]  # what decided about the rows; empty without the guard, which does not know
    truncated: bool  # the limits of rows or bytes cut it: there are more
    elapsed: float  # seconds, from sending it until all of the answer was there
    command: str  # as Postgres says: SELECT, INSERT, UPDATE, DELETE
    row_count: int  # rows that were written, or that are in `rows`


class TypeNames:
    """Names of types by oid: Postgres' own, and those of a schema's columns."""

    def __init__(self, schema: Schema | None = None) -> None:
        self._own: dict[int, str] = {}
        for relation in schema.relations.values() if schema is not None else ():
            for column in relation.columns:
                self._own[column.type_oid] = column.type

    def columns(self, fields: tuple[tuple[str, int], ...]) -> tuple[ResultColumn, ...]:
        """Columns from names and oids, as they came."""
        return tuple(ResultColumn(name, self._name(oid), oid) for name, oid in fields)

    def _name(self, oid: int) -> str:
        return _builtin(oid) or self._own.get(oid) or str(oid)


@lru_cache(maxsize=4_096)
def _builtin(oid: int) -> str:
    """The name of one of Postgres' own types, as format_type gives it; empty if it is none that psycopg knows."""
    info = postgres.types.get(oid)
    if info is None:
        return ""
    return f"{info.regtype}[]" if info.array_oid == oid and info.oid != oid else info.regtype


class Adapters(AdaptContext):
    """How values become Python's, independent of any connection: UTF-8, ISO, and times in one zone."""

    def __init__(self, time_zone: str) -> None:
        self._adapters = AdaptersMap(postgres.adapters)
        if time_zone != "UTC":
            zone = ZoneInfo(time_zone)

            class InZone(TimestamptzLoader):
                """Moments in the pool's time zone."""

                def load(self, data: Buffer) -> datetime:
                    return super().load(data).astimezone(zone)

            self._adapters.register_loader("timestamptz", InZone)

    @property
    def adapters(self) -> AdaptersMap:
        """The map, a copy of psycopg's own."""
        return self._adapters

    @property
    def connection(self) -> None:
        """None: nothing that a session has set matters."""
        return
