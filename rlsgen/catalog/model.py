"""What a database has, as values, read in one snapshot. Names are spelled as the catalog spells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rlsgen.identifiers import Name

RelationKind = Literal["table", "partitioned", "view", "matview", "foreign", "sequence"]


# What Postgres reads as true in an option, which it stores as it was written (parse_bool in its adt/bool.c).
_TRUE = frozenset({"t", "tr", "tru", "true", "y", "ye", "yes", "on", "1"})


@dataclass(frozen=True, slots=True)
class Grant:
    """One privilege in an ACL. `grantee` None is PUBLIC."""

    grantee: str | None
    privilege: str  # SELECT, INSERT, USAGE, EXECUTE, TEMPORARY, ...
    grantor: str
    grantable: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A column that is not dropped and not a system column."""

    number: int
    name: str
    type: str  # format_type with typmod, qualified as pg_catalog-only search_path shows it: character varying(21)
    base: str  # the type under any domain, without typmod: integer, character varying, public.mood; bpchar for char(n)
    kind: Literal["base", "enum", "composite", "range", "multirange", "pseudo"]  # typtype of `base`
    element: str | None  # for arrays (under any domain): the element's type, domains resolved
    not_null: bool  # also through its domain or a primary key
    default: bool  # has a default expression (generated columns do not count)
    identity: bool
    generated: bool
    sequence: Name | None  # the sequence that its default takes from (serial), None for identity columns
    statistics: int  # attstattarget, -1 where it is the default
    has_statistics: (
        bool  # the planner may have some: they are stored, or the target is not 0 so that ANALYZE stores some
    )
    grants: tuple[Grant, ...]  # attacl


@dataclass(frozen=True, slots=True)
class Index:
    """An index; `columns` are the key columns in order, None for an expression; included columns do not count."""

    name: str
    columns: tuple[str | None, ...]
    method: str
    unique: bool
    valid: bool  # indisvalid and indisready
    partial: bool
    immediate: bool
    constraint: str | None


@dataclass(frozen=True, slots=True)
class DerivedStatistics:
    """Statistics that a column's values went into and that are not the column's own."""

    relation: Name
    column: str
    kind: Literal["index", "statistics"]  # an index on an expression; a statistics object
    name: Name


@dataclass(frozen=True, slots=True)
class Policy:
    """A row security policy; expressions as pg_get_expr shows them under search_path = pg_catalog."""

    name: str
    command: Literal["ALL", "SELECT", "INSERT", "UPDATE", "DELETE"]
    permissive: bool
    roles: tuple[str, ...]  # sorted; an empty string is PUBLIC
    using: str | None
    check: str | None
    calls: str = ""  # users' functions that it calls, also as operators, with hashes of their definitions: JSON, or ''


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view, sequence, ... outside pg_catalog, information_schema, pg_toast and temporary schemas."""

    oid: int
    name: Name
    kind: RelationKind
    owner: str
    columns: tuple[Column, ...]  # empty for sequences
    grants: tuple[Grant, ...]  # relacl, the owner's own entries included; acldefault where relacl is NULL
    row_security: bool
    force_row_security: bool
    policies: tuple[Policy, ...]
    indexes: tuple[Index, ...]
    parents: tuple[Name, ...]  # pg_inherits: the partitioned table, or the tables it inherits from
    children: tuple[Name, ...]
    partition: bool  # relispartition
    options: tuple[str, ...]  # reloptions: security_invoker=true
    reads: tuple[Name, ...]  # views and materialized views: the relations their rules depend on
    reads_columns: tuple[
        tuple[Name, str], ...
    ]  # the same by column; Postgres does not record columns of whole-row uses
    extension: str | None  # the extension that it belongs to

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((each for each in self.columns if each.name == name), None)

    @property
    def security_invoker(self) -> bool:
        """Whether a view checks the caller's privileges and policies."""
        options = dict(option.partition("=")[::2] for option in self.options)
        return options.get("security_invoker", "").lower() in _TRUE


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the cluster."""

    name: str
    superuser: bool
    inherit: bool
    create_role: bool
    create_db: bool
    login: bool
    replication: bool
    bypass_rls: bool
    settings: tuple[str, ...]  # ALTER ROLE ... SET, for all databases and for this one


@dataclass(frozen=True, slots=True)
class SessionSetting:
    """What sessions of every role begin with: ALTER DATABASE … SET, ALTER ROLE ALL SET."""

    everywhere: bool  # in all databases of the cluster
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Membership:
    """`member` is a member of `role`."""

    role: str
    member: str
    inherit: bool  # PostgreSQL 15: the member's own INHERIT; 16 and later: of this grant
    set_role: bool  # 16 and later: may SET ROLE; before: always


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema outside the system's own."""

    name: str
    owner: str
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function or procedure that matters: all in rlsgen's schemas; elsewhere SECURITY DEFINER or LEAKPROOF ones.

    Of Postgres' own, those that somebody marked LEAKPROOF.
    """

    oid: int
    name: Name
    arguments: str  # pg_get_function_identity_arguments
    result: str
    owner: str
    definer: bool
    leakproof: bool
    config: tuple[str, ...]
    grants: tuple[Grant, ...]
    definition: str  # pg_get_functiondef for rlsgen's own, empty for others
    extension: str | None
    offered: bool  # the conversation role reaches it without its schema: by an operator, a cast, a view, a default, …


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key; columns in the order in which they refer to each other."""

    relation: Name
    name: str
    columns: tuple[str, ...]
    parent: Name
    parent_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hook:
    """What runs when somebody writes to a relation: an enabled trigger, or a rule."""

    relation: Name
    name: str
    function: str | None  # of triggers: as a call, audit.log()
    definer: bool  # runs with the owner's rights: SECURITY DEFINER; rules always do
    owner: str  # of the function, or of the rule's relation
    config: tuple[str, ...]  # of the function


