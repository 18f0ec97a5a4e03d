"""Tiny real models for tests: transformers' own classes with random weights."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, Qwen2Config

FAMILIES = {"llama": LlamaConfig, "qwen2": Qwen2Config}


def tiny_config(family: str, vocabulary: int = 320) -> PretrainedConfig:
    """Two layers, width 48, grouped-query attention, tied embeddings."""
    return FAMILIES[family](
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )


def tiny_net(family: str = "qwen2", seed: int = 0, vocabulary: int = 320) -> torch.nn.Module:
    """A causal language model that answers nonsense, in float32 and evaluation mode."""
    torch.manual_seed(seed)
    net = AutoModelForCausalLM.from_config(tiny_config(family, vocabulary), dtype=torch.float32)
    return net.eval()
