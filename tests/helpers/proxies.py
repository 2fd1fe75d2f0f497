"""A network that misbehaves: a proxy on loopback in front of the server's socket, which goes away and comes back."""

import queue
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

CHUNK = 65_536


class Proxy:
    """Hands on what a server and its clients say to each other, as long as it is told to."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._server = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._others: dict[socket.socket, socket.socket] = {}
        self._orders = queue.SimpleQueue[Callable[[], None]]()
        self._done = threading.Event()
        self._bell, self._ring = socket.socketpair()
        self._is_frozen = self._is_over = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def address(self, user: str = "postgres", **options: str) -> str:
        """Answer the address of the database as it is reached through here."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://{user}@127.0.0.1:{self.port}{self._database}?{query}".rstrip("?")

    def cut(self) -> None:
        """Close all connections; new ones are welcome."""
        self._have(self._close_all)

    def refuse(self) -> None:
        """Close all connections, and take no new ones."""

        def refuse() -> None:
            self._listener.close()
            self._close_all()

        self._have(refuse)

    def freeze(self) -> None:
        """Hand nothing on any more. New connections are accepted, and never answered."""
        self._have(lambda: setattr(self, "_is_frozen", True))

    def come_back(self) -> None:
        """Work as in the beginning; what was held back is handed on."""

        def again() -> None:
            self._is_frozen = False
            if self._listener.fileno() == -1:
                self._listener = socket.create_server(("127.0.0.1", self.port))

        self._have(again)

    def stop(self) -> None:
        """End; a second time does nothing."""
        if self._thread.is_alive():
            self._have(lambda: setattr(self, "_is_over", True))
            self._thread.join()
        self._close_all()
        for one in (self._listener, self._bell, self._ring):
            one.close()

    def _have(self, order: Callable[[], None]) -> None:
        self._done.clear()
        self._orders.put(order)
        self._ring.send(b"!")
        self._done.wait()

    def _work(self) -> None:
        while not self._is_over:
            heard = [self._bell] if self._listener.fileno() == -1 else [self._bell, self._listener]
            ready, _, _ = select.select([*heard, *([] if self._is_frozen else self._others)], [], [])
            if self._bell in ready:
                self._bell.recv(1)
                self._orders.get()()
                self._done.set()
                continue
            for one in ready:
                self._accept() if one is self._listener else self._hand_on(one)

    def _accept(self) -> None:
        client, server = self._listener.accept()[0], socket.socket(socket.AF_UNIX)
        server.connect(self._server)
        self._others |= {client: server, server: client}

    def _hand_on(self, one: socket.socket) -> None:
        if (other := self._others.get(one)) is None:
            return  # it was closed with the other
        said = b""
        with suppress(OSError):
            said = one.recv(CHUNK)
            other.sendall(said)
        if not said:
            for end in (one, other):
                del self._others[end]
                end.close()

    def _close_all(self) -> None:
        for one in self._others:
            one.close()
        self._others.clear()


@contextmanager
def a_proxy(address: str) -> Iterator[Proxy]:
    """Put a proxy in front of the server of a database."""
    proxy = Proxy(address)
    try:
        yield proxy
    finally:
        proxy.stop()
