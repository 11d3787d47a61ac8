"""Where many organisations live: a provisioned database, its key, and pools of conversations on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from rlsgen import AsyncConversationPool, ConversationPool
from rlsgen.catalog.connect import open_connection
from rlsgen.demo.shop import CONVERSATION, OWNER
from rlsgen.provision.apply import apply
from rlsgen.provision.keys import create_key
from rlsgen.provision.plan import Hazard
from rlsgen.runtime.token import SigningKey
from rlsgen.spec.load import parse_spec
from rlsgen.spec.model import Spec
from tests.support.postgres import Server, create_database

_HERE = Path(__file__).parent
_OPTIONS: Mapping[str, Any] = {"known_holes": "warn", "timeout": 60.0}  # the embedded server has one
ORGANISATIONS = range(1, 41)


def context(organisation: int) -> Mapping[str, object]:
    return {"organisationId": organisation, "userId": f"user_{organisation}"}


def canary(organisation: int) -> str:
    return f"CANARY-{organisation}"


@dataclass(frozen=True, slots=True)
class Place:
    """A database of a server, as one may come to it: directly, through a pooler, or on a standby."""

    server: Server
    name: str
    spec: Spec
    key: SigningKey
    way: str  # the conversation role's DSN

    @classmethod
    def make(cls, server: Server, name: str) -> Place:
        """The organisations in a new database, provisioned."""
        spec = parse_spec((_HERE / "policies.yaml").read_text(encoding="utf-8"), "policies.yaml")
        with server.administer() as administrator:
            create_database(administrator, name, "template0", OWNER)
        with psycopg.connect(server.dsn(name, OWNER)) as owner:
            owner.execute((_HERE / "organisations.sql").read_bytes())
        with open_connection(server.dsn(name, OWNER)) as owner:
            apply(owner, spec, allow=tuple(Hazard))
            key = create_key(owner)
        return cls(server, name, spec, key, server.dsn(name, CONVERSATION))

    def through(self, way: str) -> Place:
        """The same place by another DSN of the conversation role."""
        return replace(self, way=way)

    def pool(self, **options: Any) -> ConversationPool:
        return ConversationPool(self.way, self.spec, self.key, **{**_OPTIONS, **options})

    def async_pool(self, **options: Any) -> AsyncConversationPool:
        return AsyncConversationPool(
            self.way, self.spec, self.key, **{"known_holes": "warn", "timeout": 60.0, **options}
        )

    def administer(self) -> psycopg.Connection[Any]:
        """The superuser of the server, in this database."""
        return psycopg.connect(self.server.dsn(self.name), autocommit=True)

    def backends(self) -> list[int]:
        """The pids of the conversation role's backends in this database."""
        with self.administer() as administrator:
            return [pid for (pid,) in administrator.execute(_BACKENDS, [self.name]).fetchall()]


_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE usename = 'nl_conversation' AND datname = %s"
