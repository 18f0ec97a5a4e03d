"""Low-rank adapters on a model's linear layers: put on, kept in the PEFT format, read back, merged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from shuyuan.base.errors import Fixable
from shuyuan.base.files import whole_folder, write_json
from shuyuan.train.layers import Linear, LinearLike, linear_layers, replace_layers, sharing_copy
from shuyuan.train.lowrank import DoraLinear, LoraLinear, fresh_factors, principal_factors
from shuyuan.train.peft_config import CONFIG, PISSA, AdapterConfig, read_config, written_config

WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MAGNITUDE = "lora_magnitude_vector"


def with_adapter(
    net: nn.Module, rank: int, scale: float, seed: int, *, dora: bool = False, pissa: bool = False
) -> nn.Module:
    """A copy of `net` that shares its weights and has a fresh adapter on every linear layer of its blocks.

    `dora` gives each layer a magnitude vector, `pissa` starts from the weights' principal directions instead of noise.
    An adapter that is there already stays, frozen, under the new one.
    """
    adapted = sharing_copy(net)
    layers = linear_layers(adapted)
    if not layers:
        raise Fixable("this model has no linear layers to put an adapter on", "teach full instead")
    device = next(net.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    kind = DoraLinear if dora else LoraLinear
    for name, layer in layers.items():
        if pissa:
            start = principal_factors(layer.weight, rank, scale)
            adapter = kind(layer, (start[0].clone(), start[1].clone()), scale, start)
        else:
            adapter = kind(layer, fresh_factors(layer, rank, generator, device), scale)
        replace_layers(adapted, {name: adapter})
    return adapted


def adapters(net: nn.Module) -> dict[str, LoraLinear]:
    """The layers with an adapter, by name; where one adapter lies on another, the upper one."""
    return {name: layer for name, layer in linear_layers(net).items() if isinstance(layer, LoraLinear)}


def adapter_weights(net: nn.Module) -> dict[str, Tensor]:
    """The adapter's weights by name: `model.layers.0.self_attn.q_proj.lora_A`, …"""
    return {
        f"{name}.{part}": weight
        for name, layer in adapters(net).items()
        for part, weight in layer.named_parameters(recurse=False)
    }


def plus_rates(learned: Mapping[str, Tensor], ratio: float) -> dict[str, float]:
    """LoRA+ (Hayou et al., arXiv 2402.12354): factors of the learning rate, `ratio` for all but A."""
    return {name: ratio for name in learned if not name.endswith("lora_A")} if ratio != 1 else {}


def merged(net: nn.Module) -> nn.Module:
    """A copy of `net` of plain linear layers: adapters added into their weights, four bits unpacked."""
    plain = sharing_copy(net)
    for name, layer in linear_layers(plain).items():
        if isinstance(layer, LinearLike):
            whole = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
            whole.weight = nn.Parameter(layer.weight.detach(), requires_grad=False)
            whole.bias = layer.bias  # type: ignore[assignment]
            replace_layers(plain, {name: whole})
    return plain


def save_adapter(net: nn.Module, folder: Path, base: str, *, rslora: bool = False) -> None:
    """Write the adapter as PEFT does, so that `peft` and every tool that reads its format loads it on the same base.

    `rslora`: note the scale as alpha / √rank. What began as PiSSA is written as plain LoRA of twice the rank, which is
    what PEFT converts it to: it fits the original base.
    """
    layers = adapters(net)
    config = written_config(
        {name: len(layer.factors[0]) for name, layer in layers.items()},
        {name: layer.scale for name, layer in layers.items()},
        use_rslora=rslora,
        use_dora=any(isinstance(layer, DoraLinear) for layer in layers.values()),
        target_modules=_short_names(net, layers),
        base_model_name_or_path=base,
    )
    tensors: dict[str, Tensor] = {}
    for name, layer in layers.items():
        A, B = layer.factors
        tensors |= {f"{_PREFIX}{name}.lora_A.weight": A, f"{_PREFIX}{name}.lora_B.weight": B}
        if isinstance(layer, DoraLinear):
            tensors[f"{_PREFIX}{name}.{_MAGNITUDE}"] = layer.lora_magnitude_vector
    with whole_folder(folder) as aside:
        kept = {key: tensor.detach().float().contiguous().cpu() for key, tensor in tensors.items()}
        save_file(kept, aside / WEIGHTS, metadata={"format": "pt"})
        write_json(aside / CONFIG, config)


