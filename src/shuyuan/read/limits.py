"""What a process that reads strangers' files may use: time, memory, no disk, no network, no other program.

Time, memory and file size are the system's limits (POSIX; macOS does not enforce the one on memory). On Linux on x86-64
and ARM64 the kernel also refuses sockets and new programs (seccomp); elsewhere only Python's own calls are refused.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

CPU_SECONDS = 120  # for one file, and again for each page whose words are recognised
MEMORY_BYTES = 3 << 30  # of address space; the recogniser's models need half of it
_REFUSED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "os.fork",
    "shutil.",
    "os.remove",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
# seccomp: (architecture, numbers of socket, connect, execve, execveat, ptrace, io_uring_setup)
_CALLS = {
    "x86_64": (0xC000003E, (41, 42, 59, 322, 101, 425)),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 117, 425)),
}
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 1, 38, 22, 2
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001

_alive: list[Callable[[], None]] = []


def confine(
    alive: Callable[[], None], memory_bytes: int = MEMORY_BYTES, into: Path | None = None, most_bytes: int = 0
) -> None:
    """Give up, for the rest of this process, what reading does not need. `alive` is called by `more_time`.

    `into`: a folder in which it may write files of at most so many bytes each; None: nowhere.
    """
    _alive.append(alive)
    for kind, most in (("CORE", 0), ("FSIZE", most_bytes), ("AS", memory_bytes)):
        with suppress(ValueError, OSError):  # macOS refuses the one on memory; a lower one that is there stays
            resource.setrlimit(getattr(resource, f"RLIMIT_{kind}"), (most, most))
    if platform.system() == "Linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)
        if platform.machine() in _CALLS and sys.maxsize > 2**32:
            _seccomp(libc, *_CALLS[platform.machine()])
    sys.addaudithook(partial(_refuse, into and into.resolve()))


def more_time(seconds: int = CPU_SECONDS) -> None:
    """Begin the allowance of processor time anew, and tell the parent that work goes on; nothing outside a child."""
    if _alive:
        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime) + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        _alive[0]()


def lower_memory(most_bytes: int) -> None:
    """Let this process have less address space than `confine` gave it."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, resource.getrlimit(resource.RLIMIT_AS)[1]))


def held_bytes() -> int:
    """The address space that this process has already; 0 where the system does not say."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[0]) * resource.getpagesize() if told.exists() else 0


def _seccomp(libc: ctypes.CDLL, architecture: int, calls: tuple[int, ...]) -> None:
    """Make the kernel answer these calls with 'not permitted', in all threads that are started later."""

    def instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    program = [instruction(_LOAD, 0, 0, 4), instruction(_EQUAL, 1, 0, architecture), instruction(_RETURN, 0, 0, _EPERM)]
    program.append(instruction(_LOAD, 0, 0, 0))
    program += [instruction(_EQUAL, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    program += [instruction(_RETURN, 0, 0, _ALLOW), instruction(_RETURN, 0, 0, _EPERM)]
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:  # a kernel without seccomp refuses; the hook remains
        libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(header), 0, 0)


def _refuse(into: Path | None, event: str, given: tuple[object, ...]) -> None:
    if event == "open":
        path, mode, flags = given
        writes: object = isinstance(flags, int) and flags & _WRITING
        writes = writes or (isinstance(mode, str) and set(mode) & set("wax+"))
        if writes and not _within(into, path):
            raise PermissionError(f"reading may not write: {path!r}")
    elif event in ("os.remove", "shutil.rmtree") and _within(into, given[0]):
        return
    elif event.startswith(_REFUSED_EVENTS):
        raise PermissionError(f"reading may not do this: {event}")


def _within(folder: Path | None, path: object) -> bool:
    """A bare name is one below a folder that is open already, as `shutil.rmtree` has it."""
    if folder is None or not isinstance(path, (str, Path)):
        return False
    return (folder / path).resolve().is_relative_to(folder)