@dataclass(frozen=True, slots=True)
class Extension:
    """An installed extension."""

    name: str
    version: str
    schema: str
    reachable: bool  # the conversation role may call a function of it, or read a relation of it


@dataclass(frozen=True, slots=True)
class LargeObjects:
    """Large objects that everybody may read or write."""

    compatible: bool  # lo_compat_privileges is on: all of them
    number: int
    some: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SystemPrivilege:
    """What PUBLIC holds on something of Postgres' own, or of an extension, that was made without it.

    System columns (ctid) of any relation as well, also where the conversation role holds them itself.
    """

    kind: Literal["function", "relation", "schema", "parameter", "foreign-data wrapper", "foreign server"]
    object: str  # as regprocedure and regclass show it
    privilege: str  # of a column: SELECT (ctid), fit for a statement
    everybody: bool  # else the conversation role


@dataclass(frozen=True, slots=True)
class Key:
    """A key of rlsgen's, without anything secret."""

    kind: Literal["signing", "seal"]
    kid: str  # empty for the key of the seals
    created_at: datetime
    retired: bool
    system_identifier: str  # of the cluster on which it was made; empty where that was not known


@dataclass(frozen=True, slots=True)
class DefaultPrivilege:
    """ALTER DEFAULT PRIVILEGES: what objects that `owner` creates will grant."""

    owner: str
    schema: str | None
    kind: Literal["table", "sequence", "function", "type", "schema", "largeobject"]
    grant: Grant


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something here or in the cluster that depends on the conversation role: an ACL entry, ownership.

    What relations and columns grant it, and policies that name it, are not among them: the relations say it.
    """

    kind: Literal["acl", "owner", "other"]
    object: str  # as pg_describe_object: table public.orders, function secret(), schema private
    identity: Name | None  # of the relation, for relations
    type: str  # as pg_identify_object: table, view, sequence, function, schema, default acl, ...
    address: str = ""  # for what is no relation: its identity as pg_identify_object quotes it, fit for a statement


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What rlsgen recorded about one thing that it made or changed (table rlsgen.object)."""

    kind: str
    relation: Name
    name: str
    source: str
    live: str
    before: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Provision:
    """The one row of table rlsgen.provision."""

    id: str  # a random uuid: the audience of context tokens
    format: int
    spec_hash: str
    fingerprint: str
    system_identifier: str
    seal: bool


@dataclass(frozen=True, slots=True)
class Catalog:
    """One snapshot of a database."""

    database: str
    database_owner: str
    database_grants: tuple[Grant, ...]
    server_version: int  # 150020, 180006
    system_identifier: str
    current_user: str
    in_recovery: bool
    read_only: bool  # default_transaction_read_only, or a standby
    can_create: bool  # CREATE on the database
    schemas: Mapping[str, Schema]
    relations: Mapping[Name, Relation]
    functions: tuple[Function, ...]
    roles: Mapping[str, Role]
    session_settings: tuple[SessionSetting, ...]
    memberships: tuple[Membership, ...]
    default_privileges: tuple[DefaultPrivilege, ...]
    dependencies: tuple[Dependency, ...]  # of the conversation role that was asked for
    derived_statistics: tuple[DerivedStatistics, ...]
    publications: Mapping[
        str, tuple[Name, ...]
    ]  # publication: tables; an empty tuple is FOR ALL TABLES, none is left out
    subscriptions: tuple[tuple[str, str, tuple[Name, ...]], ...]  # name, owner, tables; empty where not readable
    ledger: tuple[LedgerEntry, ...]
    provision: Provision | None
    foreign_keys: tuple[ForeignKey, ...]
    hooks: tuple[Hook, ...]
    extensions: tuple[Extension, ...]
    large_objects: LargeObjects
    system_privileges: tuple[SystemPrivilege, ...]
    keys: tuple[Key, ...] | None  # None: there are none yet, or this role may not see them

    def relation(self, name: Name) -> Relation | None:
        """The relation of that name."""
        return self.relations.get(name)
