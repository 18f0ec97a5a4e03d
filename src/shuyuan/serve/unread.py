"""One connection, which is cut off when its reader takes nothing of what waits for it."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
import sys
import termios
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


class Watched(H11Protocol):
    """Uvicorn's own, with a bound on how long output may wait while not a byte of it is taken.

    Nothing waits in this process while the system's own buffers have room, so a reader who is merely slow is seen to
    read. Cutting one off ends the answer that was being written for it, as leaving would.
    """

    def __init__(self, *given: Any, unread_seconds: float, **named: Any) -> None:
        super().__init__(*given, **named)
        self._unread_seconds = unread_seconds
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Say at once when something waits."""
        transport.set_write_buffer_limits(0)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """Something waits from now on."""
        super().pause_writing()
        self._wait(self._unread())

    def resume_writing(self) -> None:
        """All was taken."""
        self._stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The reader has left, or was cut off."""
        self._stop()
        super().connection_lost(exc)

    def _wait(self, unread: int) -> None:
        self._stop()
        self._look = self.loop.call_later(self._unread_seconds, self._judge, unread)

    def _stop(self) -> None:
        if self._look:
            self._look.cancel()
        self._look = None

    def _judge(self, before: int) -> None:
        unread = self._unread()
        if unread < before:
            self._wait(unread)
        else:  # with a reset, so that the system forgets what it holds, too
            link = self.transport.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _unread(self) -> int:
        """Bytes that the reader's machine has not taken: ours, and on Linux those that the system holds for it."""
        held = array.array("i", [0])
        if sys.platform == "linux":
            with suppress(OSError):
                fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + held[0]
