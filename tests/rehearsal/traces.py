"""The X-Ray daemon that Lambda runs beside a traced function: it listens, and keeps what it hears."""

import json
import socket
from threading import Thread
from typing import Any


class Daemon:
    """Collects the subsegments that a function sends."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while heard := self._socket.recv(65_535):
            _, _, segment = heard.partition(b"\n")
            self.heard.append(json.loads(segment))
