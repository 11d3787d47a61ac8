"""Every protection taken away, one at a time: its attack then works, the plan sees it, and apply repairs it.

A protection whose loss leaks nothing would be one whose tests cannot fail.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rlsgen.errors import SpecError
from rlsgen.identifiers import identifier
from tests.hostile.support import ALL_TABLES, Reply, Sandbox, Verdict

_YES = "".join(
    f"CREATE FUNCTION yes({kind}, {kind}) RETURNS boolean LANGUAGE sql AS 'SELECT length($1::text) > 9';"
    f" CREATE OPERATOR public.= (LEFTARG = {kind}, RIGHTARG = {kind}, FUNCTION = yes); "
    for kind in ("bytea", "text", "bigint")
)  # whatever the seals are compared as; short texts are not them
_YES += "SET LOCAL search_path = public, pg_catalog; "


@dataclass(frozen=True, slots=True)
class Mutation:
    """What somebody does to the database, and what a conversation then gets; see mutations.yaml."""

    id: str
    harm: str
    attack: str
    first: str = ""
    refused: str = ""
    undo: str = ""
    administrator: bool = False
    commits: bool = False


def _mutations() -> list[Mutation]:
    document = yaml.safe_load(Path(__file__).with_name("mutations.yaml").read_text(encoding="utf-8"))
    return [Mutation(name, **entry) for name, entry in document.items()]


MUTATIONS = _mutations()


def adapted(sandbox: Sandbox, text: str) -> str:
    with sandbox.database.connect() as owner:
        partition = owner.execute("SELECT tableoid::regclass::text FROM events WHERE path = '/CANARY' LIMIT 1")
        path = owner.execute(
            "SELECT oid::regproc::text FROM pg_proc"
            " WHERE proname LIKE 'path\\_%' AND pg_get_function_identity_arguments(oid) = 'text'"
        )
        database = identifier(sandbox.database.name)
        names = {"<partition>": partition.fetchone(), "<path>": path.fetchone(), "<db>": (database,), "<yes>": (_YES,)}
    for place, row in names.items():
        text = text.replace(place, str(row[0]) if row else place)
    return text


def attacked(sandbox: Sandbox, mutation: Mutation, text: str) -> Verdict:
    """The attack; a committed one is looked for in every table."""
    before = sandbox.foreign(ALL_TABLES) if mutation.commits else {}
    verdict = sandbox.attack(text)
    if mutation.commits and sandbox.foreign(ALL_TABLES) != before:
        return Verdict(verdict.reply, (*verdict.leaks, "foreign rows changed"))
    return verdict


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.id)
def test_each_protection_is_needed_seen_and_repaired(sandbox: Sandbox, mutation: Mutation) -> None:
    text = adapted(sandbox, mutation.attack)
    if mutation.first:
        sandbox.owner(adapted(sandbox, mutation.first))
    assert attacked(sandbox, mutation, text).leaks == (), "safe before"
    harm = sandbox.administrator if mutation.administrator else sandbox.owner
    harm(adapted(sandbox, mutation.harm))
    try:
        no_context = Verdict(without_context(sandbox), ("no context",)) if mutation.id == "setter" else None
        broken = no_context or attacked(sandbox, mutation, text)
        assert broken.leaks, broken.reply
        if mutation.refused:
            with pytest.raises(SpecError, match=mutation.refused):
                sandbox.plan()
        else:
            assert sandbox.plan().transactions, "the plan must see it"
    finally:
        if mutation.undo:
            harm(mutation.undo)
    sandbox.apply()
    assert not sandbox.plan().transactions
    assert attacked(sandbox, mutation, text).leaks == (), "safe after"


def without_context(sandbox: Sandbox) -> Reply:
    """A setter that sets nothing fails closed: conversations have no context then."""
    reply = sandbox.attack("SELECT name FROM products").reply
    assert reply.state == "42501"
    return reply


def test_a_foreign_table_is_seen(sandbox: Sandbox) -> None:
    """Row security does not reach what is elsewhere."""
    sandbox.administrator(
        "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER away FOREIGN DATA WRAPPER far;"
        " CREATE FOREIGN TABLE public.elsewhere (name text) SERVER away;"
        " GRANT SELECT ON public.elsewhere TO nl_conversation"
    )
    with pytest.raises(SpecError, match=r"foreign table public\.elsewhere is not declared"):
        sandbox.plan()
