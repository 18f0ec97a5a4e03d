"""Low-rank adapters (LoRA, Hu et al., arXiv 2106.09685), read and written in the PEFT format."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json, whole_folder, write_json

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


class LoraLinear(nn.Module):
    """A frozen linear layer plus `scale · B A`. A [rank, in] starts random, B [out, rank] at zero, both float32."""

    def __init__(self, base: nn.Linear, rank: int, scale: float, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.base, self.scale = base, scale
        device = base.weight.device
        bound = 1 / math.sqrt(base.in_features)  # what PEFT starts from: kaiming_uniform with a = √5
        lora_A = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(lora_A.to(device))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """The adapted layer, [..., in] → [..., out], in the precision of `x`."""
        low = functional.linear(x, self.lora_A.to(x.dtype)).flatten(0, -2)
        out = self.base(x)
        added = torch.addmm(out.flatten(0, -2), low, self.lora_B.to(x.dtype).T, alpha=self.scale)  # one pass over `out`
        return added.view_as(out)


def linear_layers(net: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of the blocks, by name: all but the output head, which the embedding is often tied to."""
    head = net.get_output_embeddings()  # type: ignore[operator]
    return {name: m for name, m in net.named_modules() if isinstance(m, nn.Linear) and m is not head}


def with_adapter(net: nn.Module, rank: int, scale: float, seed: int) -> nn.Module:
    """A copy of `net` that shares its weights and has a fresh adapter on every linear layer of its blocks."""
    shared: dict[int, object] = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
    adapted = copy.deepcopy(net, shared)
    generator = torch.Generator().manual_seed(seed)
    for name, layer in linear_layers(adapted).items():
        parent, _, child = name.rpartition(".")
        setattr(adapted.get_submodule(parent), child, LoraLinear(layer, rank, scale, generator))
    return adapted


def adapter_weights(net: nn.Module) -> dict[str, Tensor]:
    """The adapter's weights by name: `model.layers.0.self_attn.q_proj.lora_A`, …"""
    return {
        f"{name}.{part}": weight for name, m in _adapters(net) for part, weight in m.named_parameters(recurse=False)
    }


def save_adapter(net: nn.Module, folder: Path, base: str, rank: int, alpha: float) -> None:
    """Write the adapter as PEFT does, so that `peft` and every tool that reads its format loads it."""
    layers = [name for name, _ in _adapters(net)]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
    }
    tensors = {f"{_PREFIX}{name}.weight": w.detach().float().contiguous() for name, w in adapter_weights(net).items()}
    with whole_folder(folder) as aside:
        save_file(tensors, aside / WEIGHTS, metadata={"format": "pt"})
        write_json(aside / CONFIG, config)


def load_adapter(net: nn.Module, folder: Path) -> nn.Module:
    """A copy of `net` that shares its weights and has the adapter of a PEFT folder, ours or another tool's."""
    config = read_json(folder / CONFIG)
    unknown = [key for key in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern") if config.get(key)]
    if config.get("peft_type") != "LORA" or unknown or config.get("modules_to_save"):
        what = ", ".join(unknown) or "an adapter that is not plain LoRA"
        raise Fixable(f"this adapter uses {what}, which cannot be read yet", "merge it into its base first", folder)
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise Fixable(f"the adapter's weights cannot be read: {error}", "teach or fetch it again", folder) from None
    adapted = with_adapter(net, config["r"], config["lora_alpha"] / config["r"], seed=0)
    for name, layer in list(_adapters(adapted)):
        if f"{_PREFIX}{name}.lora_A.weight" not in tensors:
            parent, _, child = name.rpartition(".")
            setattr(adapted.get_submodule(parent), child, layer.base)
    wanted = adapter_weights(adapted)
    names = {f"{_PREFIX}{name}.weight": name for name in wanted}
    odd = [key for key, tensor in tensors.items() if key not in names or tensor.shape != wanted[names[key]].shape]
    if odd or not tensors:
        raise Fixable(
            f"the adapter does not fit this base model: {odd[0] if odd else 'it is empty'}",
            f"use it with the model it was made for: {config.get('base_model_name_or_path')}",
            folder,
        )
    with torch.no_grad():
        for key, tensor in tensors.items():
            wanted[names[key]].copy_(tensor)
    return adapted.requires_grad_(False)


def _adapters(net: nn.Module) -> Iterator[tuple[str, LoraLinear]]:
    return ((name, m) for name, m in net.named_modules() if isinstance(m, LoraLinear))
