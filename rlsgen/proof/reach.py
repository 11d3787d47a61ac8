"""What makes a privilege on a relation worse than it looks: several rules share it."""

from __future__ import annotations

from collections.abc import Iterator

from rlsgen.catalog.model import Relation
from rlsgen.identifiers import Name
from rlsgen.proof.subject import Excess, Subject
from rlsgen.provision.grants import Privileges

UNSAFE = frozenset({"TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"})
_KINDS = frozenset({"sequence", "matview", "foreign"})


def ordinary(excess: Excess) -> Privileges:
    """The privileges that are no worse than their names."""
    return frozenset(each for each in excess.privileges if each[0] not in UNSAFE)


def is_ordinary(subject: Subject, relation: Relation) -> bool:
    """Whether a relation has no rule of its own for privileges on it."""
    lost = relation.kind == "view" and not relation.security_invoker
    return relation.kind not in _KINDS and not lost and covering(subject, relation) is None


def covering(subject: Subject, relation: Relation) -> Name | None:
    """The scoped table that a partition or an inheriting table is queried through."""
    for name in relation.parents:
        table, parent = subject.resolved.tables.get(name), subject.catalog.relations.get(name)
        if table is not None and table.spec.access == "scoped":
            return name
        above = covering(subject, parent) if parent is not None else None
        if above is not None:
            return above
    return None


def readers(subject: Subject) -> Iterator[Excess]:
    """Privileges beyond the spec among which there is SELECT."""
    for excess in subject.excess:
        if any(privilege == "SELECT" for privilege, _ in excess.privileges):
            yield excess


def who(subject: Subject, excess: Excess) -> str:
    """Who holds it, as messages say it."""
    return "everybody (PUBLIC)" if excess.public else subject.role
