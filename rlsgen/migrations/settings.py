"""Where a project says what rlsgen needs to know: env.py, the configuration file, or `alembic -x`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext

from rlsgen.errors import RlsgenError
from rlsgen.provision.plan import Hazard
from rlsgen.spec.load import load_spec
from rlsgen.spec.model import Spec

DEFAULT_SPEC = "policies.yaml"


@dataclass(frozen=True, slots=True)
class Settings:
    """What was said; `declared` is a spec, or the path of one."""

    declared: Spec | Path
    allow: frozenset[str] = frozenset()
    off: bool = False

    @classmethod
    def of(cls, context: MigrationContext) -> Settings:
        """From `-x rlsgen_spec=...`, then `context.configure(rlsgen_spec=...)`, then the configuration file.

        Raises:
            RlsgenError: a hazard that is allowed does not exist.
        """
        environment = context.environment_context
        asked = environment.get_x_argument(as_dictionary=True) if environment else {}
        config = context.config
        # Since Alembic 1.16 the configuration may be in pyproject.toml.
        option: Any = getattr(config, "get_alembic_option", None) or (config.get_main_option if config else {}.get)
        written = {name: option(name) for name in ("rlsgen_spec", "rlsgen_allow")}
        declared = asked.get("rlsgen_spec") or context.opts.get("rlsgen_spec") or written["rlsgen_spec"] or DEFAULT_SPEC
        allow = [asked.get("rlsgen_allow"), context.opts.get("rlsgen_allow"), written["rlsgen_allow"]]
        return cls(
            declared if isinstance(declared, Spec) else Path(declared),
            frozenset(name for each in allow for name in _hazards(each)),
            asked.get("rlsgen") == "off",
        )

    def spec(self) -> Spec:
        """The spec, read.

        Raises:
            SpecError: it is not there, or not valid.
        """
        return self.declared if isinstance(self.declared, Spec) else load_spec(self.declared)


def _hazards(text: str | Iterable[str] | None) -> list[str]:
    """Names of hazards from a list, or from a text with commas."""
    parts = text.split(",") if isinstance(text, str) else list(text or ())
    names = [part.strip().upper() for part in parts if part.strip()]
    unknown = sorted(set(names) - set(Hazard))
    if unknown:
        raise RlsgenError(f"rlsgen_allow: {', '.join(unknown)}: no such hazard", hint=f"there are {', '.join(Hazard)}")
    return names
