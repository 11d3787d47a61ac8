"""Every session of this database begins with a setting that takes something away from the isolation.

ALTER DATABASE … SET and ALTER ROLE ALL SET hold for conversations too, before their first statement. The settings that
matter are kept as data, with the reason. With `seal: off` the context itself is one: whoever sets none is somebody.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TypedDict

from rlsgen.catalog.model import SessionSetting
from rlsgen.identifiers import Sql, display, fill, identifier, join
from rlsgen.proof.finding import Finding, Rule, Severity
from rlsgen.proof.subject import Subject

RULE = Rule.described("database-settings", Severity.error, __doc__)


class _Danger(TypedDict):
    severity: str
    harmless: Sequence[str]
    danger: str


@cache
def dangers() -> Mapping[str, _Danger]:
    """What is known of settings, by name in lower case."""
    text = files("rlsgen.proof.rules").joinpath("settings.toml").read_text("utf-8")
    found: Mapping[str, _Danger] = tomllib.loads(text)
    return found


def find(subject: Subject) -> Iterator[Finding]:
    """One finding for each setting."""
    for setting in subject.catalog.session_settings:
        severity, danger = _judged(subject, setting)
        if severity is not None:
            database = subject.catalog.database
            who = Sql("ROLE ALL") if setting.everywhere else fill("DATABASE {}", identifier(database))
            name = join(".", [identifier(part) for part in setting.name.split(".")])
            yield RULE.finding(
                "all databases" if setting.everywhere else f"database {display(database)}",
                f"sessions begin with {setting.name} = {setting.value or repr('')}: {danger}",
                "an administrator can reset it",
                sql=fill("ALTER {} RESET {}", who, name),
                severity=severity,
            )


def _judged(subject: Subject, setting: SessionSetting) -> tuple[Severity | None, str]:
    name = setting.name.lower()
    if not subject.spec.seal and any(field.setting == name for field in subject.spec.context):
        return Severity.error, "nothing is sealed, so that a conversation without a context is somebody's"
    known = dangers().get(name)
    if known is None or setting.value.lower() in known["harmless"]:
        return None, ""
    return Severity(known["severity"]), known["danger"]
