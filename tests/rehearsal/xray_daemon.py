"""A stand-in for the X-Ray daemon that Lambda runs beside a traced function. It keeps the subsegments it receives."""

import json
import socket
from threading import Thread
from typing import Any


class XRayDaemon:
    """A UDP server that collects the subsegments that a function sends."""

    def __init__(self) -> None:
        self.segments: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while datagram := self._socket.recv(65_535):
            _, _, segment = datagram.partition(b"\n")
            self.segments.append(json.loads(segment))
