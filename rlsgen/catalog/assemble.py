"""From rows of the catalog's queries to the values of `rlsgen.catalog.model`: no SQL and no server here.

Built for tens of thousands of rows: what many rows share (types, ACLs, labels of relations) is worked out once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Literal

from rlsgen.catalog.model import (
    Catalog,
    Column,
    DefaultPrivilege,
    Dependency,
    DerivedStatistics,
    Extension,
    ForeignKey,
    Function,
    Grant,
    Hook,
    Index,
    Key,
    LargeObjects,
    LedgerEntry,
    Membership,
    Policy,
    Provision,
    Relation,
    RelationKind,
    Role,
    Schema,
    SessionSetting,
    SystemPrivilege,
)
from rlsgen.identifiers import Name

Rows = list[tuple[Any, ...]]
DependencyKind = Literal["acl", "owner", "other"]
BaseKind = Literal["base", "enum", "composite", "range", "multirange", "pseudo"]

_RELATION_KINDS: dict[str, RelationKind] = {
    "r": "table", "p": "partitioned", "v": "view", "m": "matview", "f": "foreign", "S": "sequence"
}  # fmt: skip
_RELATION_LABELS: dict[RelationKind, str] = {  # as pg_identify_object and pg_describe_object call them
    "table": "table",
    "partitioned": "table",
    "view": "view",
    "matview": "materialized view",
    "foreign": "foreign table",
    "sequence": "sequence",
}
_TYPE_KINDS: dict[str, BaseKind] = {
    "b": "base", "e": "enum", "c": "composite", "r": "range", "m": "multirange", "p": "pseudo"
}  # fmt: skip
_COMMANDS: dict[str, Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]] = {
    "*": "ALL", "r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE"
}  # fmt: skip
_DEFAULT_KINDS: dict[str, Literal["table", "sequence", "function", "type", "schema", "largeobject"]] = {
    "r": "table", "S": "sequence", "f": "function", "T": "type", "n": "schema", "L": "largeobject"
}  # fmt: skip
_DEPENDENCY_KINDS: dict[str, DependencyKind] = {"a": "acl", "o": "owner"}


class _RoleNames(dict[int, str]):
    """Names of roles by oid. A role that is gone but still named by an ACL keeps its number, as Postgres shows it."""

    def __missing__(self, oid: int) -> str:
        return str(oid)


def assemble(rows: Mapping[str, Rows], server_version: int) -> Catalog:
    """A catalog from the rows of every query, by the query's name; queries that were not run are absent."""
    roles = _RoleNames((row[0], row[1]) for row in rows["roles"])
    grants = _grants(rows["acls"], roles)
    schemas = {oid: Schema(name, roles[owner], grants.get(acl, ())) for oid, name, owner, acl in rows["schemas"]}
    names = {row[0]: Name(schemas[row[1]].name, row[2]) for row in rows["relations"]}
    columns = _columns(rows, names, grants)
    relations = _relations(rows, names, columns, roles, grants)
    database, owner, acl, user, in_recovery, read_only, can_create, *_ = rows["server"][0]
    identifiers = rows.get("system_identifier", [])
    return Catalog(
        database=database,
        database_owner=roles[owner],
        database_grants=grants.get(acl, ()),
        server_version=server_version,
        system_identifier=identifiers[0][0] if identifiers else "",
        current_user=user,
        in_recovery=in_recovery,
        read_only=read_only,
        can_create=can_create,
        schemas={schema.name: schema for schema in schemas.values()},
        relations=relations,
        functions=_functions(rows["functions"], roles, grants),
        roles=_roles(rows["roles"]),
        session_settings=tuple(SessionSetting(*row) for row in rows["session_settings"]),
        memberships=tuple(sorted(
            (Membership(roles[role], roles[member], inherit, may_set)
             for role, member, inherit, may_set in rows["memberships"]),
            key=lambda each: (each.role, each.member),
        )),
        default_privileges=_default_privileges(rows["default_privileges"], roles),
        dependencies=_dependencies(rows["dependencies"], names, relations),
        derived_statistics=tuple(_derived_statistics(rows["derived_statistics"], names, columns)),
        publications=_publications(rows["publications"], names),
        subscriptions=tuple(
            (name, roles[owner], tuple(sorted(names[oid] for oid in tables if oid in names)))
            for name, owner, tables in rows["subscriptions"]
        ),
        ledger=_ledger(rows.get("ledger", [])),
        provision=next((Provision(*row) for row in rows.get("provision", [])), None),
        foreign_keys=tuple(_foreign_keys(rows["foreign_keys"], names, columns)),
        hooks=tuple(_hooks(rows["hooks"], names, roles)),
        extensions=tuple(Extension(*row) for row in rows["extensions"]),
        large_objects=next(LargeObjects(compatible, number, tuple(some or ()))
                           for compatible, number, some in rows["large_objects"]),
        system_privileges=tuple(SystemPrivilege(*row) for row in rows["system_privileges"]),
        keys=tuple(Key(*row) for row in rows["keys"]) if "keys" in rows else None,
    )  # fmt: skip


