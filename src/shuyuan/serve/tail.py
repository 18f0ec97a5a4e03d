"""The new lines of a log that another process writes, without reading the old ones again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Tail:
    """Follows a JSONL file. A run that goes on from a checkpoint writes it anew: then it is read from the start."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._at, self._inode = path, 0, 0

    def rows(self) -> list[dict[str, Any]]:
        """The whole lines that came since the last time."""
        try:
            if self._path is None:
                return []
            with self._path.open("rb") as file:
                stat = self._path.stat()
                if stat.st_ino != self._inode or stat.st_size < self._at:
                    self._inode, self._at = stat.st_ino, 0
                file.seek(self._at)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        if not whole:
            return []
        self._at += len(whole) + 1
        return [json.loads(line) for line in whole.split(b"\n") if line.strip()]
