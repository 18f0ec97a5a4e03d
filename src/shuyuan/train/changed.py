"""Some of a model's weights on disk, to be put back into the base that they were taught on and into no other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shuyuan.base.errors import Fixable
from shuyuan.base.files import whole_folder
from shuyuan.train.layers import sharing_copy

FILE = "changed.safetensors"
LOOKED_AT = 1024  # values of each weight that the mark is made of


def weights_mark(net: nn.Module) -> str:
    """Sixteen hex digits that tell one model's weights from another's: names, shapes and a sample of the values.

    The values count as bfloat16, so that a model is the same in whichever precision a machine computes with it.
    """
    mark = hashlib.sha256()
    for name, weight in sorted(net.named_parameters()):
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, len(flat) // LOOKED_AT)][:LOOKED_AT].to("cpu", torch.bfloat16)
        mark.update(f"{name} {tuple(weight.shape)} ".encode() + sample.contiguous().view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()[:16]


def save_changed(weights: Mapping[str, Tensor], folder: Path, mark: str) -> None:
    """Keep these weights, and the mark of the base they belong into."""
    tensors = {name: weight.detach().contiguous().cpu() for name, weight in weights.items()}
    with whole_folder(folder) as aside:
        save_file(tensors, aside / FILE, metadata={"format": "pt", "base": mark})


def load_changed(net: nn.Module, folder: Path, mark: str) -> nn.Module:
    """A copy of `net` with the kept weights in it; it shares the others. `mark`: that of the base as it is now.

    Raises `Fixable` when the file is broken, or belongs to another base.
    """
    file = folder / FILE
    try:
        with safe_open(file, framework="pt") as kept:
            there = (kept.metadata() or {}).get("base")
            tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118 (it is no mapping)
    except (OSError, SafetensorError) as error:
        raise Fixable(f"the taught weights cannot be read: {error}", "teach it again", file) from None
    if there != mark:
        raise Fixable("these weights were taught on another base model", "open them on that one, or teach again", file)
    changed = sharing_copy(net, own=tensors)
    weights = dict(changed.named_parameters())
    for name, tensor in tensors.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise Fixable(f"the taught weights do not fit the base model: {name[:200]}", "teach it again", file)
        with torch.no_grad():
            weights[name].copy_(tensor)
    return changed
