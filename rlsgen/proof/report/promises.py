"""What is not promised whatever a report finds, in words for a reviewer: README and security-model.md say the same."""

from __future__ import annotations

from rlsgen.proof.report.data import Said
from rlsgen.spec.model import Spec

_ALWAYS = (
    Said(
        "Timing, and the planner's statistics",
        "How long an answer takes can tell, statistically, whether something exists. One plain query can learn a bit "
        "about others' values through the order of its own rows, where a readable column has planner statistics; "
        "columns marked private have none.",
    ),
    Said(
        "A raw connection",
        "Whoever gives untrusted SQL a connection of its own has the first ring alone: no foreign row, and no forged "
        "context, but EXPLAIN, system catalogs, counters and locks tell about others. The guard refuses these.",
    ),
    Said(
        "Availability",
        "Time, rows, bytes and statements are bounded by the runtime for each process. A costly query still costs "
        "what it costs until its deadline.",
    ),
    Said(
        "Those who stand outside",
        "Superusers, owners of tables, roles with BYPASSRLS and the unrestricted roles read every row, and whoever "
        "holds a signing key can speak for any tenant. “Who can read what” names them.",
    ),
    Said(
        "Copies",
        "Backups, exports, logs, search indexes, replicas of other kinds and materialized views are not covered by row "
        "security.",
    ),
    Said(
        "Holes of PostgreSQL itself",
        "Row security has had holes in the server. Those known to this version of rlsgen are listed here; others may "
        "become known later. Run the latest minor version.",
    ),
    Said(
        "The day after",
        "This page tells how the database was at one moment, for the tenants that were compared. Anybody with the "
        "right to change it can change it afterwards: make a new report after each change.",
    ),
)
_WRITES = Said(
    "Existence, where conversations may write",
    "A unique key without the tenant in it answers whether a value is taken already.",
)
_NO_SEAL = Said(
    "The context is not sealed",
    "With seal: off whoever chooses the SQL text chooses the tenant too. That is for SQL that is trusted.",
)


def not_promised(spec: Spec) -> tuple[Said, ...]:
    """The points that hold for a spec; what it gives up stands first."""
    writes = any(set(table.allow) & {"insert", "update"} for table in spec.tables if table.access == "scoped")
    first, *others = _ALWAYS
    return (*(() if spec.seal else (_NO_SEAL,)), first, *((_WRITES,) if writes else ()), *others)
