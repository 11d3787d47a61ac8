"""Conversations reach something in an extension that lets SQL text out of its database, or sees what others do.

A list of such extensions, with what each is good for, is kept as data. One that is installed where the conversation
role cannot enter the schema, or whose functions it may not execute, is no finding.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files

from rlsgen.identifiers import display, fill, identifier
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("dangerous-extension", Severity.warning, __doc__)


@cache
def dangers() -> Mapping[str, Mapping[str, str]]:
    """Severity and danger by the extension's name."""
    text = files("rlsgen.proof.rules").joinpath("extensions.toml").read_text("utf-8")
    found: Mapping[str, Mapping[str, str]] = tomllib.loads(text)
    return found


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each extension."""
    for extension in subject.catalog.extensions:
        known = dangers().get(extension.name)
        if known is not None and extension.reachable:
            schema = identifier(extension.schema)
            yield RULE.finding(
                f"extension {display(extension.name)}",
                f"conversations reach it (it is in schema {display(extension.schema)}): {known['danger']}",
                "move it to a schema that only those enter who need it, or revoke EXECUTE on its functions from PUBLIC",
                sql=fill("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA {} FROM PUBLIC", schema)
                if extension.schema not in ("public", "pg_catalog", *subject.spec.schemas)
                else "",
                severity=Severity(known["severity"]),
            )
