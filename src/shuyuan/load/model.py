"""Open a language model: its network in evaluation mode, its tokenizer and its folder."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.load.pulling import pull, read_manifest
from shuyuan.load.quiet import quiet
from shuyuan.load.stranger import keep_apart
from shuyuan.load.trial import try_tokenizer

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Model:
    """A causal language model. `net` is a `transformers` model in evaluation mode, on the device it computes on."""

    name: str
    net: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        device: torch.device = next(self.net.parameters()).device
        return device

    @property
    def context(self) -> int:
        """The most tokens it reads at once."""
        return int(self.net.config.get_text_config().max_position_embeddings)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer, from the model's own generation settings and its tokenizer."""
        ends = self.net.generation_config.eos_token_id
        found = {int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None}
        return frozenset(found or {int(self.tokenizer.eos_token_id)})

    @property
    def start_token(self) -> int:
        """The token that stands before a text: the beginning-of-sequence token, or else one that ends a text."""
        for token in (self.tokenizer.bos_token_id, self.net.config.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise Fixable(f"the tokenizer of {self.name} has no token that starts or ends a text", place=self.folder)


def open_model(name_or_path: str, dtype: torch.dtype | None = None) -> Model:
    """Open a model by catalogue name, folder or GGUF file, fetching and converting it when it is not here.

    `dtype` None: the one recommended for this model (bfloat16 only where the processor computes it natively), float32
    otherwise. A GPU is used when there is one; the number of threads is left alone. A network that is open already is
    shared: treat it as frozen. Raises `Fixable` as `pull` does.
    """
    folder = pull(name_or_path)
    name = str(read_manifest(folder).get("name") or folder.name)
    dtype = dtype or compute_dtype(folder)
    key = (folder.resolve(), dtype, *sorted((file.name, file.stat().st_mtime_ns) for file in folder.iterdir()))
    with _opening, quiet():
        tokenizer = open_tokenizer(folder)
        net = _open.get(key)
        if net is None:
            net = _open[key] = _opened(folder, dtype)
        return Model(name, net, tokenizer, folder)


# Networks in use. What is opened again is the same one: assistants on one base share its memory, and so its batches.
_open: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()
_opening = threading.Lock()


def _opened(folder: Path, dtype: torch.dtype) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        net = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        raise _unopened(folder, "language model", error) from error
    # The last positions of a batch are a slice of memory; torch would multiply each row with a copy of the whole head.
    net.get_output_embeddings().register_forward_pre_hook(_contiguous)
    return net.to(best_device()).eval()


def _contiguous(_: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    return tuple(tensor.contiguous() for tensor in given)


def open_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model folder, tried before (`trial.py`); a stranger's chat template is rendered apart from it.

    Raises `Fixable` when there is none to be used.
    """
    from transformers import AutoTokenizer

    try_tokenizer(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # tokenizers raises no narrower kind
        raise _unopened(folder, "tokenizer", error) from error
    keep_apart(tokenizer, str(read_manifest(folder).get("name") or folder.name), folder)
    return tokenizer


def compute_dtype(folder: Path) -> torch.dtype:
    """The number format to compute in: what the folder recommends, if this machine does so natively, or float32."""
    import torch

    config = read_json(folder / "config.json")
    advised = read_manifest(folder).get("dtype") or config.get("dtype") or config.get("torch_dtype")
    # float16 has no fast path on processors and a narrow range: bfloat16 stands in for it.
    return torch.bfloat16 if advised in ("bfloat16", "float16") and native_bf16() else torch.float32


@cache
def native_bf16() -> bool:
    """Whether the device computes in bfloat16 in hardware (AVX-512 BF16 or AMX; a GPU that does)."""
    import torch

    if torch.cuda.device_count():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    supported = (getattr(torch.cpu, f"_is_{unit}_supported", None) for unit in ("avx512_bf16", "amx_tile"))
    return torch.backends.mkldnn.is_available() and any(ask() for ask in supported if ask is not None)  # type: ignore[no-untyped-call]


def best_device() -> torch.device:
    """The GPU when there is one, or the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.device_count() else "cpu")


def _unopened(folder: Path, what: str, error: Exception) -> Fixable:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return Fixable(
        f"the {what} cannot be opened: {reason}", "check that the folder is whole, or fetch it again", folder
    )
