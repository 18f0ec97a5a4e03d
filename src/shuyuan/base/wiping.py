"""SQLite files without what was deleted from them."""

from __future__ import annotations

import sqlite3
import time

from shuyuan.base.errors import Fixable

_PATIENCE_SECONDS = 30.0


def wipe(db: sqlite3.Connection) -> None:
    """Write the file anew and empty its log, so that no deleted byte is left. Takes as long as copying the file.

    Readers in other processes are waited for: while one still reads the old state, the log has to keep it. Raises
    Fixable when that lasts longer than half a minute.
    """
    db.execute("vacuum")
    until = time.monotonic() + _PATIENCE_SECONDS
    while db.execute("pragma wal_checkpoint(truncate)").fetchone()[0]:
        if time.monotonic() > until:
            hint = "stop it: what is left of it goes with the next removal"
            raise Fixable("another command is still reading what was deleted", hint)
        time.sleep(0.05)
