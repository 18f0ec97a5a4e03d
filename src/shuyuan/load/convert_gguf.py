"""GGUF → Hugging Face folder: weights unpacked, embeddings tied again, tokenizer as it was trained."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_bytes
from shuyuan.load.confined import run_confined
from shuyuan.load.header import read_header
from shuyuan.load.quiet import quiet

MEMORY_BYTES = 4 << 30  # that a conversion may take, and besides
BYTES_A_WEIGHT = 24  # as it is read, unpacked, held twice and written
SECONDS = 60  # of processor time, and one more for each million weights
ASIDE = ".aside"  # in the new folder: for what libraries write down meanwhile
_WAIT = 10  # times as long on the clock


def convert_gguf(file: Path, folder: Path, stored: str, tied: bool) -> None:
    """Write the model in `file` to `folder` with weights in `stored` (a torch dtype's name; "" = by size).

    `tied`: give input and output one matrix again, the output's (kept in more bits than the input's). It is done by a
    confined process (`converting.py`), for the file may be a stranger's. Raises `Fixable` when the header cannot be,
    when transformers cannot read this kind of model, and when that takes more than a file of this size can need.
    """
    weights = read_header(file).weights
    memory, seconds = MEMORY_BYTES + BYTES_A_WEIGHT * weights, SECONDS + weights // 1_000_000
    given = [str(file), str(folder), stored, "tied" if tied else "", str(memory), str(seconds)]
    said, status = run_confined("shuyuan.load.converting", given, _WAIT * seconds)
    shutil.rmtree(folder / ASIDE, ignore_errors=True)
    told = json.loads(said[-1]) if said and said[-1].startswith("{") else {}
    if status == 0 and "what" not in told:
        return
    hint = "give the model's Hugging Face folder instead, or a GGUF of a kind it knows"
    if told.get("disk"):
        raise Fixable(told["what"], told["hint"], told["place"])
    raise Fixable(_why(told.get("what"), status, memory, seconds), hint, file)


def _why(wrong: str | None, status: int, memory: int, seconds: int) -> str:
    if wrong:
        return f"transformers cannot read this GGUF model: {wrong}"
    if -status == signal.SIGXCPU:
        return f"converting this GGUF model takes more than {seconds} seconds of processor time"
    if -status in (signal.SIGKILL, signal.SIGABRT):
        return f"converting this GGUF model takes more than {human_bytes(memory)} of memory, or was stopped"
    return f"converting this GGUF model makes its process crash ({status})"


def convert_here(file: Path, folder: Path, stored: str, tied: bool) -> None:
    """See `convert_gguf`: the work itself. Raises whatever the libraries do."""
    import torch

    with quiet():
        tokenizer = _tokenizer(file)
        loaded = _loaded(file, getattr(torch, stored) if stored else torch.bfloat16)
        plain = _plain(loaded, tied)
        del loaded
        ends = [plain.config.eos_token_id, plain.config.pad_token_id]  # padding written out is an end too
        plain.generation_config.eos_token_id = list(dict.fromkeys(end for end in ends if end is not None)) or None
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _loaded(file: Path, dtype: Any) -> Any:
    import transformers

    # From 5.23 on, weights may stay packed for a kernel, and packed weights cannot be saved.
    unpacking = {}
    if hasattr(transformers, "GgufConfig"):
        unpacking["quantization_config"] = transformers.GgufConfig(dequantize=True)
    with contextlib.redirect_stderr(io.StringIO()):  # its bar has no switch
        return transformers.AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=dtype, local_files_only=True, trust_remote_code=False, **unpacking
        )


def _plain(loaded: Any, tied: bool) -> Any:
    """A model with the same weights that may be saved: one loaded from GGUF refuses."""
    from transformers import AutoModelForCausalLM

    config, weights = loaded.config, loaded.state_dict()
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    dtype = next(iter(weights.values())).dtype
    if tied and not config.tie_word_embeddings:
        weights[_name_of(loaded, loaded.get_input_embeddings())] = loaded.get_output_embeddings().weight
        config.tie_word_embeddings = True
    plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(weights)
    plain.tie_weights()
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(plain.generation_config, name, getattr(config, name, None))
    return plain


def _name_of(model: Any, part: Any) -> str:
    return next(f"{name}.weight" for name, module in model.named_modules() if module is part)


def _tokenizer(file: Path) -> Any:
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        file.parent, gguf_file=file.name, local_files_only=True, trust_remote_code=False
    )
    kind = GGUFReader(file).get_field("tokenizer.ggml.pre")
    if kind is not None and kind.contents() == "smollm":
        # The file says by this word that digits are split one by one; transformers' reader passes over it.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer
