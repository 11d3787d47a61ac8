"""The rules of a spec, each with a case that passes and one that does not, at its exact place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsgen.errors import Position, SpecError
from rlsgen.spec import filters, load
from rlsgen.spec.load import load_spec, parse_spec
from rlsgen.spec.model import Limits, RelationRef, Through
from tests.spec.support import HEAD, parse, problem, problems, table, table_problem

SAMPLE = Path(__file__).parents[2] / "policies.yaml"


def context(line: str) -> str:
    return f"version: 1\ncontext:\n  {line}\nroles: {{conversation: talker}}\n"


# Files


def test_the_sample() -> None:
    spec = load_spec(SAMPLE)
    assert spec.file == str(SAMPLE)
    assert [field.type for field in spec.context] == ["integer", "integer", "text"]
    tables = {each.ref.name: each for each in spec.tables}
    default = tables["products"].filter
    assert default is not None
    assert default is tables["teams"].filter
    assert default.text == "organisation_id = userContext.organisationId"
    assert (tables["order_items"].filter, tables["order_items"].through[0].parent.name) == (None, "orders")
    assert tables["notes"].allow == ("select", "insert", "update", "delete")
    assert tables["templates"].check != tables["templates"].filter
    assert (tables["countries"].access, tables["api_keys"].access) == ("shared", "hidden")
    assert (tables["users"].hide, tables["users"].private) == (("password_hash",), ("email",))
    assert spec.views[0].access == "invoker"
    assert spec.limits == Limits("organisationId", 10_000, 20 * 1024**2, 30.0, 4, 120)


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    return str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert "nothing.yaml: there is no such file\n    name the spec with --spec" in refusal(tmp_path / "nothing.yaml")
    assert f"{tmp_path}: is a directory" in refusal(tmp_path)
    assert "cannot be read: " in refusal(tmp_path / "nothing.yaml" / ("x" * 5000))
    assert "cannot be read: embedded null byte" in refusal(Path("a\0b"))


def test_a_file_that_nobody_may_read(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(HEAD)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything
        load_spec(path)
    else:
        assert "cannot be read: " in refusal(path)


def test_files_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes("version: 1\n# é".encode() + b" \xe9\n")
    assert refusal(path) == f"{path}:2:5: the byte 0xE9 is not UTF-8\n    save the file as UTF-8"
    path.write_bytes(HEAD.encode("utf-16"))
    assert f"{path}:1:1: the byte 0xFF is not UTF-8" in refusal(path)
    path.write_bytes(HEAD.encode("utf-8-sig"))
    assert load_spec(path).conversation == "talker"


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(HEAD + "#" * load.MAX_BYTES)
    assert "is larger than 10 MB" in refusal(path)
    monkeypatch.setattr(load, "MAX_BYTES", 2 * load.MAX_BYTES)
    assert load_spec(path).conversation == "talker"


# All at once


def test_all_problems_at_once_in_file_order() -> None:
    body = (
        "default_filter: a = userContext.x\n"
        "tables:\n"
        "  b: {filter: c = userContext.orgId, fliter: 1, allow: [insert], columns: {hide: [d, d]}}\n"
        "  e: f = = 1\n"
        "  g: {}\n"
        "schemas: [pg_toast]\n"
    )
    assert [(at, message) for at, message, _ in problems(body)] == [
        ("1:21", "the default filter: userContext has no field x"),
        ("3:38", "unknown key 'fliter' in tables.b"),
        ("3:49", "b allows writes without select"),
        ("3:82", "tables.b.columns.hide names d more than once"),
        ("4:10", 'filter of e: syntax error at or near "="'),
        ("6:11", "pg_toast is a schema of Postgres"),
    ]


def test_a_broken_part_does_not_bring_up_others() -> None:
    """One typo, one problem: what it hides is not reported as missing."""
    assert problem("tables: {b: {fliter: a = userContext.orgId}}\n")[2] == 'did you mean "filter"?'
    assert problem("tables: {b: {acess: hidden}}\n")[2] == 'did you mean "access"?'
    assert problem("tables: {b: {access: share, why: x}}\n")[2] == 'did you mean "shared"?'
    assert problem("default_filter: 7\ntables: {b: {}}\n")[1] == "default_filter must be text, not 7"
    head = HEAD.replace("orgId: {type: integer, minimum: 1}", "orgId: {type: intger}")
    assert problem("tables: {b: a = userContext.orgId}\n", head)[2] == 'did you mean "integer"?'


@pytest.mark.parametrize(
    ("missing", "at", "hint"),
    [
        ("version", "1:1", "start with `version: 1`"),
        ("context", "1:1", "declare the facts that filters use: `context: {organisationId: integer}`"),
        ("roles", "1:1", "name the role that runs untrusted SQL: `roles: {conversation: nl_conversation}`"),
    ],
)
def test_required_keys(missing: str, at: str, hint: str) -> None:
    parts = {"version": "1", "context": "{orgId: integer}", "roles": "{conversation: talker}"}
    text = "".join(f"{key}: {value}\n" for key, value in parts.items() if key != missing)
    assert problem(text, "") == (at, f"the spec lacks the key {missing}", hint)


@pytest.mark.parametrize(
    ("body", "at", "message", "hint"),
    [
        ("tabels: {}\n", "1:1", "unknown key 'tabels'", 'did you mean "tables"?'),
        ("functions: {alow: [public.f]}\n", "1:13", "unknown key 'alow' in functions", 'did you mean "allow"?'),
        ("functions: [public.f]\n", "1:12", "functions must be a mapping, not a list", ""),
        ("functions: {allow: public.f}\n", "1:20", "functions.allow must be a list, not 'public.f'", ""),
        ("functions: {allow: []}\n", "1:20", "functions.allow must be given at least one member", ""),
        ("functions: {allow: [f]}\n", "1:21", "functions.allow: 'f' is not usable: it needs a schema and a name", ""),
        ("limits: {rowz: 1}\n", "1:10", "unknown key 'rowz' in limits", 'did you mean "rows"?'),
        ("limits: {qqq: 1}\n", "1:10", "unknown key 'qqq' in limits", "known keys: per, rows, bytes"),
        (
            "views: {v: {columns: {private: [a]}}}\n",
            "1:23",
            "unknown key 'private' in views.v.columns",
            "known keys: hide",
        ),
        ("tables: []\n", "1:9", "tables must be a mapping, not an empty list", ""),
        ("tables: {a: no}\n", "1:13", "tables.a must be text or a mapping, not false", "put the text in quotes"),
        ("tables: {a: [b]}\n", "1:13", "tables.a must be text or a mapping, not a list", ""),
        ("tables: {a: {filter: 1}}\n", "1:22", "tables.a.filter must be text, not 1", "put the text in quotes"),
        ("tables:\n  a:\n", "2:3", "a has no value", "{} stands for a mapping"),
        ("tables: {a: {columns: [b]}}\n", "1:23", "tables.a.columns must be a mapping, not a list", ""),
        ("tables: {a: {through: []}}\n", "1:23", "tables.a.through must be given at least one member", ""),
        ("tables: {a: {through: [1]}}\n", "1:24", "tables.a.through.0 must be text, not 1", ""),
        ("undeclared: hide\n", "1:13", "undeclared must be 'error' or 'hidden', not 'hide'", 'did you mean "hidden"?'),
        ("force: 1\n", "1:8", "force must be true or false (on or off), not 1", ""),
        ("seal: maybe\n", "1:7", "seal must be true or false (on or off), not 'maybe'", ""),
        ("limits: {rows: '1'}\n", "1:16", "limits.rows must be a whole number, not '1'", "without quotes"),
        ("limits: {rows: 1.5}\n", "1:16", "limits.rows must be a whole number, not 1.5", ""),
        ("limits: {rows: 0}\n", "1:16", "limits.rows must be at least 1, not 0", ""),
        ("limits: {rows: on}\n", "1:16", "limits.rows must be a whole number, not true", ""),
        ("limits: {seconds: 0}\n", "1:19", "limits.seconds must be more than 0, not 0", ""),
        ("limits: {seconds: .inf}\n", "1:19", "limits.seconds must be a number, not '.inf'", ""),
        ("limits: {bytes: 20TB}\n", "1:17", "limits.bytes must be a whole number, alone or with a unit", ""),
        ("limits: {bytes: 1.5MB}\n", "1:17", "limits.bytes must be a whole number, alone or with a unit", ""),
        ("limits: {bytes: 0MB}\n", "1:17", "limits.bytes must be at least 1", ""),
        ("version: 1\n", "1:1", "the key 'version' is given twice; first at p.yaml:1:1", "remove one of them"),
    ],
)
def test_shapes(body: str, at: str, message: str, hint: str) -> None:
    found = problem(body)
    assert found[0] == at
    assert found[1].startswith(message), found
    assert hint in found[2]


def test_version() -> None:
    for text in ("2", "'1'", "yes"):
        at, message, _ = problem(HEAD.replace("version: 1", f"version: {text}"), "")
        assert (at, message) == ("1:10", "version must be 1, the only version of this format")


# Context


def test_context_fields() -> None:
    fields = parse_spec(
        context(
            "a: {type: 'bigint[]', minimum: -1, maximum: 9223372036854775807, maxItems: 5,\n"
            "      required: false, loggable: no}\n"
            "  bC: {type: text, pattern: '[a-z]+', maxLength: 9}\n"
            "  d: uuid"
        ),
        "p.yaml",
    ).context
    assert [(each.name, each.snake, each.type, each.setting) for each in fields] == [
        ("a", "a", "bigint[]", "app.a"),
        ("bC", "b_c", "text", "app.b_c"),
        ("d", "d", "uuid", "app.d"),
    ]
    one, two, three = fields
    assert (one.minimum, one.maximum, one.max_items, one.required, one.loggable) == (-1, 2**63 - 1, 5, False, False)
    assert (two.pattern, two.max_length, two.array) == ("[a-z]+", 9, False)
    assert (three.required, three.loggable, three.minimum) == (True, True, None)
    assert three.position == Position("p.yaml", 6, 3)


@pytest.mark.parametrize("kind", ["integer", "bigint", "uuid", "text", "boolean", "date", "timestamptz"])
def test_types(kind: str) -> None:
    assert parse_spec(context(f"a: {kind}\n  b: '{kind}[]'"), "p.yaml").context[1].type == f"{kind}[]"


@pytest.mark.parametrize(
    ("line", "column", "message", "hint"),
    [
        (
            "org_id: text",
            3,
            "the context field 'org_id' must be letters and digits",
            "write orgId: it becomes org_id in SQL",
        ),
        ("1a: text", 3, "the context field '1a' must be letters and digits", "write organisationId"),
        ("'': text", 3, "the context field '' must be letters and digits", "write organisationId"),
        ("é: text", 3, "the context field 'é' must be letters and digits", ""),
        ("rlsgenSeal: text", 3, "the context field rlsgenSeal would be rlsgen_seal", "rename it"),
        ("setContext: text", 3, "the context field setContext would be set_context", "rename it"),
        ("Object: text", 3, "the context field Object would be object", "rename it"),
        ("a" * 57 + ": text", 3, f"the context field {'a' * 57} would be", "choose a shorter name"),
        ("a: {}", 6, "context.a lacks the key type", "give the field a type"),
        ("a: number", 6, "context.a.type must be 'integer', 'bigint'", ""),
        (
            "a: {type: uuid, minimum: 1}",
            19,
            "minimum has no meaning for a, which is of type uuid",
            "for integer and bigint",
        ),
        ("a: {type: text, maximum: 1}", 19, "maximum has no meaning for a", ""),
        ("a: {type: integer, pattern: a}", 22, "pattern has no meaning for a", "pattern is for text"),
        ("a: {type: 'uuid[]', maxLength: 1}", 23, "maxLength has no meaning for a", "maxLength is for text"),
        ("a: {type: text, maxItems: 1}", 19, "maxItems has no meaning for a", "maxItems is for arrays"),
        ("a: {type: integer, minimum: 2147483648}", 31, "minimum of a is 2147483648, which no integer can be", ""),
        ("a: {type: integer, minimum: 3, maximum: 2}", 31, "minimum of a is 3, more than its maximum 2", ""),
        ("a: {type: text, maxLength: 0}", 30, "context.a.maxLength must be at least 1", ""),
        (r"a: {type: text, pattern: 'é\d'}", 29, "pattern of a: 'é' is not allowed", ""),
        (r"a: {type: text, pattern: 'a''\d'}", 32, r"pattern of a: the escape \d", "write a class"),
    ],
)
def test_context_refusals(line: str, column: int, message: str, hint: str) -> None:
    at, said, hinted = problem(context(line), "")
    assert (at, said.startswith(message)) == (f"3:{column}", True), (at, said)
    assert hint in hinted


def test_context_names_that_just_fit() -> None:
    line = f"{'a' * 56}: text\n  setContexts: text\n  rls: text"
    assert [each.snake for each in parse_spec(context(line), "p.yaml").context][1:] == ["set_contexts", "rls"]


def test_context_names_must_differ_after_folding() -> None:
    at, message, _ = problem(context("orgId: text\n  orgID: text"), "")
    assert (at, message) == ("4:3", "the context fields orgId and orgID are the same: SQL folds capitals")
    at, message, _ = problem(context("a1B: text\n  a1b: text"), "")
    assert at == "4:3"


def test_context_needs_a_field() -> None:
    at, message, _ = problem("version: 1\ncontext: {}\nroles: {conversation: a}\n", "")
    assert (at, message) == ("2:10", "context must be given at least one member, not a mapping")


# Roles, schemas, switches


@pytest.mark.parametrize(
    ("roles", "column", "message"),
    [
        ("{conversation: a, unrestricted: [b, a]}", 44, "a is the conversation role and cannot be unrestricted"),
        ("{conversation: pg_read_all_data}", 23, "pg_read_all_data cannot be the conversation role"),
        ("{conversation: public}", 23, "public is not a role but a keyword"),
        ("{conversation: a, unrestricted: [b, public]}", 44, "public is not a role but a keyword"),
        ("{conversation: a, unrestricted: [b, b]}", 40, "roles.unrestricted names b more than once"),
        ("{conversation: ''}", 23, "roles.conversation is empty"),
        ("{conversation: a, unrestricted: ['']}", 41, "roles.unrestricted.0 is empty"),
        (f"{{conversation: {'a' * 64}}}", 23, "roles.conversation is 64 bytes long"),
        ("{unrestricted: [a]}", 8, "roles lacks the key conversation"),
        ("talker", 8, "roles must be a mapping, not 'talker'"),
    ],
)
def test_roles(roles: str, column: int, message: str) -> None:
    at, said, _ = problem(f"version: 1\ncontext: {{a: text}}\nroles: {roles}\n", "")
    assert (at, said.startswith(message)) == (f"3:{column}", True), (at, said)


def test_role_names_are_literal() -> None:
    spec = parse_spec(
        "version: 1\ncontext: {a: text}\nroles: {conversation: 'A \"b\"', unrestricted: [pg_monitor]}\n", "f"
    )
    assert (spec.conversation, spec.unrestricted) == ('A "b"', ("pg_monitor",))


@pytest.mark.parametrize(
    ("schemas", "column", "message"),
    [
        ("[]", 10, "schemas must be given at least one member, not an empty list"),
        ("[a, a]", 10, "schemas names a more than once"),
        ("[a, pg_catalog]", 14, "pg_catalog is a schema of Postgres"),
        ("[information_schema]", 11, "information_schema is a schema of Postgres"),
        ("[rlsgen]", 11, "rlsgen is a schema of rlsgen"),
        ("[rlsgen_private]", 11, "rlsgen_private is a schema of rlsgen"),
        ("public", 10, "schemas must be a list, not 'public'"),
        ("[no]", 11, "schemas.0 must be text, not false"),
    ],
)
def test_schemas(schemas: str, column: int, message: str) -> None:
    at, said, _ = problem(f"schemas: {schemas}\n")
    assert (at, said) == (f"1:{column}", message)


def test_defaults() -> None:
    spec = parse("")
    assert (spec.schemas, spec.undeclared, spec.force, spec.seal, spec.tables, spec.views) == (
        ("public",), "error", False, True, (), ())  # fmt: skip
    assert spec.limits == Limits()


@pytest.mark.parametrize(
    ("text", "value"),
    [("off", False), ("on", True), ("'off'", False), ("'on'", True), ("false", False), ("No", False)],
)
def test_seal(text: str, value: bool) -> None:
    assert parse(f"seal: {text}\n").seal is value


def test_switches() -> None:
    spec = parse("force: true\nundeclared: hidden\nschemas: [a, 'B c']\n")
    assert (spec.force, spec.undeclared, spec.schemas) == (True, "hidden", ("a", "B c"))


def test_positions_of_what_is_not_a_table() -> None:
    positions = parse("schemas: [a, b]\nlimits: {rows: 1}\ntables: {t: hidden}\n").positions
    said = {name: f"{at.line}:{at.column}" for name, at in positions.items()}
    assert said["roles.conversation"] == "6:23"
    assert said["roles.unrestricted.1"] == "6:53"
    assert (said["schemas.1"], said["limits.rows"], said["tables"]) == ("7:14", "8:16", "9:9")
    assert "tables.t" not in said


# Tables


def test_forms_of_a_table() -> None:
    assert table("o: a = userContext.orgId").filter == table("o: {filter: a = userContext.orgId}").filter
    assert table("o: hidden") == table("o: {access: hidden}")
    assert table("o: ' hidden '").access == "hidden"
    default = parse("default_filter: a = userContext.orgId\ntables: {o: {}, p: hidden, q: {through: x -> o(id)}}\n")
    assert [bool(each.filter) for each in default.tables] == [True, False, False]
    both = table("o: {filter: a = userContext.orgId, through: [b -> p(id), '(c, d) -> S.\"Q\"(e, f)']}")
    assert both.filter is not None
    assert both.through == (
        Through(("b",), RelationRef(None, "p"), ("id",), Position("p.yaml", 8, 45)),
        Through(("c", "d"), RelationRef("s", "Q"), ("e", "f"), Position("p.yaml", 8, 60)),
    )
    full = table(
        "o: {filter: a = userContext.orgId, existing: keep, prompt: P, why: W, columns: {hide: [x], private: [y]}}"
    )
    assert (full.existing, full.prompt, full.why, full.hide, full.private) == ("keep", "P", "W", ("x",), ("y",))
    assert {name: at.column for name, at in full.column_positions.items()} == {"x": 90, "y": 104}
    assert full.position == Position("p.yaml", 8, 3)


def test_names_of_tables() -> None:
    spec = parse(
        """tables: {Orders: hidden, '"Orders"': hidden, b.i: hidden, 'p."a.b"': hidden, User: hidden, no: hidden}"""
    )
    assert [(each.ref.schema, each.ref.name) for each in spec.tables] == [
        (None, "orders"), (None, "Orders"), ("b", "i"), ("p", "a.b"), (None, "user"), (None, "no")]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("a.b.c: hidden", 4, "tables: 'a.b.c' is not a name: a table's name has at most two parts"),
        ("a b: hidden", 3, "tables: 'a b' is not a name: unexpected 'b' after the name"),
        ("'é.\"\"': hidden", 4, "tables: 'é.\"\"' is not a name: zero-length delimited identifier"),
        ("Line.Item.x: hidden", 10, "tables: 'Line.Item.x' is not a name"),
        ("pg_catalog.pg_class: hidden", 1, "pg_catalog.pg_class is in a schema of Postgres or of rlsgen itself"),
        ("rlsgen.object: hidden", 1, "rlsgen.object is in a schema of Postgres or of rlsgen itself"),
        ("RLSGEN_PRIVATE.key: hidden", 1, "RLSGEN_PRIVATE.key is in a schema of Postgres or of rlsgen itself"),
        ("o: shared", 4, "filter of o: shared is an access, not a condition"),
        ("o: {filter: hidden}", 13, "filter of o: hidden is an access, not a condition"),
        ("o: ''", 5, "filter of o: it is empty"),
        ("o: deleted_at IS NULL", 4, "filter of o uses no userContext field and no sub-query"),
        ("o: 'true'", 5, "filter of o uses no userContext field and no sub-query"),
        ("o: {}", 1, "nothing says which rows of o are visible"),
        ("o: {allow: [select]}", 1, "nothing says which rows of o are visible"),
        ("o: {filter: a = userContext.orgId, check: b}", 43, "check of o uses no userContext field"),
        ("o: {filter: a = userContext.orgId, check: a = = 1}", 47, 'check of o: syntax error at or near "="'),
        ("o: {access: shared}", 1, "o is shared without a reason"),
        ("o: {access: shared, why: ' '}", 1, "o is shared without a reason"),
        ("o: {access: shared, why: x, filter: a = userContext.orgId}", 29, "o is shared and cannot have a filter"),
        ("o: {access: shared, why: x, check: a = userContext.orgId}", 29, "o is shared and cannot have a check"),
        ("o: {access: shared, why: x, through: a -> b(c)}", 29, "o is shared and cannot have a through"),
        ("o: {access: shared, why: x, allow: [select, insert]}", 29, "o is shared, which is for reading only"),
        ("o: {access: hidden, allow: [select]}", 21, "o is hidden and allows nothing"),
        ("o: {filter: a = userContext.orgId, allow: [insert]}", 36, "o allows writes without select"),
        ("o: {filter: a = userContext.orgId, allow: []}", 43, "tables.o.allow must be given at least one member"),
        (
            "o: {filter: a = userContext.orgId, allow: [select, select]}",
            43,
            "tables.o.allow names select more than once",
        ),
        ("o: {filter: a = userContext.orgId, allow: [SELECT]}", 44, "tables.o.allow.0 must be 'select', 'insert'"),
        (
            "o: {filter: a = userContext.orgId, existing: drop}",
            46,
            "tables.o.existing must be 'refuse', 'keep' or 'replace'",
        ),
        (
            "o: {access: hidden, columns: {hide: [a, b], private: [c, b]}}",
            58,
            "the column b of o is both hidden and private",
        ),
        ("o: {access: hidden, columns: {hide: [a, a]}}", 37, "tables.o.columns.hide names a more than once"),
        ("o: {access: hidden, columns: {hide: ['']}}", 38, "tables.o.columns.hide.0 is empty"),
        ("o: {through: a -> b}", 20, "through of o: expected columns in parentheses, but the text ends"),
        ("o: {through: ['(a, b) -> b(c)']}", 27, "through of o: both sides of -> need the same number of columns"),
        ("o: {through: [a -> b(c), A->B(C)]}", 26, "through of o names the same path twice"),
        ("o: {through: [a -> b(c), 'é ->']}", 31, "through of o: expected a table's name, but the text ends"),
    ],
)
def test_tables(line: str, column: int, message: str) -> None:
    at, said, _ = table_problem(line)
    assert (at, said.startswith(message)) == (column, True), (at, said)


@pytest.mark.parametrize(
    "line",
    [
        "o: {access: hidden, filter: a = userContext.orgId, through: b -> p(id), check: a = userContext.orgId}",
        "o: {access: shared, why: x, allow: [select], columns: {hide: [a]}}",
        "o: {filter: deleted_at IS NULL, through: a -> b(c)}",
        "o: {check: status = 'draft', through: a -> b(c)}",
        "o: id IN (SELECT user_id FROM memberships)",
        "o: {filter: a = userContext.orgId, check: a = userContext.orgId}",
        "o: {filter: a = userContext.orgId, allow: [update, select]}",
        "o: {through: o_id -> o(id)}",
    ],
)
def test_tables_that_are_fine(line: str) -> None:
    table(line)


def test_tables_declared_twice() -> None:
    at, message, _ = problem("tables: {Orders: hidden, orders: hidden}\n")
    assert (at, message) == ("1:26", "orders is declared twice; first at p.yaml:7:10")
    at, message, _ = problem("tables: {orders: hidden}\nviews: {'\"orders\"': hidden}\n")
    assert (at, message) == ("2:9", '"orders" is declared twice; first at p.yaml:7:10')
    parse("tables: {orders: hidden, public.orders: hidden}\n")  # only the database knows whether these are one


def test_the_default_filter() -> None:
    assert problem("default_filter: deleted_at IS NULL\n")[:2] == (
        "1:17",
        "the default filter uses no userContext field and no sub-query, so it lets everyone see the same rows",
    )
    assert problem("default_filter: a = = 1\ntables: {o: {}}\n")[0] == "1:21"
    assert problem("default_filter: shared\n")[0] == "1:17"


@pytest.mark.parametrize(
    "text",
    [
        "o: é = 'é' AND b = = userContext.orgId",
        "o: 'é = ''é'' AND b = = userContext.orgId'",
        'o: "\\u00e9 = \\"é\\" AND b = = userContext.orgId"',
        "o: |\n      a = userContext.orgId\n        AND b = = 1",
        "o:\n      filter: >-\n        WHERE a = userContext.orgId\n\n        AND b = = 1;",
        "o: a = userContext.orgId\n      AND b = = 1",
        "o: &anchor 'a = = 1'",
        "o: {filter: a = = 1}",
        "o: {filter: a = userContext.orgId, check: a = = 1}",
    ],
)
def test_syntax_errors_are_where_they_are(text: str) -> None:
    before = f"tables:\n  {text}\n".partition("= =")[0] + "= "
    at, message, _ = problem(f"tables:\n  {text}\n")
    assert at == f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    assert 'syntax error at or near "="' in message


# Views and limits


def test_views() -> None:
    views = parse("views: {v: invoker, W: {}, x.y: hidden, z: {columns: {hide: [a]}, prompt: P}}\n").views
    assert [(each.ref.name, each.access, each.hide, each.prompt) for each in views] == [
        ("v", "invoker", (), ""),
        ("w", "invoker", (), ""),
        ("y", "hidden", (), ""),
        ("z", "invoker", ("a",), "P"),
    ]
    assert problem("views: {v: definer}\n")[1] == "views.v.access must be 'invoker' or 'hidden', not 'definer'"
    assert problem("views: {a.b.c: hidden}\n")[0] == "1:12"


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("7B", 7), ("2kB", 2048), ("20MB", 20 * 2**20), ("1 GB", 2**30)])
def test_sizes(text: str, value: int) -> None:
    assert parse(f"limits: {{bytes: {text}}}\n").limits.bytes == value


def test_limits() -> None:
    assert parse("limits: {per: ORGID, seconds: 0.5, concurrent: 2}\n").limits == Limits(
        "orgId", None, None, 0.5, 2, None
    )
    at, message, hint = problem("limits: {per: orgid2}\n")
    assert (at, message, hint) == ("1:15", "limits.per: orgid2 is no context field", 'did you mean "orgId"?')
    assert problem("limits: {per: teamIds}\n")[:2] == ("1:15", "limits.per: teamIds is an array")
    assert problem("limits: {concurrent: 2}\n")[:2] == ("1:10", "limits.concurrent does not say per what it counts")
    assert problem("limits: {per_minute: 2}\n")[:2] == ("1:10", "limits.per_minute does not say per what it counts")


# Size and hostility


def test_a_filter_is_parsed_once_however_often_it_is_used() -> None:
    filters._parse.cache_clear()
    tables = "".join(f"  t{number}: organisation_id = userContext.orgId\n" for number in range(5000))
    spec = parse(f"tables:\n{tables}")
    assert len(spec.tables) == 5000
    assert filters._parse.cache_info().misses == 1
    assert spec.tables[-1].filter is not None
    assert spec.tables[-1].filter.position(3) == Position("p.yaml", 5007, 13)


WHOLE = [
    HEAD, "version: 1\n", "context: {a: text}\n", "roles: {conversation: t}\n", "tables:\n", "seal: off\n",
    "  a: b = userContext.orgId\n", "  x: {through: a -> b(c)}\n", "  y: &z {filter: hidden, check: [1]}\n",
    "  q: *z\n", "limits: {per: a, rows: -1}\n", "views: {a: invoker, a: {columns: [b]}}\n", "schemas: [a, b, no]\n",
    "default_filter: |\n  a = b\n",
]  # fmt: skip
SIGNS = r"""{ } [ ] : - ' " !!int &a *a <<: ? | > # % é ~ 1 \ --- ...""".split()  # noqa: SIM905
BLANKS = ["\t", "\n", " ", "\r\n", "\x00", "\ud800", "\u2028", "\ufeff"]
PARTS = st.sampled_from([*WHOLE, *SIGNS, *(f"{sign} " for sign in SIGNS), *BLANKS])


