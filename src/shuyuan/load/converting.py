"""The process in which a GGUF file is converted: it may write into one folder, and says on a line what went wrong.

python -m shuyuan.load.converting FILE FOLDER DTYPE TIED MEMORY_BYTES SECONDS
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from shuyuan.base.errors import Fixable, disk_errors
from shuyuan.load.convert_gguf import ASIDE, convert_here
from shuyuan.read import limits


def main() -> None:
    """Convert one file."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints must not look like a verdict
    import gguf  # noqa: F401  (what is imported later counts as what the file takes)
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    file, folder, stored, tied, memory, seconds = sys.argv[1:7]
    aside = Path(folder).resolve() / ASIDE  # libraries want one, and may write nowhere else
    aside.mkdir()
    tempfile.tempdir = str(aside)
    limits.confine(lambda: None, limits.held_bytes() + int(memory), Path(folder), int(memory))
    limits.more_time(int(seconds))
    try:
        with disk_errors(Path(folder) / "model.safetensors"):
            convert_here(Path(file), Path(folder), stored, bool(tied))
        told = {}
    except Fixable as error:
        told = {"what": error.what, "hint": error.hint, "place": error.place, "disk": True}
    except BaseException as error:  # a panic of tokenizers is no Exception
        told = {"what": (str(error).strip() or type(error).__name__).splitlines()[0][:1000]}
    print(json.dumps(told), file=out, flush=True)
    out.close()
    os._exit(0)  # what was read may not run a destructor into a crash


if __name__ == "__main__":
    main()
