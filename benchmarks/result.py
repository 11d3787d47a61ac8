"""What benchmarks have in common on the command line: which server they measure, and where the result goes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """--postgres-bin and --json."""
    parser.add_argument("--postgres-bin", type=Path, help="measure on these binaries instead of the embedded ones")
    parser.add_argument("--json", type=Path, help="write the result to this file instead of printing it")


def write(result: Mapping[str, object], file: Path | None) -> None:
    """As JSON, to the file or to standard output."""
    text = json.dumps(result, indent=1)
    if file:
        file.write_text(text + "\n")
    else:
        print(text)
