"""Tables and views of a spec: what each may show, from its raw form, its filter and its paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlsgen.errors import Position, Problem, SpecError
from rlsgen.spec.document import Document
from rlsgen.spec.filters import parse_filter
from rlsgen.spec.model import FilterText, RelationRef, TableSpec, Through, ViewSpec
from rlsgen.spec.names import parse_relation, parse_through
from rlsgen.spec.schema import RawTable
from rlsgen.spec.sqltext import SqlTextError
from rlsgen.spec.validation import Validated


class RelationReader:
    """Reads the tables and views of one spec, and adds what is wrong with them to `problems`."""

    def __init__(
        self, document: Document, validated: Validated, problems: list[Problem], reserved: Sequence[str]
    ) -> None:
        self.document = document
        self.raw = validated.raw
        self.partial = validated.partial
        self.problems = problems
        self.reserved = reserved
        self.seen: dict[RelationRef, Position] = {}
        declared = document.data.get("context")
        self.fields = list(declared) if isinstance(declared, dict) else None  # broken ones too: they are reported once
        self.has_default = "default_filter" in document.data
        self.default = (
            self._filter("the default filter", "default_filter") if self.raw.default_filter is not None else None
        )
        if self.default:
            self._check_scopes(self.default, "the default filter", "default_filter")

    def tables(self) -> tuple[TableSpec, ...]:
        """The tables, in file order."""
        return tuple(table for key, raw in self.raw.tables.items() if (table := self._table(key, raw)))

    def views(self) -> tuple[ViewSpec, ...]:
        """The views, in file order."""
        found = []
        for key, raw in self.raw.views.items():
            ref = self._ref("views", key)
            if ref:
                place = self.document.key_position("views", key)
                found.append(ViewSpec(ref, raw.access, tuple(raw.columns.hide), raw.prompt, place))
        return tuple(found)

    def _table(self, key: str, raw: RawTable) -> TableSpec | None:
        ref = self._ref("tables", key)
        path = ("tables", key)
        filter = self._filter(f"filter of {key}", *path, "filter") if raw.filter is not None else None
        check = self._filter(f"check of {key}", *path, "check") if raw.check is not None else None
        through = self._through(key, raw)
        self._check_access(key, raw)
        self._check_allow(key, raw)
        self._check_columns(key, raw)
        for text, name in ((filter, "filter"), (check, "check")):
            if text and not raw.through:
                self._check_scopes(text, f"{name} of {key}", *path, name)
        if raw.access == "scoped" and raw.filter is None and not raw.through:
            filter = self.default
        if ref is None:
            return None
        return TableSpec(
            ref=ref,
            access=raw.access,
            filter=filter,
            check=check,
            through=through,
            allow=tuple(raw.allow or ("select",)),
            hide=tuple(raw.columns.hide),
            private=tuple(raw.columns.private),
            existing=raw.existing,
            prompt=raw.prompt,
            why=raw.why,
            position=self.document.key_position(*path),
            column_positions=self._column_positions(key, raw),
        )

    def _problem(self, message: str, position: Position, hint: str = "") -> None:
        self.problems.append(Problem(message, position, hint))

    def _ref(self, part: str, key: str) -> RelationRef | None:
        try:
            ref = parse_relation(key)
        except SqlTextError as error:
            place = self.document.key_characters(part, key)[error.offset]
            self._problem(f"{part}: {key!r} is not a name: {error.message}", place, error.hint)
            return None
        place = self.document.key_position(part, key)
        schema = ref.schema or ""
        if schema in self.reserved or schema.startswith("pg_"):
            message = f"{key} is in a schema of Postgres or of rlsgen itself"
            self._problem(message, place, "declare your own tables only")
        if ref in self.seen:
            hint = "SQL folds names without quotes to small letters; remove one of the two"
            self._problem(f"{key} is declared twice; first at {self.seen[ref]}", place, hint)
        self.seen.setdefault(ref, place)
        return ref

    def _filter(self, owner: str, *path: str) -> FilterText | None:
        value: Any = self.document.data
        for step in path:
            value = value[step] if isinstance(value, dict) else value
        try:
            return parse_filter(value, self.document.characters(*path), self.fields, owner)
        except SpecError as error:
            self.problems.extend(error.problems)
            return None

    def _through(self, key: str, raw: RawTable) -> tuple[Through, ...]:
        found: list[Through] = []
        for index, text in enumerate(raw.through or ()):
            path = ("tables", key, "through", index)
            try:
                columns, parent, parent_columns = parse_through(text)
            except SqlTextError as error:
                place = self.document.characters(*path)[error.offset]
                self._problem(f"through of {key}: {error.message}", place, error.hint)
                continue
            through = Through(columns, parent, parent_columns, self.document.position(*path))
            if through in found:
                self._problem(f"through of {key} names the same path twice", through.position, "remove one of the two")
            found.append(through)
        return tuple(found)

    def _check_scopes(self, filter: FilterText, owner: str, *path: str) -> None:
        if filter.fields or filter.relations:
            return
        word = filter.text.strip().lower()
        if word in ("shared", "hidden", "scoped"):
            message = f"{owner}: {word} is an access, not a condition"
            hint = "write {access: shared, why: …}" if word == "shared" else f"write `access: {word}`"
        else:
            message = f"{owner} uses no userContext field and no sub-query, so it lets everyone see the same rows"
            hint = "add a condition on userContext; a table that everyone may read is {access: shared, why: …}"
        if path[-1] == "check":
            message = message.replace("see the same rows", "write the same rows")
            hint = "add a condition on userContext, or leave check out: the filter then governs writes too"
        self._problem(message, filter.position(len(filter.text) - len(filter.text.lstrip())), hint)

    def _check_access(self, key: str, raw: RawTable) -> None:
        place = self.document.key_position("tables", key)
        partial = ("tables", key) in self.partial  # then what seems to be missing may be what is broken
        if raw.access == "shared":
            if not raw.why.strip() and not partial:
                self._problem(f"{key} is shared without a reason", place, "say why everyone may read it: `why: …`")
            for name in ("filter", "check", "through"):
                if getattr(raw, name) is not None:
                    at = self.document.key_position("tables", key, name)
                    message = f"{key} is shared and cannot have a {name}"
                    self._problem(message, at, f"remove `{name}` or `access: shared`")
        elif raw.access == "scoped" and not (raw.filter is not None or raw.through or self.has_default or partial):
            hint = "give it a filter or a path (through), or the spec a default_filter"
            self._problem(f"nothing says which rows of {key} are visible", place, hint)

    def _check_allow(self, key: str, raw: RawTable) -> None:
        if raw.allow is None:
            return
        at = self.document.key_position("tables", key, "allow")
        if raw.access == "hidden":
            self._problem(f"{key} is hidden and allows nothing", at, "remove `allow` or `access: hidden`")
        elif raw.access == "shared" and raw.allow != ["select"]:
            hint = "a table that conversations write needs a filter and a check"
            self._problem(f"{key} is shared, which is for reading only", at, hint)
        elif "select" not in raw.allow:
            hint = "Postgres reads the rows that UPDATE and DELETE change, and those that RETURNING shows: add select"
            self._problem(f"{key} allows writes without select", at, hint)

    def _check_columns(self, key: str, raw: RawTable) -> None:
        for index, name in enumerate(raw.columns.private):
            if name in raw.columns.hide:
                at = self.document.position("tables", key, "columns", "private", index)
                hint = "hide is enough for a column that nobody compares; private is for one that conversations read"
                self._problem(f"the column {name} of {key} is both hidden and private", at, hint)

    def _column_positions(self, key: str, raw: RawTable) -> dict[str, Position]:
        return {
            name: self.document.position("tables", key, "columns", part, index)
            for part, names in (("hide", raw.columns.hide), ("private", raw.columns.private))
            for index, name in enumerate(names)
        }
