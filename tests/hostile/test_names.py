"""Hostile names and texts, from the spec and from the catalog: on their way to the server, to psql, to a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from rlsgen.catalog.connect import open_connection
from rlsgen.errors import ServerError
from rlsgen.identifiers import Sql, fill, identifier
from rlsgen.spec.load import parse_spec
from tests.hostile.support import Sandbox, send
from tests.support.postgres import Database, Databases, Roles

PWNED = "CREATE TABLE public.pwned ()"
NAMES = (
    f'"; {PWNED}; --',
    f"'; {PWNED}; --",
    f"$rlsgen$; {PWNED}; $rlsgen$",
    f"$$; {PWNED}; --",
    "\n\\! touch pwned\n",
    "\r\\! touch pwned\r",
    f"\n{PWNED};\n--",
    f"*/ {PWNED}; /*",
    f"end; {PWNED}; begin",
    "\\",
    "a\\' || :'HOME' || :\"HOME\" `touch pwned`",
    "\x1b[2J\x1b]0;pwned\x07\u202e",
    "{{ 7 * 7 }} {0} %s {}",
    "begin",
)  # every one within 63 bytes
HARMLESS = "$rlsgen$ '\" \\ -- */ \n\\! touch pwned\n; " + PWNED


class Site:
    """A schema, a table of every name with columns of every name, and an application's own things, all hostile."""

    def __init__(self, database: Database, conversation: str, application: str) -> None:
        self.database = database
        self.schema = NAMES[0]
        self.conversation, self.application = conversation, application
        owner = database.connect()
        schema = identifier(self.schema)
        owner.execute(fill("CREATE SCHEMA {}", schema).encode())
        owner.execute(fill("GRANT USAGE ON SCHEMA {} TO {}", schema, identifier(application)).encode())
        for name in NAMES:
            columns = Sql(", ".join(f"{identifier(column)} text DEFAULT 'x'" for column in NAMES if column != name))
            owner.execute(fill(
                "CREATE TABLE {0}.{1} ({1} text, id integer PRIMARY KEY, parent integer, {2});"
                "INSERT INTO {0}.{1} ({1}, id) VALUES ('own', 1), ('CANARY', 2);"
                "GRANT SELECT ON {0}.{1} TO {3}; GRANT SELECT ({1}) ON {0}.{1} TO PUBLIC",
                schema, identifier(name), columns, identifier(application),
            ).encode())  # fmt: skip
            owner.execute(fill("CREATE POLICY {1} ON {0}.{1} FOR INSERT TO {2} WITH CHECK (true)",
                               schema, identifier(name), identifier(application)).encode())  # fmt: skip
        owner.execute(fill("CREATE FUNCTION {0}.{1}({2} text) RETURNS text LANGUAGE sql SECURITY DEFINER"
                           " AS 'SELECT 1::text'", schema, identifier(NAMES[1]), identifier(NAMES[2])).encode())  # fmt: skip
        owner.execute(fill("CREATE VIEW {0}.{1} AS SELECT {2} FROM {0}.{2}", schema, identifier("v" + NAMES[6]),
                           identifier(NAMES[6])).encode())  # fmt: skip

    @property
    def spec(self) -> str:
        """Filters over hostile columns; paths through hostile tables; hostile words wherever words may stand."""
        tables: dict[str, object] = {}
        for number, name in enumerate(NAMES):
            entry: dict[str, object] = {
                "filter": f"{identifier(name)} = userContext.name", "prompt": HARMLESS, "existing": "replace",
                "columns": {"hide": [NAMES[(number + 1) % len(NAMES)]]},
            }  # fmt: skip
            if number % 3 == 1:
                entry["through"] = f"parent -> {identifier(NAMES[number - 1])}(id)"
                entry["filter"] = (
                    f"{identifier(name)} = userContext.name AND id > 0 AND '{HARMLESS.replace(chr(39), '')}' <> ''"
                )
            tables[f"{identifier(self.schema)}.{identifier(name)}"] = entry
        return yaml.safe_dump({
            "version": 1,
            "context": {"name": {"type": "text", "pattern": "[a-z$'\";-]+"}},
            "roles": {"conversation": self.conversation, "unrestricted": ["shop_owner", self.application]},
            "schemas": [self.schema], "tables": tables,
            "views": {f"{identifier(self.schema)}.{identifier('v' + NAMES[6])}": "invoker"},
        }, allow_unicode=True)  # fmt: skip