def _grants(acls: Rows, roles: _RoleNames) -> dict[str, tuple[Grant, ...]]:
    """Grants by the text of the ACL that holds them; an empty ACL is absent."""
    found: dict[str, list[Grant]] = defaultdict(list)
    for acl, grantee, privilege, grantor, grantable in acls:
        found[acl].append(Grant(roles[grantee] if grantee else None, privilege, roles[grantor], grantable))
    return {acl: tuple(sorted(grants, key=_grant_order)) for acl, grants in found.items()}


def _grant_order(grant: Grant) -> tuple[str, str, str, bool]:
    return grant.grantee or "", grant.privilege, grant.grantor, grant.grantable


def _types(rows: Rows) -> dict[tuple[int, int], tuple[str, str, BaseKind, str | None, bool]]:
    """By type and modifier: the type, what is under its domains, that one's kind, its element, if NOT NULL."""
    by_oid = {oid: (shown, kind, required, under, element)
              for oid, modifier, shown, kind, required, under, element in rows if modifier == -1}  # fmt: skip

    def resolve(oid: int) -> tuple[str, BaseKind, str | None, bool]:
        shown, kind, required, under, element = by_oid[oid]
        if kind == "d":
            base, base_kind, base_element, base_required = resolve(under)
            return base, base_kind, base_element, required or base_required
        return shown, _TYPE_KINDS[kind], resolve(element)[0] if element else None, False

    return {(row[0], row[1]): (row[2], *resolve(row[0])) for row in rows}


def _columns(
    rows: Mapping[str, Rows], names: Mapping[int, Name], grants: Mapping[str, tuple[Grant, ...]]
) -> dict[int, list[Column]]:
    """Columns by relation, in their order."""
    types = _types(rows["types"])
    sequences = {(relation, number): names.get(sequence) for relation, number, sequence in rows["defaults"]}
    not_validated = {(relation, number) for relation, number in rows["not_validated"]}
    stored = {(relation, number) for relation, number in rows["statistics"]}
    found: dict[int, list[Column]] = defaultdict(list)
    for relation, number, name, oid, modifier, required, default, identity, generated, target, acl in rows["columns"]:
        shown, base, kind, element, domain_required = types[oid, modifier]
        place = (relation, number)
        found[relation].append(Column(
            number=number,
            name=name,
            type=shown,
            base=base,
            kind=kind,
            element=element,
            not_null=domain_required or (required and place not in not_validated),
            default=default,
            identity=identity,
            generated=generated,
            sequence=sequences.get(place) if default else None,
            statistics=target,
            has_statistics=target != 0 or place in stored,
            grants=grants.get(acl, ()) if acl else (),
        ))  # fmt: skip
    return found


