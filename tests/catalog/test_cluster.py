"""What is not a relation: the server, schemas, functions, roles, default privileges, dependencies, replication."""

from __future__ import annotations

import pytest

from rlsgen.catalog.model import Catalog, DefaultPrivilege, Function, Grant, Membership
from rlsgen.identifiers import Name
from tests.catalog.shapes import HOSTILE, Shapes


def function(catalog: Catalog, schema: str, name: str) -> Function:
    (found,) = [each for each in catalog.functions if each.name == Name(schema, name)]
    return found


def test_server(catalog: Catalog, shapes: Shapes) -> None:
    assert catalog.database == shapes.database.name
    assert catalog.database_owner == catalog.current_user == shapes.owner
    assert catalog.server_version // 10000 == shapes.database.server.version
    assert (catalog.in_recovery, catalog.read_only, catalog.can_create) == (False, False, True)


def test_system_identifier(catalog: Catalog, shapes: Shapes) -> None:
    with shapes.database.server.administer() as administrator:
        row = administrator.execute("SELECT system_identifier::text FROM pg_control_system()").fetchone()
    assert row == (catalog.system_identifier,)


def test_database_grants(catalog: Catalog, shapes: Shapes) -> None:
    assert {grant for grant in catalog.database_grants if grant.grantee != shapes.owner} == {
        Grant(None, "CONNECT", shapes.owner, False),
        Grant(None, "TEMPORARY", shapes.owner, False),
        Grant(shapes.conversation, "CONNECT", shapes.owner, False),
        Grant(shapes.group, "CREATE", shapes.owner, True),
        Grant(shapes.group, "TEMPORARY", shapes.owner, True),
    }


def test_schemas(catalog: Catalog, shapes: Shapes) -> None:
    odd = catalog.schemas[HOSTILE.schema]
    assert (odd.name, odd.owner) == (HOSTILE.schema, shapes.owner)
    assert {grant.privilege for grant in odd.grants if grant.grantee == shapes.group} == {"USAGE", "CREATE"}
    assert Grant(None, "USAGE", "pg_database_owner", False) in catalog.schemas["public"].grants
    assert Grant(shapes.conversation, "USAGE", shapes.owner, False) in catalog.schemas["shop"].grants


def test_functions_that_matter(catalog: Catalog) -> None:
    assert [(str(each.name), each.arguments, each.result, each.definer) for each in catalog.functions] == [
        ("public.definer_function", "a public.key21, OUT b integer, OUT c text", "record", True),
        ("public.of_extension_function", "", "integer", True),
        ("rlsgen.plain", "VARIADIC n integer[]", "integer", False),
        ("rlsgen.total", "integer", "integer", False),
        ("rlsgen_private.secret", "", "SETOF public.mood", True),
        ("shop.definer_procedure", "IN a integer", "", True),
    ]


def test_a_function_in_full(catalog: Catalog, shapes: Shapes) -> None:
    secret = function(catalog, "rlsgen_private", "secret")
    assert secret.config == ("search_path=pg_catalog, pg_temp", "work_mem=1MB")
    assert secret.owner == shapes.owner
    assert {grant.grantee for grant in secret.grants} == {shapes.owner, shapes.conversation}
    assert secret.definition.startswith(
        "CREATE OR REPLACE FUNCTION rlsgen_private.secret()\n RETURNS SETOF public.mood"
    )
    assert function(catalog, "rlsgen", "plain").definition
    assert function(catalog, "rlsgen", "total").definition == ""  # Postgres cannot show aggregates
    assert function(catalog, "public", "definer_function").definition == ""
    assert Grant(None, "EXECUTE", shapes.owner, False) in function(catalog, "rlsgen", "plain").grants
    assert function(catalog, "public", "of_extension_function").extension == "citext"


def test_roles(catalog: Catalog, shapes: Shapes) -> None:
    superuser = catalog.roles[shapes.database.server.superuser]
    assert superuser.superuser
    assert superuser.bypass_rls
    reader, conversation = catalog.roles[shapes.reader], catalog.roles[shapes.conversation]
    assert (reader.login, reader.inherit, reader.superuser, reader.bypass_rls) == (True, False, False, False)
    assert not catalog.roles[shapes.group].login
    assert conversation.settings == ("statement_timeout=5s", "work_mem=8MB")  # not what is set for another database
    assert reader.settings == ('search_path="a b", "c""d"',)
    assert "pg_monitor" in catalog.roles


