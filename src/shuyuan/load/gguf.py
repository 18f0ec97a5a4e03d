"""A GGUF file of your own, converted once to a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from shuyuan.base.errors import Fixable
from shuyuan.base.settings import Settings
from shuyuan.load.catalogue import Wanted

_AGAIN = "fetch or export it again"


class Gguf(Settings):
    """Checks that a file is a whole language model in GGUF form. The file is only read."""

    path: Annotated[str, Field(description="the .gguf file")] = ""

    def fetch(self, wanted: Wanted | None = None, folder: Path | None = None) -> Path:
        """The file itself, once checked. Raises `Fixable`: another format, cut short, one shard of several."""
        path = Path(self.path).expanduser().resolve()
        with path.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                raise Fixable("this is not a GGUF file: it does not start with 'GGUF'", _AGAIN, path)
        reader = _opened(path)
        size = path.stat().st_size
        for tensor in reader.tensors:
            if tensor.data_offset + tensor.n_bytes > size:
                raise Fixable(f"the file is cut short: '{tensor.name}' lies beyond its end", _AGAIN, path)
        shards = reader.get_field("split.count")
        if shards is not None and shards.contents() > 1:
            raise Fixable(
                f"this is one of {shards.contents()} shards",
                "join them first: llama-gguf-split --merge FIRST_SHARD WHOLE.gguf",
                path,
            )
        for needed in ("general.architecture", "tokenizer.ggml.model"):
            if reader.get_field(needed) is None:
                raise Fixable(f"the file lacks '{needed}', so it is not a whole language model", _AGAIN, path)
        return path


def _opened(path: Path) -> Any:
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except Exception as error:  # whatever numpy makes of bytes that are not what they claim to be
        raise Fixable(f"not a whole GGUF file: {error}", _AGAIN, path) from None
