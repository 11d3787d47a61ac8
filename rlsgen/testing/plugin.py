"""The pytest plugin: options, fixtures and the guard's hook. docs/testing.md explains all of them.

Every pytest that has rlsgen installed loads this file. So it imports nothing but pytest, does nothing that nobody asked
for, and each name of its own starts with rlsgen, but for the fixtures that tests ask for by name; a project's own
fixtures of those names win.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rlsgen.spec.model import Spec
    from rlsgen.testing.contexts import AsContext, AsyncConversations, Conversations
    from rlsgen.testing.database import Build, IsolatedDatabase
    from rlsgen.testing.server import TestServer

DSN_VARIABLE = "RLSGEN_TEST_DSN"
_GUARDED = pytest.StashKey["Spec"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options, all of them also in the configuration file."""
    group = parser.getgroup("rlsgen")
    group.addoption("--rlsgen-dsn", metavar="DSN", help="administrator of a server for tests; else an embedded one")
    parser.addini("rlsgen_spec", "the spec, relative to this file", default="policies.yaml")
    parser.addini("rlsgen_dsn", f"as --rlsgen-dsn; {DSN_VARIABLE} in the environment comes before it", default="")
    parser.addini("rlsgen_binaries", "start the embedded server from this folder of PostgreSQL's programs", default="")
    parser.addini("rlsgen_schema", "SQL files that make your schema, in this order", type="paths", default=[])
    parser.addini("rlsgen_template", "a database that is there, migrated and provisioned: clone this one", default="")
    parser.addini("rlsgen_guard", "fail tests that touch scoped tables without a context", type="bool", default=False)
    parser.addini("rlsgen_unscoped_roles", "roles that the guard does not look at", type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Put the guard around every test, if that is asked for."""
    config.addinivalue_line("markers", "rlsgen_unscoped(why): statements of this test need no context")
    if config.getini("rlsgen_guard"):
        config.pluginmanager.register(_Everywhere(), "rlsgen-guard-everywhere")


class _Everywhere:
    @pytest.fixture(autouse=True)
    def _rlsgen_guard_everywhere(self, rlsgen_guard: None) -> None:
        """What `rlsgen_guard = true` does: every test asks for the guard."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Watch the test itself, not its fixtures, whose factories and migrations may touch every row."""
    spec = item.stash.get(_GUARDED, None)
    if spec is None:
        return (yield)
    from rlsgen.testing.watch import watching  # noqa: PLC0415

    with watching(spec, item.config.getini("rlsgen_unscoped_roles")) as seen:
        try:
            result = yield
        except BaseException:
            if seen:  # perhaps the error is what became of ours
                item.add_report_section("call", "rlsgen", "\n\n".join(map(str, seen)))
            raise
    if seen:  # raised where it happened, and swallowed there
        pytest.fail("\n\n".join(map(str, seen)), pytrace=False)
    return result


@pytest.fixture
def rlsgen_guard(request: pytest.FixtureRequest, rlsgen_spec: Spec) -> None:
    """Fail this test if a statement of psycopg or SQLAlchemy touches a scoped table without a context."""
    marker = request.node.get_closest_marker("rlsgen_unscoped")
    if marker is None:
        request.node.stash[_GUARDED] = rlsgen_spec
    elif not (marker.args and isinstance(marker.args[0], str) and marker.args[0].strip()):
        _stop("the marker rlsgen_unscoped needs a reason", '@pytest.mark.rlsgen_unscoped("why it reads every tenant")')


@pytest.fixture(scope="session")
def rlsgen_spec(pytestconfig: pytest.Config) -> Spec:
    """The spec that tests are about; override it to take another one."""
    from rlsgen.spec.load import load_spec  # noqa: PLC0415

    path = _beside_configuration(pytestconfig, pytestconfig.getini("rlsgen_spec"))
    if not path.is_file():
        _stop(f"there is no spec {path}", "set rlsgen_spec in pytest's configuration, or override the fixture")
    with _plainly("the spec cannot be used"):
        return load_spec(path)


@pytest.fixture(scope="session")
def rlsgen_server(pytestconfig: pytest.Config, rlsgen_spec: Spec) -> Iterator[TestServer]:
    """The server with the spec's roles on it: one for each process of pytest-xdist, unless a DSN names one for all."""
    from rlsgen.testing.server import running  # noqa: PLC0415

    dsn = pytestconfig.getoption("--rlsgen-dsn") or os.environ.get(DSN_VARIABLE) or pytestconfig.getini("rlsgen_dsn")
    folder = pytestconfig.getini("rlsgen_binaries")
    binaries = _beside_configuration(pytestconfig, folder) if folder else None
    opened = running(dsn, binaries, rlsgen_spec)
    with _plainly("there is no server to test on"):
        server = opened.__enter__()
    yield server
    opened.__exit__(None, None, None)


@pytest.fixture(scope="session")
def rlsgen_schema(pytestconfig: pytest.Config) -> Build:
    """What makes your schema, and rows if you want some, in an empty database: override it for Alembic or an ORM.

    A function that takes an `IsolatedDatabase`, of which `owner`, `dsn()`, `url()` and `connect()` work already.
    """
    from rlsgen.testing.database import from_files  # noqa: PLC0415

    files: list[Path] = pytestconfig.getini("rlsgen_schema")
    if not files:
        _stop("nothing makes the schema of isolated_database", "set rlsgen_schema, or override that fixture")
    return from_files(files)


@pytest.fixture(scope="session")
def rlsgen_template(
    pytestconfig: pytest.Config, request: pytest.FixtureRequest, rlsgen_server: TestServer, rlsgen_spec: Spec
) -> Iterator[IsolatedDatabase]:
    """The database that every `isolated_database` is a clone of: your schema, with the spec applied. Do not connect."""
    from rlsgen.testing.database import adopted, built  # noqa: PLC0415

    name = pytestconfig.getini("rlsgen_template")
    if name:
        opened = adopted(rlsgen_server, rlsgen_spec, name)
    else:
        opened = built(rlsgen_server, rlsgen_spec, request.getfixturevalue("rlsgen_schema"))
    with _plainly("the database to test on cannot be made"):
        template = opened.__enter__()
    yield template
    opened.__exit__(None, None, None)


@pytest.fixture
def isolated_database(rlsgen_template: IsolatedDatabase) -> Iterator[IsolatedDatabase]:
    """A database of this test alone: your schema with the spec in force, dropped at the end."""
    with rlsgen_template.clone() as database:
        yield database


@pytest.fixture
def conversation(isolated_database: IsolatedDatabase) -> Iterator[Conversations]:
    """`conversation({"organisationId": 1}).query("SELECT …")`: as your application asks, guard and limits included."""
    from rlsgen.testing.contexts import Conversations  # noqa: PLC0415

    with Conversations(isolated_database) as opener:
        yield opener


@pytest.fixture
def async_conversation(isolated_database: IsolatedDatabase) -> AsyncConversations:
    """`async with async_conversation({"organisationId": 1}) as talk: await talk.query("SELECT …")`."""
    from rlsgen.testing.contexts import AsyncConversations  # noqa: PLC0415

    return AsyncConversations(isolated_database)


@pytest.fixture
def as_context(isolated_database: IsolatedDatabase) -> AsContext:
    """`with as_context({"organisationId": 1}) as connection:` the database alone, no guard; `async with` as well."""
    from rlsgen.testing.contexts import AsContext  # noqa: PLC0415

    return AsContext(isolated_database)


def _beside_configuration(config: pytest.Config, path: str) -> Path:
    """A path of the configuration file, which is relative to that file."""
    return (config.inipath.parent if config.inipath else config.rootpath) / path


def _stop(message: str, hint: str) -> Any:
    pytest.fail(f"rlsgen: {message}\n{hint}", pytrace=False)


class _plainly:  # noqa: N801 - read as a word: with _plainly(...)
    """Errors of ours become the test's, in their own words and without our stack."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        from rlsgen.errors import RlsgenError  # noqa: PLC0415

        if isinstance(error, RlsgenError):
            _stop(f"{self._doing}: {error.message}", error.hint)
