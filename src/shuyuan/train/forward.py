"""The forward pass of a step: our own for networks of the Llama family, transformers' for all others."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from shuyuan.base.progress import say
from shuyuan.load.anatomy import unlike
from shuyuan.load.engines import TOLERANCE
from shuyuan.train.attention import Layout, attended, layout_of
from shuyuan.train.fused import gated, normed, projected, turned

_TRIED = 40  # random tokens that are read to compare
_ours: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def hidden_states(net: nn.Module, ids_T: Tensor, layout: Layout) -> Tensor:
    """What the output layer gets for a packed row, [T, D].

    The first time a network is seen, our own pass is compared with transformers'; why it is not used is said aloud.
    """
    if net not in _ours:
        why = _unfit(net)
        _ours[net] = not why
        if why:
            say(f"this model learns at the speed of transformers, not at ours: {why}")
    return _own(net, ids_T, layout) if _ours[net] else _theirs(net, ids_T, layout)


def _unfit(net: Any) -> str:
    """Why our own pass is not this network's, or nothing."""
    if why := unlike(net):
        return why
    embedding = net.get_input_embeddings()
    ids_T = torch.randint(embedding.num_embeddings, (_TRIED,), generator=torch.Generator().manual_seed(0))
    ids_T = ids_T.to(embedding.weight.device)
    layout = layout_of([_TRIED], ids_T.device, embedding.weight.dtype)
    with torch.no_grad():
        ours, right = _own(net, ids_T, layout).float(), _theirs(net, ids_T, layout).float()
    off, most = float((ours - right).norm() / right.norm()), TOLERANCE[embedding.weight.dtype]
    return "" if off <= most else f"its states would be {off:.2g} away, and {most:.2g} is what rounding explains"


def _theirs(net: Any, ids_T: Tensor, layout: Layout) -> Tensor:
    states = net.base_model(
        input_ids=ids_T[None], position_ids=layout.positions_1T, use_cache=False, layout=layout
    ).last_hidden_state
    found: Tensor = states[0]
    return found


def _own(net: Any, ids_T: Tensor, layout: Layout) -> Tensor:
    # T tokens of the row, D width of the model or of a head, I inner width, H query heads, G key heads
    decoder = net.model
    x_TD = decoder.embed_tokens(ids_T)
    cos, sin = (turn[0, :, None] for turn in decoder.rotary_emb(x_TD, layout.positions_1T))
    first, second = sin.chunk(2, dim=-1)
    turns = cos, torch.cat([-first, second], dim=-1)
    for block in decoder.layers:
        x_TD = x_TD + _mixed(block.self_attn, normed(x_TD, block.input_layernorm), layout, turns)
        mlp = block.mlp
        gate_up_TI = projected(normed(x_TD, block.post_attention_layernorm), (mlp.gate_proj, mlp.up_proj))
        x_TD = x_TD + projected(gated(gate_up_TI), (mlp.down_proj,))
    return normed(x_TD, decoder.norm)


def _mixed(attention: Any, x_TD: Tensor, layout: Layout, turns: tuple[Tensor, Tensor]) -> Tensor:
    width = attention.head_dim
    heads, groups = (layer.out_features // width for layer in (attention.q_proj, attention.k_proj))
    qkv_TN = projected(x_TD, (attention.q_proj, attention.k_proj, attention.v_proj))
    asks_TAD, value_TGD = torch.split(qkv_TN.view(len(x_TD), -1, width), [heads + groups, groups], 1)
    if hasattr(attention, "q_norm"):
        query_THD, key_TGD = torch.split(asks_TAD, [heads, groups], 1)
        query_THD, key_TGD = normed(query_THD, attention.q_norm), normed(key_TGD, attention.k_norm)
        asks_TAD = torch.cat([query_THD, key_TGD], dim=1)
    query_THD, key_TGD = torch.split(turned(asks_TAD, *turns), [heads, groups], 1)
    mixed_THD = attended(query_THD, key_TGD, value_TGD, layout, attention.scaling)
    return projected(mixed_THD.flatten(1), (attention.o_proj,))
