"""A wire between a pool and a server that a test can listen to, slow down, and cut."""

from __future__ import annotations

import contextlib
import queue
import socket
import tempfile
import threading
import time
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Wire:
    """Forwards connections from a socket of its own to the server. `deaf`: the server's answer cuts the connection."""

    def __init__(self, dsn: str) -> None:
        known = conninfo_to_dict(dsn)
        self._host, self._port = str(known.get("host") or "localhost"), int(known.get("port") or 5432)
        self._directory = tempfile.TemporaryDirectory(prefix="wire-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(Path(self._directory.name) / ".s.PGSQL.5432"))
        self._listener.listen(100)
        self.dsn = make_conninfo(dsn, host=self._directory.name, port=5432)
        self.deaf = False
        self.delay = 0.0  # seconds, for each direction
        self.sent = bytearray()  # what clients said
        self.turns: list[str] = []  # who spoke, one after another
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for each in self._open:
            each.close()
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._connected()
            self._open += [client, server]
            for source, target, who in ((client, server, "client"), (server, client, "server")):
                threading.Thread(target=self._forward, args=(source, target, who), daemon=True).start()

    def _connected(self) -> socket.socket:
        if self._host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{self._host}/.s.PGSQL.{self._port}")
            return server
        return socket.create_connection((self._host, self._port))

    def _forward(self, source: socket.socket, target: socket.socket, who: str) -> None:
        due: queue.SimpleQueue[tuple[float, bytes] | None] = queue.SimpleQueue()
        writer = threading.Thread(target=self._deliver, args=(due, target), daemon=True)
        writer.start()
        try:
            while data := source.recv(1 << 16):
                if who == "client":
                    self.sent += data
                if not self.turns or self.turns[-1] != who:
                    self.turns.append(who)
                if who == "server" and self.deaf:
                    break
                due.put((time.monotonic() + self.delay, data))
        except OSError:
            pass  # one of the two is gone
        finally:
            due.put(None)
            writer.join()
            for each in (source, target):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _deliver(due: queue.SimpleQueue[tuple[float, bytes] | None], target: socket.socket) -> None:
        """As a network does: what comes in at the same time goes out at the same time."""
        while (each := due.get()) is not None:
            at, data = each
            time.sleep(max(0.0, at - time.monotonic()))
            with contextlib.suppress(OSError):
                target.sendall(data)
