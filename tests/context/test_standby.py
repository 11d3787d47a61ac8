"""On a hot standby, which can write nothing and assign no transaction id, contexts are taken and checked alike."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from rlsgen.demo.server import embedded_binaries, temporary_server
from rlsgen.demo.shop import OWNER, create_roles
from rlsgen.errors import KeyProblem
from rlsgen.provision.keys import create_key
from tests.context.stage import ABSENT, Stage, visible
from tests.support.clusters import standby_of
from tests.support.postgres import Database, Server, create_database


@pytest.fixture
def replicated(server: Server) -> Iterator[Stage]:
    """A stage whose database, but for its owner's connections, is the standby's."""
    with temporary_server(server.binaries or embedded_binaries(), small=True) as primary:
        with psycopg.connect(primary.dsn(), autocommit=True) as administrator:
            create_roles(administrator)
            create_database(administrator, "replicated", "template0", OWNER)
        stage = Stage(Database(Server(primary.dsn(), server.version, primary.binaries), "replicated"))
        stage.database.close()
        with standby_of(primary) as standby:
            stage.database = Database(Server(standby.dsn(), server.version, standby.binaries), "replicated")
            yield stage
            stage.database.close()


def test_contexts_on_a_standby(replicated: Stage) -> None:
    assert replicated.superuser().execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    connection = replicated.sealed()
    assert visible(connection) == [1]
    connection.execute("SET LOCAL app.organisation_id = 2")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=ABSENT):
        visible(connection)
    assert not replicated.accepts(replicated.token() + "x")
    with pytest.raises(KeyProblem, match="standby"):
        create_key(replicated.owner())
