"""Clusters of a test's own: what a restart does to a pool, and a hot standby."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlsgen.demo.server import Server as Cluster
from rlsgen.demo.server import start


def wait_until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Look again and again until a condition holds; it is the condition that is waited for, not the time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.005)


def owned(path: Path) -> dict[str, Any]:
    """Arguments for `subprocess`: run as whoever owns a path, where we are root and programs refuse to be."""
    if os.geteuid() != 0:
        return {}
    status = path.stat()
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


def restart(cluster: Cluster, mode: str = "immediate") -> None:
    """Stop it (`immediate`: as a crash does) and start it again, on the same port."""
    with tempfile.TemporaryFile() as output:  # a pipe would stay open in the server
        subprocess.run(
            [cluster.binaries / "pg_ctl", "restart", "-D", cluster.data, "-l", cluster.log, "-m", mode, "-w"],
            check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
            **owned(cluster.data),
        )  # fmt: skip


@contextmanager
def standby_of(primary: Cluster) -> Iterator[Cluster]:
    """A copy of a cluster as it is now, that follows it."""
    directory = Path(tempfile.mkdtemp(prefix="rlsgen-"))
    data = directory / "data"
    try:
        subprocess.run(
            [primary.binaries / "pg_basebackup", "-d", primary.dsn(), "-D", data, "-R", "--no-sync", "-c", "fast"],
            check=True,
            capture_output=True,
        )
        owner = primary.data.stat()
        for each in [data, *data.rglob("*")]:
            os.chown(each, owner.st_uid, owner.st_gid, follow_symlinks=False)
        (data / "postmaster.pid").unlink(missing_ok=True)
        standby = start(directory, binaries=primary.binaries)
        try:
            yield standby
        finally:
            standby.remove()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
