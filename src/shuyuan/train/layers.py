"""What a language model is made of, found by what ships with it; and copies of it that share its weights."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional

from shuyuan.base.errors import Fixable


class LinearLike(nn.Module):
    """A layer that computes as a linear one but is kept otherwise: with an adapter, or in four bits."""

    in_features: int
    out_features: int

    @property
    def weight(self) -> Tensor:
        """The whole matrix it multiplies with [out, in], made afresh each time."""
        raise NotImplementedError

    def product(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """See `product`."""
        raise NotImplementedError


Linear = nn.Linear | LinearLike


def product(layer: Linear, x: Tensor, onto: Tensor | None = None) -> Tensor:
    """What a linear layer gives without its bias, [..., in] → [..., out]; `onto` is added before it is rounded.

    The order matters in bfloat16: a small number added to a rounded one is lost wherever it is under half a digit.
    """
    if isinstance(layer, LinearLike):
        return layer.product(x, onto)
    if onto is None:
        return functional.linear(x, layer.weight)
    return torch.addmm(onto.flatten(0, -2), x.flatten(0, -2), layer.weight.T).view_as(onto)


def linear_layers(net: nn.Module) -> dict[str, Linear]:
    """Every linear layer of the blocks, by name: all but the output head, which the embedding is often tied to.

    A layer with an adapter counts as one, whatever is inside it.
    """
    head = net.get_output_embeddings()  # type: ignore[operator]
    found = {name: m for name, m in net.named_modules() if isinstance(m, Linear) and m is not head}
    return {name: m for name, m in found.items() if name.rpartition(".")[0] not in found}


def replace_layers(net: nn.Module, layers: Mapping[str, nn.Module]) -> None:
    """Put layers into a network in place of those that have their names."""
    for name, layer in layers.items():
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, layer)


def sharing_copy(net: nn.Module, own: Collection[str] = ()) -> nn.Module:
    """A copy of `net` on the same memory: only the weights named in `own` have memory of their own."""
    tensors = chain(net.named_parameters(), net.named_buffers())
    shared: dict[int, object] = {id(tensor): tensor for name, tensor in tensors if name not in own}
    return copy.deepcopy(net, shared)


def last_blocks(net: nn.Module, count: int, head: bool) -> list[str]:
    """The names of the weights in the last `count` blocks and the norm after them; with `head` the output layer's too.

    Raises `Fixable` where there are fewer blocks, or where the output layer is the embedding.
    """
    total = net.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    lists = ((n, m) for n, m in net.named_modules() if isinstance(m, nn.ModuleList) and len(m) == total)
    path, blocks = next(lists, ("", nn.ModuleList()))
    if not path:
        raise Fixable("the blocks of this model cannot be told apart", "teach lora or full instead")
    if count > total:
        raise Fixable(f"this model has {total} blocks, not {count}", f"choose --blocks {total} or fewer, or teach full")
    parent = path.rpartition(".")[0]
    chosen = [f"{path}.{number}." for number in range(total - count, total)]
    for name, child in net.get_submodule(parent).named_children():
        weights = list(child.parameters())
        if weights and child is not blocks and all(weight.ndim == 1 for weight in weights):
            chosen.append(f"{parent}.{name}.".lstrip("."))
    if head:
        chosen.append(_head_name(net) + ".")
    return [name for name, _ in net.named_parameters() if name.startswith(tuple(chosen))]


def _head_name(net: nn.Module) -> str:
    head = net.get_output_embeddings()  # type: ignore[operator]
    if head.weight is net.get_input_embeddings().weight:  # type: ignore[operator]
        raise Fixable(
            "the output layer of this model is its embedding too, so it cannot learn alone",
            "leave --head out, or teach full",
        )
    name: str = next(name for name, module in net.named_modules() if module is head)
    return name
