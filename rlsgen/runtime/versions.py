"""What is known about versions of PostgreSQL: holes in its row security, from the data in server_holes.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

OLDEST = 15
"""The first major version with security_invoker views."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole of the server itself in what row security promises."""

    id: str  # a CVE number, or a word where there is none
    fixed_in: Mapping[int, int]  # by major version, the first minor one without it
    confidentiality: bool  # whether foreign rows or values can become known or changed
    reachable: bool  # for a conversation role
    summary: str
    source: str

    @property
    def grave(self) -> bool:
        """Whether a conversation could reach foreign rows through it."""
        return self.confidentiality and self.reachable

    def is_in(self, version: int) -> bool:
        """Whether a server has it; `version` as in server_version_num: 180006."""
        major, minor = divmod(version, 10_000)
        return minor < self.fixed_in.get(major, 0) or major < min(self.fixed_in)


@cache
def known_holes() -> tuple[Hole, ...]:
    """All that are known."""
    text = files("rlsgen.runtime").joinpath("server_holes.toml").read_text("utf-8")
    return tuple(
        Hole(**{**each, "fixed_in": {int(major): minor for major, minor in each["fixed_in"].items()}})
        for each in tomllib.loads(text)["hole"]
    )


def holes_in(version: int) -> tuple[Hole, ...]:
    """The known holes of a server; `version` as in server_version_num."""
    return tuple(hole for hole in known_holes() if hole.is_in(version))


def mended_in(version: int) -> str:
    """The version of the same major one that has none of its known holes: 18.7."""
    major, minor = divmod(version, 10_000)
    return f"{major}.{max([minor, *(hole.fixed_in.get(major, 0) for hole in holes_in(version))])}"
