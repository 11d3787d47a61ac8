"""What a runtime and a database compare: context, roles and access; never prompts, limits, or the order of anything.

The database carries it as `rlsgen.fingerprint()`, a JSON text. A field that only one of the two knows does no harm as
long as it is optional and no filter uses it, so fields are listed one by one and everything else is a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from rlsgen.errors import Problem, RlsgenError
from rlsgen.spec.model import ContextField, Spec, TableSpec

VERSION = 1
_HINT = "run rlsgen apply with the spec that is meant, and give the runtime the same one"


@dataclass(frozen=True, slots=True)
class FieldMark:
    """A context field as a fingerprint knows it."""

    digest: str  # of its type and constraints
    required: bool


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Context, roles and access of a spec, or of a provisioned database."""

    roles: str
    access: str
    fields: Mapping[str, FieldMark]  # by the field's name, as the spec spells it

    @classmethod
    def of(cls, spec: Spec) -> Fingerprint:
        """What a spec declares."""
        fields = {each.name: FieldMark(_digest(_field(each)), each.required) for each in spec.context}
        roles = [spec.conversation, sorted(spec.unrestricted)]
        return cls(_digest(roles), _digest(_access(spec)), fields)

    @classmethod
    def parse(cls, text: str) -> Fingerprint:
        """What `rlsgen.fingerprint()` returned.

        Raises:
            RlsgenError: it is none, or of another version of rlsgen.
        """
        try:
            document = json.loads(text)
            version = document["version"]
            fields = {name: FieldMark(str(each[0]), bool(each[1])) for name, each in document["fields"].items()}
            found = cls(str(document["roles"]), str(document["access"]), fields)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise RlsgenError("what rlsgen.fingerprint() says is no fingerprint", hint=_HINT) from None
        if version != VERSION:
            raise RlsgenError(f"the database's fingerprint has version {version}, and {VERSION} is known", hint=_HINT)
        return found

    @property
    def text(self) -> str:
        """One line of JSON in ASCII without quotes or backslashes in its words: the same for the same fingerprint."""
        fields = {name: [mark.digest, mark.required] for name, mark in sorted(self.fields.items())}
        document = {"version": VERSION, "roles": self.roles, "access": self.access, "fields": fields}
        return json.dumps(document)

    @property
    def digest(self) -> str:
        """All of it as one short value."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def compatible(spec: Spec, carried: Fingerprint) -> list[Problem]:
    """Why a runtime with this spec must not use a database that carries that fingerprint; empty: it may.

    A field that only one side knows, and that is optional there, is no difference: nobody's filter uses it, or else the
    access would differ too.
    """
    own, file = Fingerprint.of(spec), spec.file
    found = []
    if own.roles != carried.roles:
        found.append(f"the database was provisioned for other roles than {file} names")
    if own.access != carried.access:
        found.append(f"the database was provisioned with other tables, views or filters than those of {file}")
    for name in sorted(own.fields.keys() | carried.fields.keys()):
        what = _field_difference(own.fields.get(name), carried.fields.get(name))
        if what:
            found.append(f"the context field {name} {what.format(file=file)}")
    return [Problem(each, None, _HINT) for each in found]


def common_fields(spec: Spec, carried: Fingerprint) -> tuple[ContextField, ...]:
    """The fields that the database knows too: what a token may contain. The others are optional if it is compatible."""
    return tuple(each for each in spec.context if each.name in carried.fields)


def _field_difference(own: FieldMark | None, carried: FieldMark | None) -> str:
    if carried is None:
        return "is required by {file}, and unknown to the database" if own and own.required else ""
    if own is None:
        return "is required by the database, and unknown to {file}" if carried.required else ""
    if own.digest != carried.digest:
        return "has another type or other constraints in the database than in {file}"
    return "is required by the database, and optional in {file}" if carried.required and not own.required else ""


def _field(field: ContextField) -> list[object]:
    return [field.type, field.minimum, field.maximum, field.pattern, field.max_length, field.max_items]


def _access(spec: Spec) -> list[object]:
    tables = sorted(json.dumps(_table(each)) for each in spec.tables)
    views = sorted(json.dumps([each.ref.schema, each.ref.name, each.access, each.hide]) for each in spec.views)
    return [spec.schemas, spec.force, spec.seal, tables, views]


def _table(table: TableSpec) -> list[object]:
    return [
        [table.ref.schema, table.ref.name],
        table.access,
        table.filter.text if table.filter else None,
        table.check.text if table.check else None,
        [[each.columns, each.parent.schema, each.parent.name, each.parent_columns] for each in table.through],
        table.allow,
        table.hide,
        table.private,
        table.existing,
    ]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
