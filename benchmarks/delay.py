"""A network that is far away: a TCP proxy in a process of its own, which holds back every piece that passes.

Pieces are held, not the line: what is sent together arrives together, as on a real network, and throughput stays.
Round trips are counted: how often a client speaks after the server has.
"""

from __future__ import annotations

import multiprocessing
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

PIECE = 256 * 1024
SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit the threads and connections of the benchmark


@dataclass(frozen=True, slots=True)
class Delay:
    """The way through a proxy."""

    dsn: str
    _trips: Any  # the proxy's counter

    @property
    def trips(self) -> int:
        """Round trips so far, of all connections."""
        return int(self._trips.value)


@contextmanager
def delayed(dsn: str, seconds: float) -> Iterator[Delay]:
    """A way to the server of `dsn` that takes so many seconds there and back, half of it in each direction."""
    known = conninfo_to_dict(dsn)
    target = (str(known.get("host") or "localhost"), int(known.get("port") or 5432))
    trips = SPAWN.Value("L", 0)
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_serve, args=(target, seconds / 2, trips, theirs), daemon=True)
    process.start()
    try:
        way = make_conninfo(dsn, host="127.0.0.1", port=ours.recv(), sslmode="disable", gssencmode="disable")
        yield Delay(way, trips)
    finally:
        process.terminate()
        process.join()


def _serve(target: tuple[str, int], seconds: float, trips: Any, tell: Connection) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        tell.send(listener.getsockname()[1])
        while True:
            client, _ = listener.accept()
            _Line(client, _connected(target), seconds, trips)


def _connected(target: tuple[str, int]) -> socket.socket:
    host, port = target
    if not host.startswith("/"):
        return socket.create_connection(target)
    server = socket.socket(socket.AF_UNIX)
    server.connect(f"{host}/.s.PGSQL.{port}")
    return server


class _Line:
    """One connection: in each direction a thread that reads, and one that passes on what is due."""

    def __init__(self, client: socket.socket, server: socket.socket, seconds: float, trips: Any) -> None:
        self._seconds = seconds
        self._trips = trips
        self._answered = True  # whether the server spoke last
        for each in (client, server):
            if each.family == socket.AF_INET:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, target in ((client, server), (server, client)):
            due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            threading.Thread(target=self._read, args=(source, due, source is client), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(target, due), daemon=True).start()

    def _read(self, source: socket.socket, due: queue.SimpleQueue[tuple[float, bytes]], asks: bool) -> None:
        piece = b"more"
        while piece:
            try:
                piece = source.recv(PIECE)
            except OSError:
                piece = b""
            if asks and piece and self._answered:
                with self._trips.get_lock():
                    self._trips.value += 1
            self._answered = not asks
            due.put((time.monotonic() + self._seconds, piece))

    @staticmethod
    def _pass_on(target: socket.socket, due: queue.SimpleQueue[tuple[float, bytes]]) -> None:
        with target, suppress(OSError):
            while True:
                at, piece = due.get()
                if (left := at - time.monotonic()) > 0:
                    time.sleep(left)
                if not piece:
                    target.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(piece)