def test_memberships(catalog: Catalog, shapes: Shapes) -> None:
    before_16 = shapes.database.server.version < 16
    assert {each for each in catalog.memberships if each.member in (shapes.reader, shapes.group)} == {
        Membership(shapes.group, shapes.reader, inherit=False, set_role=True),  # NOINHERIT
        Membership("pg_read_all_stats", shapes.reader, inherit=False, set_role=True),
        Membership(shapes.parent, shapes.group, inherit=before_16, set_role=before_16),
    }


def test_default_privileges(catalog: Catalog, shapes: Shapes) -> None:
    def granted(schema: str | None, kind: str) -> set[Grant]:
        return {
            each.grant
            for each in catalog.default_privileges
            if (each.owner, each.schema, each.kind) == (shapes.owner, schema, kind)
            and each.grant.grantee != shapes.owner
        }

    assert granted(None, "table") == {Grant(shapes.conversation, "SELECT", shapes.owner, False)}
    assert granted("shop", "sequence") == {Grant(shapes.group, "USAGE", shapes.owner, False)}
    assert granted(None, "schema") == {Grant(shapes.reader, "USAGE", shapes.owner, False)}
    assert Grant(None, "USAGE", shapes.owner, False) in granted(None, "type")
    assert granted(None, "function") == set()  # revoked from PUBLIC
    assert DefaultPrivilege(
        shapes.owner, None, "function", Grant(shapes.owner, "EXECUTE", shapes.owner, False)
    ) in catalog.default_privileges  # fmt: skip


def test_dependencies_of_the_conversation_role(catalog: Catalog, shapes: Shapes) -> None:
    expected = {
        ("acl", "database", None),
        ("acl", "schema", None),
        ("acl", "function", None),
        ("acl", "server", None),
        ("acl", "default acl", None),
        ("acl", "table", None),  # pg_authid: not among the relations, but not overlooked
        ("owner", "table", Name("shop", "owned_by_conversation")),
    }
    found = {(each.kind, each.type, each.identity) for each in catalog.dependencies}
    assert found == expected
    objects = {each.object for each in catalog.dependencies}
    assert {
        f"database {shapes.database.name}",
        "table shop.owned_by_conversation",
        "function rlsgen_private.secret()",
    } <= objects


def test_as_many_dependencies_as_postgres_counts(catalog: Catalog, shapes: Shapes) -> None:
    """Together with those that relations, columns and policies have themselves: nothing is overlooked."""
    relations = [each for each in catalog.relations.values() if each.owner != shapes.conversation]
    acls = [each.grants for each in relations] + [column.grants for each in relations for column in each.columns]
    granted = sum(any(shapes.conversation in (grant.grantee, grant.grantor) for grant in acl) for acl in acls)
    named = sum(shapes.conversation in policy.roles for each in relations for policy in each.policies)
    assert granted > 5
    assert named > 1
    with shapes.database.server.administer(shapes.database.name) as administrator:
        row = administrator.execute(
            "SELECT count(*) FROM pg_shdepend WHERE refobjid = %s::regrole"
            " AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))"
            " AND objid NOT IN (SELECT oid FROM pg_class WHERE relpersistence = 't')",
            [shapes.conversation],
        ).fetchone()
    assert row == (len(catalog.dependencies) + granted + named,)


@pytest.mark.parametrize(
    ("publication", "tables"),
    [
        ("everything", ()),
        ("listed", (HOSTILE, Name("public", "child"), Name("public", "mother"))),
        (
            "of_schemas",
            (HOSTILE, *(Name("public", "child"), Name("public", "father")), Name("shop", "owned_by_conversation")),
        ),
    ],
)
def test_publication(catalog: Catalog, publication: str, tables: tuple[Name, ...]) -> None:
    assert catalog.publications[publication] == tables


def test_a_publication_of_nothing_is_not_one_of_everything(catalog: Catalog) -> None:
    assert "nothing" not in catalog.publications


def test_subscriptions(catalog: Catalog, shapes: Shapes) -> None:
    assert catalog.subscriptions == (("sub", shapes.database.server.superuser, (Name("public", "mother"),)),)
