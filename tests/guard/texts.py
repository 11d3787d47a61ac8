"""The corpus: texts by file and number."""

from __future__ import annotations

from pathlib import Path

import postgast

CORPUS = Path(__file__).with_name("corpus")


def corpus() -> dict[str, str]:
    """Every statement, by a name such as `joins:12`."""
    found = {}
    for path in sorted(CORPUS.glob("*.sql")):
        for number, text in enumerate(postgast.split(path.read_text(encoding="utf-8")), 1):
            found[f"{path.stem}:{number}"] = text.strip()
    return found
