"""The command line: parses, calls, prints, exits. Nothing else in the package does."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run `rlsgen`; exits with 0 fine, 1 failed, 2 usage, 3 differences or findings, 4 hazard refused."""
    # What a command makes, it keeps until it ends: searching that for cycles, above all while modules are imported and
    # once more at the end, is a third of the time that a short command takes.
    gc.disable()
    try:
        from rlsgen.cli.app import run  # noqa: PLC0415  (the runtime installs without typer, rich and jinja2)
    except ImportError as missing:
        if missing.name is not None and missing.name.partition(".")[0] == "rlsgen":
            raise
        # psycopg without libpq raises it too, over several lines.
        reason = str(missing).partition("\n")[0]
        print(f"rlsgen: the command line cannot start: {reason}\n    pip install 'rlsgen[cli]'", file=sys.stderr)
        sys.exit(1)
    code = run()
    gc.freeze()
    sys.exit(code)
