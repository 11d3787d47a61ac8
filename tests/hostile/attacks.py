"""The attack catalogue, read from attacks.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

DENIED = "42501"  # insufficient_privilege


@dataclass(frozen=True, slots=True)
class Attack:
    """One message of hostile text, and how it may end."""

    id: str
    text: str
    ends: str = DENIED
    since: int = 15  # the major version that has the syntax

    @property
    def endings(self) -> frozenset[str]:
        # A server that was built without libxml has no XML to leak into.
        return frozenset([*str(self.ends).split(), *(["0A000"] if "_to_xml" in self.text else [])])


def _catalogue() -> dict[str, tuple[Attack, ...]]:
    document = yaml.safe_load(Path(__file__).with_name("attacks.yaml").read_text(encoding="utf-8"))
    pieces = document.pop("pieces")

    def attack(name: str, entry: str | dict[str, object]) -> Attack:
        fields = {"text": entry} if isinstance(entry, str) else dict(entry)
        text = str(fields.pop("text"))
        for piece, stands_for in pieces.items():
            text = text.replace(f"<{piece}>", stands_for)
        return Attack(name, text, **fields)

    return {group: tuple(attack(*item) for item in entries.items()) for group, entries in document.items()}


_GROUPS = _catalogue()
FORGING, COVERING, WRITING = _GROUPS["forging"], _GROUPS["covering"], _GROUPS["writing"]
TELLING, GENEROUS = _GROUPS["telling"], _GROUPS["generous"]
ATTACKS = (*FORGING, *COVERING, *WRITING, *TELLING)
