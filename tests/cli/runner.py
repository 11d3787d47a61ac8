"""Runs `rlsgen` as people do: another process, with arguments, variables, pipes or a terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "policies.yaml"
ALLOWED = ("--allow", "PUBLIC_REVOKE", "--allow", "PLANNER_STATISTICS")
PATIENCE = 60.0  # seconds until a condition must hold


@dataclass(frozen=True, slots=True)
class Rlsgen:
    """A way to call it; `having` adds variables."""

    directory: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    def having(self, **variables: str) -> Rlsgen:
        return replace(self, variables={**self.variables, **variables})

    @property
    def environment(self) -> dict[str, str]:
        ours = ("PG", "RLSGEN_", "DATABASE_URL", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return {**kept, "PYTHONPATH": path, **self.variables}

    def __call__(self, *arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end; without input, there is none to read."""
        given = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        return subprocess.run(
            [sys.executable, "-m", "rlsgen", *arguments],
            check=False, capture_output=True, encoding="utf-8", cwd=self.directory, env=self.environment,
            timeout=120, **given,
        )  # fmt: skip

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, with pipes to all three."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-m", "rlsgen", *arguments],
            stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", cwd=self.directory, env=self.environment,
        )  # fmt: skip

    def on_terminal(self, *arguments: str) -> tuple[int, str]:
        """Run it on a terminal of 100 columns; returns its exit code and everything that was shown."""
        controller, terminal = pty.openpty()
        environment = {**self.environment, "TERM": "xterm-256color", "COLUMNS": "100"}
        process = subprocess.Popen(
            [sys.executable, "-m", "rlsgen", *arguments],
            stdin=terminal, stdout=terminal, stderr=terminal, cwd=self.directory, env=environment,
        )  # fmt: skip
        os.close(terminal)
        shown = b""
        while chunk := _read(controller):
            shown += chunk
        os.close(controller)
        return process.wait(60), shown.decode()


@dataclass(frozen=True, slots=True)
class Here:
    """The same program in this process, which saves its start: where that it is one of its own is not the point."""

    rlsgen: Rlsgen
    patch: pytest.MonkeyPatch
    captured: pytest.CaptureFixture[str]  # capfd

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        from rlsgen.cli.app import run

        with self.patch.context() as patch:
            patch.chdir(self.rlsgen.directory)
            patch.setattr(sys, "argv", ["rlsgen", *arguments])
            patch.setattr(os, "environ", self.rlsgen.environment)
            patch.setattr(signal, "signal", lambda number, handler: None)  # the handlers are pytest's
            self.captured.readouterr()
            code = run()
        return subprocess.CompletedProcess(arguments, code, *self.captured.readouterr())


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # Linux: the other end is closed
        return b""


def wait_until(holds: Callable[[], object]) -> None:
    """Ask again and again until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.01)
