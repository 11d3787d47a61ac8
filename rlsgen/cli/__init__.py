"""The command line: parses, calls, prints, exits. Nothing else in the package does."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `rlsgen`; exits with 0 fine, 1 failed, 2 usage, 3 differences or findings, 4 hazard refused."""
    try:
        from rlsgen.cli.app import run  # noqa: PLC0415  (the runtime installs without typer, rich and jinja2)
    except ModuleNotFoundError as missing:
        print(f"rlsgen: the command line needs {missing.name}: pip install 'rlsgen[cli]'", file=sys.stderr)
        sys.exit(1)
    sys.exit(run())