def _relations(
    rows: Mapping[str, Rows],
    names: Mapping[int, Name],
    columns: Mapping[int, list[Column]],
    roles: _RoleNames,
    grants: Mapping[str, tuple[Grant, ...]],
) -> dict[Name, Relation]:
    """Relations by name, in the order of their names."""
    policies = _policies(rows["policies"], roles)
    indexes = _indexes(rows["indexes"], columns)
    parents, children = _inheritance(rows["inheritance"], names)
    reads, reads_columns = _reads(rows["views"])
    relations = {}
    for oid, _, _, kind, owner, acl, secured, forced, partition, options, extension in rows["relations"]:
        relations[names[oid]] = Relation(
            oid=oid,
            name=names[oid],
            kind=_RELATION_KINDS[kind],
            owner=roles[owner],
            columns=tuple(columns.get(oid, ())),
            grants=grants.get(acl, ()),
            row_security=secured,
            force_row_security=forced,
            policies=tuple(policies.get(oid, ())),
            indexes=tuple(indexes.get(oid, ())),
            parents=tuple(parents.get(oid, ())),
            children=tuple(sorted(children.get(oid, ()))),
            partition=partition,
            options=tuple(options or ()),
            reads=tuple(reads.get(oid, ())),
            reads_columns=tuple(reads_columns.get(oid, ())),
            extension=extension,
        )
    return {name: relations[name] for name in sorted(relations, key=lambda name: (name.schema, name.name))}


def _policies(rows: Rows, roles: _RoleNames) -> dict[int, list[Policy]]:
    """Policies by relation, in the order of their names."""
    targets: dict[str, tuple[str, ...]] = {}
    found: dict[int, list[Policy]] = defaultdict(list)
    for relation, name, command, permissive, oids, using, check, calls in rows:
        if oids not in targets:
            numbers = (int(oid) for oid in oids.strip("{}").split(","))
            targets[oids] = tuple(sorted(roles[oid] if oid else "" for oid in numbers))
        found[relation].append(Policy(name, _COMMANDS[command], permissive, targets[oids], using, check, calls))
    return found


def _indexes(rows: Rows, columns: Mapping[int, list[Column]]) -> dict[int, list[Index]]:
    """Indexes by relation, in the order of their names."""
    numbers: dict[int, dict[int, str]] = {}
    found: dict[int, list[Index]] = defaultdict(list)
    for relation, name, attributes, keys, method, unique, valid, partial, immediate, constraint in rows:
        if relation not in numbers:
            numbers[relation] = {column.number: column.name for column in columns.get(relation, ())}
        lookup = numbers[relation]
        key_columns = tuple([lookup.get(int(number)) for number in attributes.split()[:keys]])
        found[relation].append(Index(name, key_columns, method, unique, valid, partial, immediate, constraint))
    return found


def _derived_statistics(
    rows: Rows, names: Mapping[int, Name], columns: Mapping[int, list[Column]]
) -> Iterator[DerivedStatistics]:
    for relation, number, kind, schema, name in rows:
        column = next((each.name for each in columns.get(relation, ()) if each.number == number), None)
        if column is not None:
            yield DerivedStatistics(names[relation], column, kind, Name(schema, name))


def _inheritance(rows: Rows, names: Mapping[int, Name]) -> tuple[dict[int, list[Name]], dict[int, list[Name]]]:
    """Parents and children by relation. The inheritance of indexes and of temporary tables is left out."""
    parents: dict[int, list[Name]] = defaultdict(list)
    children: dict[int, list[Name]] = defaultdict(list)
    for child, parent in rows:
        if child in names and parent in names:
            parents[child].append(names[parent])
            children[parent].append(names[child])
    return parents, children


def _reads(rows: Rows) -> tuple[dict[int, list[Name]], dict[int, list[tuple[Name, str]]]]:
    """What views read, by view: relations, and columns of relations."""
    relations: dict[int, list[Name]] = defaultdict(list)
    columns: dict[int, list[tuple[Name, str]]] = defaultdict(list)
    for view, schema, name, column in rows:
        read = Name(schema, name)
        if not relations[view] or relations[view][-1] != read:
            relations[view].append(read)
        if column is not None:
            columns[view].append((read, column))
    return relations, columns


