"""Runs `rlsgen` in a process of its own without importing it each time: a server has it imported, and forks.

Most of what a short command takes is Python's imports. What a process is made of stays as it is: arguments, variables,
current folder, three files, an exit code. What starts otherwise, on a terminal or with signals, starts Python.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["rlsgen.cli.app", "rlsgen.demo.server", "tests.cli.forked"])


def run(
    arguments: Sequence[str], directory: Path, environment: Mapping[str, str], given: str | None, patience: float
) -> subprocess.CompletedProcess[str]:
    """`python -m rlsgen` with these arguments, to its end.

    Raises:
        subprocess.TimeoutExpired: it did not end in `patience` seconds.
    """
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("in", "out", "err")]
        for file in files:
            file.write_text((given or "") if file.name == "in" else "", encoding="utf-8")
        process = _SERVER.Process(target=_rlsgen, args=(arguments, directory, dict(environment), files))
        process.start()
        process.join(patience)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["rlsgen", *arguments], patience)
        shown, said = (file.read_text(encoding="utf-8") for file in files[1:])
        return subprocess.CompletedProcess(["rlsgen", *arguments], process.exitcode, shown, said)


def _rlsgen(arguments: Sequence[str], directory: Path, environment: Mapping[str, str], files: Sequence[Path]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, encoding="utf-8", closefd=False) for number, mode in enumerate("rww")
    )
    sys.argv = ["rlsgen", *arguments]
    from rlsgen.cli import main

    main()