def load_adapter(net: nn.Module, folder: Path) -> nn.Module:
    """A copy of `net` that shares its weights and has the adapter of a PEFT folder, ours or another tool's.

    LoRA, rsLoRA, DoRA, PiSSA as PEFT saves it, other ranks and alphas by pattern, any choice of linear layers. Raises
    `Fixable` for what is not supported, is broken or does not fit, naming it.
    """
    config, given = read_config(folder)
    base = str(given.get("base_model_name_or_path"))
    tensors = _read_tensors(folder)
    adapted = sharing_copy(net)
    linear = linear_layers(adapted)
    within = tuple(f"{name}." for name in linear)
    names = [name for name, _ in adapted.named_modules() if name and not name.startswith(within)]
    targets = config.targets(names, linear)
    shapes = _shapes(config, {name: linear[name] for name in targets})
    if odd := _misfit(tensors, shapes):
        hint = f"use it with the model it was made for: {base[:80]}"
        raise Fixable(f"the adapter does not fit this base model: {odd}", hint, folder)
    device = next(net.parameters()).device
    for name in targets:
        layer, scale = linear[name], config.scale(name)
        A, B = (tensors[f"{_PREFIX}{name}.{part}.weight"].to(device) for part in ("lora_A", "lora_B"))
        start = principal_factors(layer.weight, len(A), scale) if given.get("init_lora_weights") == PISSA else None
        if config.use_dora:
            magnitude = tensors[f"{_PREFIX}{name}.{_MAGNITUDE}"].to(device)
            adapter: LoraLinear = DoraLinear(layer, (A, B), scale, start, magnitude).settle()
        else:
            adapter = LoraLinear(layer, (A, B), scale, start)
        replace_layers(adapted, {name: adapter})
    return adapted.requires_grad_(False)


def _short_names(net: nn.Module, layers: Mapping[str, LoraLinear]) -> list[str]:
    """The last parts of the layers' names, as most adapters give them; whole names where those would mean more."""
    short = {name.rpartition(".")[2] for name in layers}
    meant = {name for name in linear_layers(net) if name.rpartition(".")[2] in short}
    return sorted(short if meant == set(layers) else layers)


def _shapes(config: AdapterConfig, layers: Mapping[str, Linear]) -> dict[str, tuple[int, ...]]:
    """The tensors an adapter must consist of, by their name in the file."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        rank = config.rank(name)
        shapes[f"{_PREFIX}{name}.lora_A.weight"] = (rank, layer.in_features)
        shapes[f"{_PREFIX}{name}.lora_B.weight"] = (layer.out_features, rank)
        if config.use_dora:
            shapes[f"{_PREFIX}{name}.{_MAGNITUDE}"] = (layer.out_features,)
    return shapes


def _misfit(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The first thing that keeps a file from being this adapter, or nothing."""
    if not shapes:
        return "it has none of the layers that the adapter changes"
    for key, shape in shapes.items():
        if key not in tensors:
            return f"{key} is missing"
        if tuple(tensors[key].shape) != shape:
            return f"{key} is {list(tensors[key].shape)}, not {list(shape)}"
    return next((f"{key[:200]} has no place" for key in tensors if key not in shapes), "")


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """The adapter's weights in float32, all of them finite."""
    file = folder / WEIGHTS
    if not file.is_file():
        pickles = [path.name for path in folder.glob("adapter_model.*")]
        what = f"there is only {pickles[0]}, which may hold a program," if pickles else "there are no weights"
        raise Fixable(f"{what} beside {CONFIG}", f"save it as {WEIGHTS} with the tool it comes from", folder)
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise Fixable(f"the adapter's weights cannot be read: {error}", "teach or fetch it again", file) from None
    for key, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.float().isfinite().all():
            raise Fixable(f"the adapter is damaged: {key[:200]} holds what is no number", "fetch it again", file)
    return {key: tensor.to(torch.float32, copy=True) for key, tensor in tensors.items()}