def _roles(rows: Rows) -> dict[str, Role]:
    return {
        name: Role(
            name=name,
            superuser=superuser,
            inherit=inherit,
            create_role=create_role,
            create_db=create_db,
            login=login,
            replication=replication,
            bypass_rls=bypass_rls,
            settings=tuple(settings),
        )
        for _, name, superuser, inherit, create_role, create_db, login, replication, bypass_rls, settings in rows
    }


def _functions(rows: Rows, roles: _RoleNames, grants: Mapping[str, tuple[Grant, ...]]) -> tuple[Function, ...]:
    return tuple(
        Function(
            oid=oid,
            name=Name(schema, name),
            arguments=arguments,
            result=result,
            owner=roles[owner],
            definer=definer,
            leakproof=leakproof,
            config=tuple(config or ()),
            grants=grants.get(acl, ()),
            definition=text or "",
            extension=extension,
            offered=bool(more[0]),
        )
        for oid, schema, name, arguments, result, owner, definer, leakproof, config, acl, text, extension, *more in rows
    )


def _default_privileges(rows: Rows, roles: _RoleNames) -> tuple[DefaultPrivilege, ...]:
    found = [
        DefaultPrivilege(
            owner=roles[owner],
            schema=schema,
            kind=_DEFAULT_KINDS[kind],
            grant=Grant(roles[grantee] if grantee else None, privilege, roles[grantor], grantable),
        )
        for owner, schema, kind, grantee, privilege, grantor, grantable in rows
    ]
    return tuple(sorted(found, key=lambda each: (each.owner, each.schema or "", each.kind, _grant_order(each.grant))))


def _dependencies(rows: Rows, names: Mapping[int, Name], relations: Mapping[Name, Relation]) -> tuple[Dependency, ...]:
    """What depends on the conversation role, relations in words that do not change with the server's language."""
    found = []
    for code, oid, description, type_name, address in rows:
        kind = _DEPENDENCY_KINDS.get(code, "other")
        if oid in names:
            label = _RELATION_LABELS[relations[names[oid]].kind]
            found.append(Dependency(kind, f"{label} {names[oid]}", names[oid], label))
        else:
            found.append(Dependency(kind, description, None, type_name, address))
    return tuple(sorted(found, key=attrgetter("kind", "type", "object")))


def _publications(rows: Rows, names: Mapping[int, Name]) -> dict[str, tuple[Name, ...]]:
    found: dict[str, list[Name]] = defaultdict(list)
    for publication, table in rows:
        tables = found[publication]
        if table in names:
            tables.append(names[table])
    return {publication: tuple(sorted(found[publication])) for publication in sorted(found)}


def _foreign_keys(rows: Rows, names: Mapping[int, Name], columns: Mapping[int, list[Column]]) -> Iterator[ForeignKey]:
    """Foreign keys between relations that were read."""
    for relation, name, numbers, parent, parent_numbers in rows:
        if relation in names and parent in names:
            ends = [
                tuple([each.name for number in wanted for each in columns[oid] if each.number == number])
                for oid, wanted in ((relation, numbers), (parent, parent_numbers))
            ]
            yield ForeignKey(names[relation], name, ends[0], names[parent], ends[1])


def _hooks(rows: Rows, names: Mapping[int, Name], roles: _RoleNames) -> Iterator[Hook]:
    for relation, name, schema, function, arguments, definer, owner, config in rows:
        if relation in names:
            call = None if function is None else f"{Name(schema, function)}({arguments})"
            yield Hook(names[relation], name, call, definer, roles[owner], tuple(config or ()))


def _ledger(rows: Rows) -> tuple[LedgerEntry, ...]:
    return tuple(
        # Most rows have nothing to say of the time before.
        LedgerEntry(kind, Name(schema, relation), name, source, live, {} if before == "{}" else json.loads(before))
        for kind, schema, relation, name, source, live, before in rows
    )
