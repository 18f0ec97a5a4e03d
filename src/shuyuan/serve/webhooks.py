"""Webhooks: the operator's own addresses are told when a fine-tuning job ends, signed as OpenAI's are.

An event follows from the job's row alone, so none is lost when the server is killed or was down; one may come twice,
with the same id. The signature is that of Standard Webhooks (standardwebhooks.com); `client.webhooks.unwrap` checks it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, write_whole
from shuyuan.serve.state import State

SECRET = "webhook.secret"
LOOK_SECONDS = 0.5
WAIT_SECONDS = 10.0  # for an address to answer
AGAIN_SECONDS = (5, 30, 300, 1800, 7200, 18_000, 36_000, 72_000, 86_400)  # after each failure; about 62 hours in all
_TYPES = {"done": "succeeded", "failed": "failed", "cancelled": "cancelled"}
_NEVER = 1e12  # seconds since 1970
_DUE = """
select jobs.id, jobs.status, jobs.finished, webhooks.url, coalesce(deliveries.attempts, 0) as attempts
from jobs join webhooks on jobs.finished > webhooks.since
left join deliveries on deliveries.job = jobs.id and deliveries.finished = jobs.finished
    and deliveries.url = webhooks.url
where jobs.kind = 'tuning' and jobs.status in ('done', 'failed', 'cancelled') and coalesce(deliveries.due, 0) <= ?
order by jobs.finished
"""


class Webhooks:
    """Tells `addresses` of every fine-tuning job that ends after they were first given. Without any it does nothing."""

    def __init__(self, state: State, addresses: Sequence[str]) -> None:
        for address in addresses:
            _check(address)
        self._state = state
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._addresses = addresses
        with state.change() as db:
            marks = ", ".join("?" * len(addresses))
            db.execute(f"delete from webhooks where url not in ({marks})", addresses)
            now = time.time()
            db.executemany("insert or ignore into webhooks values (?, ?)", [(address, now) for address in addresses])

    @property
    def secret_file(self) -> Path:
        """Where the secret is that events are signed with: `whsec_` and 32 bytes in base64."""
        return self._state.folder / SECRET

    def start(self) -> None:
        """Begin to look for ended jobs in a thread of its own."""
        if self._addresses:
            if not self.secret_file.exists():
                write_whole(self.secret_file, f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")
                self.secret_file.chmod(0o600)
            self._thread = threading.Thread(target=self._tend, name="webhooks", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what is due is sent by the next server."""
        self._end.set()

    def _tend(self) -> None:
        while not self._end.wait(LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # a full disk must not end the deliveries for good
                print(f"webhooks: {error}", file=sys.stderr, flush=True)

    def look(self) -> None:
        """Once: send what is due, and note when to try again what did not arrive."""
        for row in self._state.rows(_DUE, (time.time(),)):
            if self._end.is_set():
                return
            arrived, attempts = self._sent(row), row["attempts"] + 1
            again = not arrived and attempts <= len(AGAIN_SECONDS)
            due = time.time() + AGAIN_SECONDS[attempts - 1] if again else _NEVER
            with self._state.change() as db:
                values = (row["id"], row["finished"], row["url"], attempts, due)
                db.execute("insert or replace into deliveries values (?, ?, ?, ?, ?)", values)

    def _sent(self, row: Mapping[str, Any]) -> bool:
        mark, now = f"evt_{fingerprint(row['id'], row['finished'])}", int(time.time())
        event = {
            "id": mark,
            "object": "event",
            "created_at": int(row["finished"]),
            "type": f"fine_tuning.job.{_TYPES[row['status']]}",
            "data": {"id": row["id"]},
        }
        content = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "shuyuan",
            "webhook-id": mark,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self.secret_file.read_text("utf-8").strip(), mark, now, content),
        }
        try:
            request = Request(row["url"], content, headers, method="POST")
            with build_opener(_Straight).open(request, timeout=WAIT_SECONDS):
                return True
        except (OSError, HTTPException):  # also every answer that is not 2xx
            return False


def signature(secret: str, mark: str, at: int, content: bytes) -> str:
    """`v1,` and the HMAC-SHA256, in base64, of `<id>.<timestamp>.<body>` under the secret's bytes."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{mark}.{at}.".encode() + content
    return f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}"


class _Straight(HTTPRedirectHandler):
    """Goes nowhere but where it was sent: an event must not be led to another machine."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _check(address: str) -> None:
    try:
        found = urlsplit(address)
        fits = found.scheme in ("http", "https") and bool(found.hostname)
    except ValueError:
        fits = False
    if not fits:
        raise Fixable(f"--webhook cannot use '{address}'", "write an address: https://host/path")