@pytest.fixture
def site(database_factory: Databases, role_factory: Roles) -> Site:
    conversation = role_factory(name=f"c{os.getpid()}\"'; $rlsgen$\n\\! touch pwned\n--")
    application = role_factory(name=f"a{os.getpid()}\"'; $rlsgen$ \x1b[2J --")
    return Site(database_factory(name=f"d{os.getpid()}\"'; $rlsgen$\n\\! touch pwned\n--"), conversation, application)


def check(site: Site, sandbox: Sandbox) -> None:
    """Own rows and no others in every table, nothing forged on the way."""
    sandbox.make_key()
    with psycopg.connect(site.database.dsn(site.conversation), autocommit=True) as conversation:
        sandbox.begin(conversation, {"name": "own"})
        for number, name in enumerate(NAMES):
            query = fill("SELECT {1} FROM {0}.{1}", identifier(site.schema), identifier(name))
            assert send(conversation, query).rows == ([] if number % 3 == 1 else [("own",)]), name
        assert send(conversation, f"SELECT {identifier(NAMES[1])} FROM {identifier(site.schema)}.begin").state in (
            "",
            "42501",
        )
        hidden = fill("SELECT {2} FROM {0}.{1}", identifier(site.schema), identifier(NAMES[3]), identifier(NAMES[4]))
        assert send(conversation, hidden).state == "42501"
    with site.database.connect() as owner:
        assert owner.execute("SELECT to_regclass('public.pwned')").fetchone() == (None,)


@pytest.fixture(autouse=True)
def _nothing_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.glob("pwned*"))


def test_apply(site: Site) -> None:
    sandbox = Sandbox.unprovisioned(site.database, parse_spec(site.spec, "policies.yaml"))
    sandbox.apply()
    assert not sandbox.plan().transactions
    check(site, sandbox)


def test_the_plan_through_psql(site: Site, tmp_path: Path) -> None:
    sandbox = Sandbox.unprovisioned(site.database, parse_spec(site.spec, "policies.yaml"))
    script = tmp_path / "plan.sql"
    script.write_text(sandbox.plan().to_sql(), encoding="utf-8")
    psql = [str(site.database.server.program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", site.database.dsn()]
    for source in (["-f", str(script)], []):
        with script.open() as text:
            done = subprocess.run([*psql, *source], stdin=text, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0 or "already exists" in done.stderr, done.stderr
        if source:
            assert done.returncode == 0, done.stderr
            assert not sandbox.plan().transactions
    check(site, sandbox)


def test_what_a_terminal_sees(site: Site, tmp_path: Path) -> None:
    (tmp_path / "policies.yaml").write_text(site.spec, encoding="utf-8")
    for arguments in (["plan"], ["apply"]):
        done = subprocess.run(
            [sys.executable, "-m", "rlsgen", *arguments], capture_output=True, check=False, timeout=60, text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
                 "RLSGEN_DSN": site.database.dsn(),
                 "FORCE_COLOR": "", "NO_COLOR": "1"},
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        steering = {character for character in said if not character.isprintable() and character not in "\n\t"}
        assert not steering, (arguments, steering)
        lines = [line for line in said.splitlines() if line.startswith(("\\!", PWNED))]
        assert not lines, "a name must not look like a line of ours"
        if arguments == ["plan"]:
            assert "\\x1b[2J" in said, "it is shown, spelled out"


def test_errors_name_no_password(database: Database) -> None:
    """Every way to get a DSN wrong, with the password in it."""
    dsn = conninfo_to_dict(database.dsn())
    host, port = dsn.get("host", "localhost"), dsn.get("port", "5432")
    secret = "s3cr3t/pa:ss@w#rd"
    for text in (
        f"postgresql://nobody:{secret}@127.0.0.1:1/x", f"postgresql+psycopg://nobody:{secret}@127.0.0.1:1/x",
        f"host={host} port={port} user=nobody password={secret} dbname=none", f"host={host} password='{secret}",
        f"password={secret} x", f"nobody:{secret}@127.0.0.1", f"mysql://nobody:{secret}@127.0.0.1/x",
        f"postgresql://127.0.0.1:{secret}/x", f"postgresql://[{secret}",
        f"postgresql://nobody@127.0.0.1:1/x?password={secret}&nonsense={secret}",
    ):  # fmt: skip
        with pytest.raises(ServerError) as failed:
            open_connection(text)
        for part in ("s3cr3t", "pa:ss", "w#rd"):
            assert part not in f"{failed.value} {failed.value.hint} {failed.value!r}", text
