"""A model as a GGUF file with its weights in bfloat16, for engines that read no other format.

For the benchmark only: token ids go in and out, so that of the tokenizer just enough is written for a file to be read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import torch

ARCHITECTURES = {"llama": gguf.MODEL_ARCH.LLAMA, "qwen2": gguf.MODEL_ARCH.QWEN2}


def write_gguf(net: torch.nn.Module, tokenizer: Any, file: Path, matrices: str = "BF16") -> Path:
    """Write a Llama or Qwen2 model: matrices in the number format of its weights, vectors in float32."""
    config = net.config
    writer = gguf.GGUFWriter(file, config.model_type)
    _write_shape(writer, config)
    _write_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(ARCHITECTURES[config.model_type], config.num_hidden_layers)
    tied = config.tie_word_embeddings
    for name, weight in net.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        stem, _, end = name.rpartition(".")
        weight = _turned(weight, stem, config)
        array = weight.float().numpy()
        stored = gguf.GGMLQuantizationType[matrices if weight.ndim > 1 else "F32"]
        writer.add_tensor(f"{names.get_name(stem)}.{end}", gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _turned(weight: torch.Tensor, stem: str, config: Any) -> torch.Tensor:
    """llama.cpp's `llama` pairs neighbouring rows of queries and keys in its rotation, Hugging Face the two halves."""
    part = stem.rpartition(".")[2]
    if config.model_type != "llama" or part not in ("q_proj", "k_proj"):
        return weight
    heads = config.num_attention_heads if part == "q_proj" else config.num_key_value_heads
    halves = weight.view(heads, 2, weight.shape[0] // heads // 2, -1)
    return halves.transpose(1, 2).reshape(weight.shape)


def _write_shape(writer: gguf.GGUFWriter, config: Any) -> None:
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any) -> None:
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {token["id"] for token in described["added_tokens"]}
    by_id = {i: token for token, i in described["model"]["vocab"].items()}
    by_id |= {token["id"]: token["content"] for token in described["added_tokens"]}
    size = writer.kv_data[0][f"{writer.arch}.vocab_size"].value
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2" if writer.arch == "qwen2" else "smollm")
    writer.add_token_list([by_id.get(i, f"[unused{i}]") for i in range(size)])
    writer.add_token_types(
        [
            gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL if i in by_id else gguf.TokenType.UNUSED
            for i in range(size)
        ]
    )
    merges = described["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(False)
