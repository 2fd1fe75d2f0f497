"""A TCP proxy on loopback in front of the PostgreSQL server, with which tests simulate network failures."""

import queue
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

CHUNK_BYTES = 65_536


class Proxy:
    """Forwards bytes between clients and the server, until a test interrupts it."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._server = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._peers: dict[socket.socket, socket.socket] = {}
        self._commands = queue.SimpleQueue[Callable[[], None]]()
        self._done = threading.Event()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._is_frozen = self._is_stopped = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._forward_until_stopped)
        self._thread.start()

    def address(self, user: str = "postgres", **options: str) -> str:
        """Return the database's URL through this proxy."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}{self._database}?{query}".rstrip("?")

    def cut(self) -> None:
        """Close all connections, and accept new ones."""
        self._run_in_thread(self._close_all)

    def refuse(self) -> None:
        """Close all connections, and refuse new ones."""

        def refuse() -> None:
            self._listener.close()
            self._close_all()

        self._run_in_thread(refuse)

    def freeze(self) -> None:
        """Stop forwarding. New connections are accepted and get no bytes."""
        self._run_in_thread(lambda: setattr(self, "_is_frozen", True))

    def come_back(self) -> None:
        """Forward again, also the bytes that were held back."""

        def resume() -> None:
            self._is_frozen = False
            if self._listener.fileno() == -1:
                self._listener = socket.create_server(("127.0.0.1", self.port))

        self._run_in_thread(resume)

    def stop(self) -> None:
        """Stop the proxy. A second call does nothing."""
        if self._thread.is_alive():
            self._run_in_thread(lambda: setattr(self, "_is_stopped", True))
            self._thread.join()
        self._close_all()
        for opened in (self._listener, self._wake_receiver, self._wake_sender):
            opened.close()

    def _run_in_thread(self, command: Callable[[], None]) -> None:
        self._done.clear()
        self._commands.put(command)
        self._wake_sender.send(b"!")
        self._done.wait()

    def _forward_until_stopped(self) -> None:
        while not self._is_stopped:
            listened = [self._wake_receiver] if self._listener.fileno() == -1 else [self._wake_receiver, self._listener]
            ready, _, _ = select.select([*listened, *([] if self._is_frozen else self._peers)], [], [])
            if self._wake_receiver in ready:
                self._wake_receiver.recv(1)
                self._commands.get()()
                self._done.set()
                continue
            for ready_socket in ready:
                self._accept() if ready_socket is self._listener else self._forward(ready_socket)

    def _accept(self) -> None:
        client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._peers |= {client: server, server: client}

    def _forward(self, source: socket.socket) -> None:
        if (target := self._peers.get(source)) is None:
            return  # closed together with its peer
        chunk = b""
        with suppress(OSError):
            chunk = source.recv(CHUNK_BYTES)
            target.sendall(chunk)
        if not chunk:
            for end in (source, target):
                del self._peers[end]
                end.close()

    def _close_all(self) -> None:
        for peer in self._peers:
            peer.close()
        self._peers.clear()


@contextmanager
def run_proxy(address: str) -> Iterator[Proxy]:
    """Run a proxy in front of a database's server until the block ends."""
    proxy = Proxy(address)
    try:
        yield proxy
    finally:
        proxy.stop()
