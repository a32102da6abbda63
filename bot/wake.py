"""A pipe between the adapters' process and its worker: each wakes the other after a commit, and each notices at
once when the other is gone. What is woken for lies in the store; a lost byte costs one poll.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable

_BYTES = {"turns": b"t", "outbox": b"o", "ready": b"r"}
_TOPICS = {value[0]: topic for topic, value in _BYTES.items()}


class WakePipe:
    """One end of the pipe. `send` may be called from any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    @classmethod
    def pair(cls) -> tuple["WakePipe", socket.socket]:
        """Our end, and the raw one to hand to the child."""
        ours, theirs = socket.socketpair()
        return cls(ours), theirs

    @classmethod
    def from_descriptor(cls, descriptor: int) -> "WakePipe":
        return cls(socket.socket(fileno=descriptor))

    def send(self, topic: str) -> None:
        byte = _BYTES.get(topic)
        if byte is None:
            return
        with contextlib.suppress(OSError):  # a full pipe has wakers enough; a closed one has nobody to wake
            self._end.send(byte)

    async def listen(self, on_topic: Callable[[str], None]) -> None:
        """Call `on_topic` for what the other side sends; returns when the other side is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                received = await loop.sock_recv(self._end, 4096)
            except OSError:
                return
            if not received:
                return
            for byte in set(received):
                on_topic(_TOPICS[byte])

    def close(self) -> None:
        self._end.close()


def die_with_parent(lifeline: int, code: int) -> None:
    """End this process as soon as the parent, which holds the pipe's other end, is gone - even while the event
    loop or the model is stuck: a worker without its parent must not go on holding leases."""

    def watch() -> None:
        while os.read(lifeline, 1):
            pass
        os._exit(code)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
