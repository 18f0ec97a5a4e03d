"""Fetch one file over HTTP: resumed where it was cut, checked by size and SHA-256 before it gets its name."""

from __future__ import annotations

import http.client
import os
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.base.files import sha256_of, sync_folder
from shuyuan.base.progress import Bar, human_bytes, say
from shuyuan.load.catalogue import Wanted

TRIES = 5  # in a row without a byte of progress
WAIT_SECONDS = 1.0  # before the second try; doubled for each further one
STALL_SECONDS = 30.0
PROBE_SECONDS = 2.0
_PIECE = 1 << 18
_HEADERS = {"User-Agent": "shuyuan", "Accept-Encoding": "identity"}


class SourceFailed(Fixable):
    """One place could not give the file; the next one may."""


def fetch_over_http(url: str, wanted: Wanted, folder: Path, wait_seconds: float = WAIT_SECONDS) -> Path:
    """Fetch `url` as `folder/wanted.file` and return that path. What arrived before a cut is kept in `….part`.

    Raises `SourceFailed` when the server refuses, stays silent for `TRIES` tries, or sends another file than wanted.
    """
    target, part = folder / wanted.file, folder / f"{wanted.file}.part"
    with disk_errors(target):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"fetching {wanted.file}, {human_bytes(wanted.bytes)}, from {url}")
    tries, start = 0, _size(part)
    with Bar(wanted.file, wanted.bytes, "B", done=start) as bar:
        while _size(part) < wanted.bytes:
            before = _size(part)
            try:
                _receive(url, part, wanted, bar)
                fault = "the connection was cut"
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429):
                    raise SourceFailed(f"the server says {error.code} {error.reason}", place=url) from None
                fault = f"the server says {error.code} {error.reason}"
            except (http.client.HTTPException, urllib.error.URLError, TimeoutError, ConnectionError) as error:
                fault = str(getattr(error, "reason", error)) or type(error).__name__
            tries = 0 if _size(part) > before else tries + 1
            if tries >= TRIES:
                raise SourceFailed(f"{fault} ({TRIES} tries)", "what arrived is kept; try again later", url)
            if _size(part) < wanted.bytes:
                time.sleep(wait_seconds * 2 ** max(0, tries - 1))
    accept(part, target, wanted, url)
    return target


def accept(part: Path, target: Path, wanted: Wanted, origin: str) -> None:
    """Rename `part` to `target` if it is the wanted file; delete it and raise `SourceFailed` if it is not."""
    size, sha256 = _size(part), sha256_of(part)
    if wanted.bytes not in (0, size) or wanted.sha256 not in ("", sha256):
        part.unlink()
        raise SourceFailed(
            f"another file came than the one wanted ({size:,} bytes, sha256 {sha256[:12]}…; "
            f"wanted {wanted.bytes:,} bytes, {wanted.sha256[:12]}…); it was deleted unopened",
            place=origin,
        )
    with disk_errors(target):
        part.replace(target)
        sync_folder(target.parent)


def check_reachable(endpoint: str) -> None:
    """Raise `SourceFailed` unless `endpoint` answers anything within `PROBE_SECONDS`, or `HF_HUB_OFFLINE` is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise SourceFailed("not tried, because HF_HUB_OFFLINE is set", place=endpoint)
    fault = [f"no answer within {PROBE_SECONDS:.0f} s"]

    def probe() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD", headers=_HEADERS)
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            fault.clear()
        except urllib.error.HTTPError:
            fault.clear()  # it answered
        except (OSError, http.client.HTTPException, ValueError) as error:
            fault[:] = [f"not reachable: {getattr(error, 'reason', error)}"]

    # A thread, because the time limit of a request does not cover looking up the name.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    if fault:
        raise SourceFailed(fault[0], place=endpoint)


def _receive(url: str, part: Path, wanted: Wanted, bar: Bar) -> None:
    """Append to `part` until the server stops sending."""
    have = _size(part)
    request = urllib.request.Request(url, headers=_HEADERS | ({"Range": f"bytes={have}-"} if have else {}))
    with urllib.request.urlopen(request, timeout=STALL_SECONDS) as response, disk_errors(part):
        resumed = response.status == http.client.PARTIAL_CONTENT
        if have and not resumed:
            bar.done -= have
            have = 0
        promised = response.headers.get("Content-Length")
        if promised and have + int(promised) != wanted.bytes:
            raise SourceFailed(
                f"the server offers {human_bytes(have + int(promised))}, not the {human_bytes(wanted.bytes)} wanted",
                place=url,
            )
        with part.open("ab" if resumed else "wb") as out:
            # read1 gives what has arrived, so a cut loses nothing that was received.
            while piece := response.read1(_PIECE):
                out.write(piece)
                bar.advance(len(piece))
                if out.tell() > wanted.bytes:
                    raise SourceFailed("the server sends more than the file wanted", place=url)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
