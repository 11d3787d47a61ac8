"""rlsgen query: one statement in one conversation, printed for people and for machines."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import CONVERSATION
from rlsgen.provision.keys import create_key
from tests.cli.runner import SPEC, Rlsgen
from tests.support.postgres import Database

ANN = ("-c", "organisationId=1", "-c", "teamId=1", "-c", "userId=user_1")
BEN = ("-c", "organisationId=2", "-c", "userId=user_301")
ORDERS = "SELECT count(*) FROM orders"


@pytest.fixture(scope="module")
def signing_key(provisioned: Database) -> str:
    with open_connection(provisioned.dsn()) as owner:
        return create_key(owner).reveal()


@pytest.fixture
def asking(rlsgen: Rlsgen, provisioned: Database, signing_key: str) -> Rlsgen:
    return rlsgen.having(
        RLSGEN_CONVERSATION_DSN=provisioned.dsn(CONVERSATION), RLSGEN_SPEC=str(SPEC), RLSGEN_SIGNING_KEY=signing_key
    )


def owners(database: Database, sql: str) -> int:
    with open_connection(database.dsn()) as connection:
        row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_each_conversation_gets_its_own(asking: Rlsgen, provisioned: Database) -> None:
    for context, organisation in ((ANN, 1), (BEN, 2)):
        done = asking("query", *context, ORDERS)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"count\n{owners(provisioned, f'{ORDERS} WHERE organisation_id = {organisation}')}\n"


def test_json(asking: Rlsgen) -> None:
    sql = (
        "SELECT id, total, status, created_at::date AS day, NULL::text AS nothing, array[1, 2] AS several,"
        " interval '90 minutes' AS long, 'NaN'::float8 AS odd, true AS yes FROM orders WHERE id = 3"
    )
    done = asking("query", *ANN, "--format", "json", sql)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {"columns", "rows", "filters", "truncated"} <= document.keys()
    assert [each["name"] for each in document["columns"]][:3] == ["id", "total", "status"]
    assert document["columns"][0] == {"name": "id", "type": "bigint"}
    ((number, total, status, day, nothing, several, long, odd, yes),) = document["rows"]
    assert (number, nothing, several, long, odd, yes) == (3, None, [1, 2], "P0DT1H30M0S", "NaN", True)
    assert (type(total), status, len(day)) == (str, "delivered", 10)
    filters = [{"relation": "public.orders", "filter": "organisation_id = userContext.organisationId"}]
    assert document["filters"] == filters
    assert document["truncated"] is False


def test_csv(asking: Rlsgen) -> None:
    sql = "SELECT 'a,b' AS a, 'line\nbreak' AS b, NULL::text AS c, 1.50 AS d, '{\"k\": [1]}'::json AS e"
    done = asking("query", *ANN, "--format", "csv", sql)
    assert done.returncode == 0, done.stderr
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows == [["a", "b", "c", "d", "e"], ["a,b", "line\nbreak", "", "1.50", '{"k": [1]}']]


def test_in_a_pipe_one_line_is_one_row(asking: Rlsgen) -> None:
    done = asking("query", *ANN, "SELECT E'a\\tb\\nc\\\\d' AS x, NULL::text AS y, '' AS z")
    assert done.stdout.splitlines() == ["x\ty\tz", "a\\tb\\nc\\\\d\t\\N\t"]


def test_on_a_terminal_a_table(asking: Rlsgen) -> None:
    code, shown = asking.on_terminal(
        "query", *ANN, "SELECT name, E'\\x1b[31mred\\x07' AS odd FROM users WHERE id = 'user_1'"
    )
    assert code == 0, shown
    shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)  # what rich colours with; a value's own is escaped
    assert "┃ name" in shown
    assert "\\x1b[31mred\\x07" in shown
    assert "1 row in" in shown
    assert "public.users: organisation_id = userContext.organisationId" in shown


def test_from_stdin_with_parameters(asking: Rlsgen) -> None:
    done = asking("query", *ANN, "-p", "43", "--param", "x", "-", input="SELECT $1::int + 1 AS n,\n $2::text AS t\n")
    assert done.stdout == "n\tt\n44\tx\n"


def test_a_context_as_one_object(asking: Rlsgen) -> None:
    whole = json.dumps({"organisationId": 1, "teamId": 1, "userId": "user_1"})
    assert asking("query", "--context-json", whole, ORDERS).stdout == asking("query", *ANN, ORDERS).stdout
    mixed = asking("query", "--context-json", '{"organisationId": 1}', "-c", "userId=user_1", ORDERS)
    assert mixed.returncode == 0, mixed.stderr
    for text, said in [
        ("{", "this is no JSON"),
        ("[1]", "must be an object"),
        ('{"organisationId": 1, "organisationId": 2, "userId": "x"}', "organisationId twice"),
        ('{"organisationId": "1", "userId": "x"}', "organisationId must be integer"),
        ('{"organisationId": 1}', "lacks userId"),
    ]:
        done = asking("query", "--context-json", text, ORDERS)
        assert (done.returncode, done.stdout) == (1, ""), text
        assert said in done.stderr


@pytest.mark.parametrize(
    ("sql", "message", "line", "under"),
    [
        ("SELECT id,\n  nam FROM users", 'column "nam" does not exist', "2:   nam FROM users", "nam"),
        ("SELECT 'ü😀', pg_sleep(9)", "pg_sleep is not allowed", "1: SELECT 'ü😀', pg_sleep(9)", "pg_sleep"),
        ("SELECT * FROM api_keys", "api_keys is not available", "1: SELECT * FROM api_keys", "api_keys"),
        ("SELEC 1", "syntax error", "1: SELEC 1", "SELEC"),
        (f"SELECT {', '.join(map(str, range(99)))}, nam FROM users", "does not exist", "nam FROM users", "nam"),
    ],
    ids=["unknown", "function", "hidden", "syntax", "long"],
)
def test_a_mark_under_the_place(asking: Rlsgen, sql: str, message: str, line: str, under: str) -> None:
    from rich.cells import cell_len

    done = asking("query", *ANN, sql)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    lines = done.stderr.splitlines()
    at = next(number for number, each in enumerate(lines) if each.strip() == "^")
    excerpt, mark = lines[at - 1], lines[at]
    assert line in excerpt
    assert len(excerpt) < 150
    assert cell_len(excerpt[: excerpt.rindex(under)]) == mark.index("^")
    assert "Traceback" not in done.stderr


def test_a_refusal_is_no_empty_answer(asking: Rlsgen) -> None:
    for format in ("text", "json", "csv"):
        done = asking("query", *ANN, "--format", format, "SELECT * FROM api_keys")
        assert (done.returncode, done.stdout) == (1, "")


def test_the_deadline(asking: Rlsgen) -> None:
    done = asking("query", *ANN, "--timeout", "0.2", "SELECT count(*) FROM orders a, orders b, orders c")
    assert (done.returncode, done.stdout) == (1, "")
    assert "took longer than 0.2 s and was cancelled" in done.stderr


def test_what_the_limits_cut_is_said(asking: Rlsgen) -> None:
    done = asking("query", *ANN, "--format", "json", "SELECT generate_series(1, 10001) AS n")
    document = json.loads(done.stdout)
    assert (len(document["rows"]), document["truncated"]) == (10_000, True)
    assert "cut after 10,000 rows by the limits of the spec" in done.stderr


def test_writes_are_counted(asking: Rlsgen, provisioned: Database) -> None:
    done = asking("query", *ANN, "INSERT INTO notes (title) VALUES ('from the command line')")
    assert (done.returncode, done.stdout) == (0, "INSERT: 1 row\n"), done.stderr
    where = "FROM notes WHERE title = 'from the command line'"
    assert owners(provisioned, f"SELECT count(*) {where} AND user_id = 'user_1'") == 1
    assert asking("query", *ANN, f"DELETE {where}").stdout == "DELETE: 1 row\n"


def test_a_trace_for_people(asking: Rlsgen) -> None:
    done = asking(
        "query", *ANN, "--trace", "SELECT max(total) FROM orders WHERE created_at > now() - interval '9 days'"
    )
    assert done.returncode == 0, done.stderr
    _, trace = done.stdout.split("\n\n", 1)
    assert trace.startswith("Trace, for operators only")
    assert "\npublic.orders: organisation_id = userContext.organisationId\n" in trace
    assert "using orders_organisation_id_created_at_idx on public.orders" in trace
    assert "organisation_id = 1" in trace
    assert "estimated" in trace
    assert " came" not in trace
    analyzed = asking("query", *ANN, "--analyze", ORDERS)
    assert " came" in analyzed.stdout
    apart = asking("query", *ANN, "--trace", "--no-twins", ORDERS)
    assert "Values of the context for the planner: none" in apart.stdout


def test_a_trace_for_machines(asking: Rlsgen) -> None:
    done = asking("query", *ANN, "--trace", "--format", "json", "SELECT count(*) FROM order_items")
    trace = json.loads(done.stdout)["trace"]
    assert "operators only" in trace["audience"]
    (table,) = trace["tables"]
    assert (table["relation"], table["filter"]) == ("public.order_items", "order_id -> orders(id)")
    assert {each["relation"] for each in trace["others"]} == {"public.orders"}
    assert trace["plan"]["Plan"]["Node Type"]


def test_secrets_stay_where_they_are(asking: Rlsgen, signing_key: str) -> None:
    secret = signing_key.split(".")[3]
    dsn = "postgresql://nl_conversation:hunter2@127.0.0.1:1/x"
    for done in (
        asking("query", *ANN, ORDERS, "--conversation-dsn", dsn),
        asking("query", *ANN, ORDERS, "--signing-key", signing_key + "x"),
        asking("query", *ANN, "SELECT * FROM nowhere"),
    ):
        assert (done.returncode, done.stdout) == (1, "")
        assert "hunter2" not in done.stderr
        assert secret not in done.stderr
        assert "Traceback" not in done.stderr


def test_another_role_is_refused(asking: Rlsgen, provisioned: Database) -> None:
    done = asking("query", *ANN, ORDERS, "--conversation-dsn", provisioned.dsn())
    assert (done.returncode, done.stdout) == (1, "")
    assert "nl_conversation" in done.stderr
