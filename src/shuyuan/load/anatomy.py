"""What a network of the Llama family is made of, found by its parts and not by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from shuyuan.load.products import Product, product_of

_BLOCK = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_HEAD_NORMS = {"q_norm", "k_norm"}
_MLP = {"gate_proj", "up_proj", "down_proj"}
_ROPES = ("default", "linear", "llama3", "yarn")  # turned alike however long the text is


@dataclass(frozen=True)
class Norm:
    """Root-mean-square normalisation."""

    weight_D: Tensor
    epsilon: float


@dataclass(frozen=True)
class Block:
    """One layer. `head_norms` are those of queries and keys, where it has them."""

    before_attention: Norm
    qkv: Product
    head_norms: tuple[Norm, Norm] | None
    out: Product
    before_mlp: Norm
    gate_up: Product
    down: Product


@dataclass(frozen=True)
class Blocks:
    """A whole network. H query heads share G key heads of width D."""

    embedding_VD: Tensor
    rotary: Any
    blocks: tuple[Block, ...]
    norm: Norm
    head: Product
    heads: int
    groups: int
    width: int
    scale: float


def unlike(net: Any) -> str:
    """Why a network is not of the Llama family, or nothing when it is: RMSNorm, rotary positions, gated MLP."""
    decoder = getattr(net, "model", None)
    if decoder is None or _children(net) != {"model", "lm_head"}:
        return "it is not a decoder under an output layer"
    if _children(decoder) != {"embed_tokens", "layers", "norm", "rotary_emb"}:
        return f"its decoder consists of {', '.join(sorted(_children(decoder)))}"
    config = net.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    turned = [rope.get("partial_rotary_factor"), getattr(config, "partial_rotary_factor", None)]
    if rope.get("rope_type") not in _ROPES or any(share not in (None, 1) for share in turned):
        return f"its positions are of another kind ({rope})"
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"} or getattr(config, "sliding_window", None):
        return "its attention does not see the whole text in every layer"
    if getattr(config, "hidden_act", None) != "silu":
        return f"its activation is {getattr(config, 'hidden_act', 'unknown')}"
    return next((why for block in decoder.layers if (why := _unlike_block(block))), "")


def _unlike_block(block: Any) -> str:
    if _children(block) != _BLOCK:
        return f"a layer consists of {', '.join(sorted(_children(block)))}"
    if _children(block.self_attn) not in (_ATTENTION, _ATTENTION | _HEAD_NORMS):
        return f"its attention consists of {', '.join(sorted(_children(block.self_attn)))}"
    if _children(block.mlp) - {"act_fn"} != _MLP:
        return f"its MLP consists of {', '.join(sorted(_children(block.mlp)))}"
    norms = (block.input_layernorm, block.post_attention_layernorm)
    if not all(hasattr(norm, "variance_epsilon") for norm in norms):
        return "its norms are of another kind"
    return ""


def blocks_of(net: Any, copy: bool) -> Blocks:
    """The parts of a network of which `unlike` has nothing to say. `copy`: make a fast second copy of its weights."""
    config, decoder = net.config.get_text_config(), net.model
    attention = decoder.layers[0].self_attn
    heads = int(config.num_attention_heads)
    return Blocks(
        embedding_VD=decoder.embed_tokens.weight,
        rotary=decoder.rotary_emb,
        blocks=tuple(_block(block, copy) for block in decoder.layers),
        norm=_norm(decoder.norm),
        head=product_of([net.lm_head], copy),
        heads=heads,
        groups=int(config.num_key_value_heads),
        width=int(attention.head_dim),
        scale=float(attention.scaling),
    )


def _block(block: Any, copy: bool) -> Block:
    attention, mlp = block.self_attn, block.mlp
    head_norms = (_norm(attention.q_norm), _norm(attention.k_norm)) if hasattr(attention, "q_norm") else None
    return Block(
        before_attention=_norm(block.input_layernorm),
        qkv=product_of([attention.q_proj, attention.k_proj, attention.v_proj], copy),
        head_norms=head_norms,
        out=product_of([attention.o_proj], copy),
        before_mlp=_norm(block.post_attention_layernorm),
        gate_up=product_of([mlp.gate_proj, mlp.up_proj], copy),
        down=product_of([mlp.down_proj], copy),
    )


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight, float(norm.variance_epsilon))


def _children(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_children()}
