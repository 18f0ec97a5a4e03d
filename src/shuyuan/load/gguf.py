"""A GGUF file of your own, converted once to a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted
from shuyuan.load.header import AGAIN, read_header


class Gguf(Settings):
    """Checks that a file is a whole language model in GGUF form. The file is only read."""

    path: Annotated[str, Field(description="the .gguf file")] = ""

    def fetch(self, wanted: Wanted | None = None, folder: Path | None = None) -> Path:
        """The file itself, once checked. Raises `Fixable`: another format, cut short, one shard of several."""
        path = Path(self.path).expanduser().resolve()
        fields = read_header(path).fields
        if (shards := fields.get("split.count") or 0) > 1:
            raise Fixable(
                f"this is one of {shards} shards",
                "join them first: llama-gguf-split --merge FIRST_SHARD WHOLE.gguf",
                path,
            )
        for needed in ("general.architecture", "tokenizer.ggml.model"):
            if needed not in fields:
                raise Fixable(f"the file lacks '{needed}', so it is not a whole language model", AGAIN, path)
        return path