@given(st.one_of(st.text(max_size=60), st.lists(PARTS, max_size=25).map("".join)))
@settings(max_examples=600, deadline=None)
def test_no_text_raises_anything_but_a_spec_error(text: str) -> None:
    try:
        parse_spec(text, "f")
    except SpecError as error:
        if not error.problems or not all(each.position and each.position.column > 0 for each in error.problems):
            raise


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["", "hidden", "a -> b(c)", "a.b.c"])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "filter", "access", "columns", "hide", "conversation", "a", "allow"]), inner
        ),
    ),
    max_leaves=6,
)
KEYS = [
    "version",
    "context",
    "roles",
    "schemas",
    "default_filter",
    "undeclared",
    "force",
    "seal",
    "tables",
    "views",
    "limits",
]


@given(st.dictionaries(st.sampled_from(KEYS), st.one_of(VALUES, st.dictionaries(st.sampled_from(["a", "b"]), VALUES))))
@settings(max_examples=400, deadline=None)
def test_no_shape_raises_anything_but_a_spec_error(data: dict[str, object]) -> None:
    import yaml

    try:
        parse_spec(
            yaml.safe_dump({"version": 1, "context": {"a": "text"}, "roles": {"conversation": "t"}, **data}), "f"
        )
    except SpecError as error:
        if not error.problems:
            raise
