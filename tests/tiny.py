"""Tiny real models for tests: transformers' own classes with random weights."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
TEMPLATE += "{% if add_generation_prompt %}assistant: {% endif %}"
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


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, one that ends a turn, and a chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({mark: number for number, mark in enumerate(alphabet)}, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_folder(folder: Path) -> Path:
    """The tiny model and its tokenizer as a Hugging Face folder."""
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    net = tiny_net()
    net.config.max_position_embeddings = 2048  # a byte vocabulary makes long prompts
    net.config.eos_token_id = tokenizer.eos_token_id
    net.generation_config.eos_token_id = tokenizer.eos_token_id
    net.save_pretrained(folder)
    return folder


def tiny_embedder(folder: Path) -> Path:
    """A whole embedder folder with tiny random weights, which reads single characters."""
    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *string.ascii_lowercase, *string.digits]
    tokenizer = Tokenizer(models.WordLevel({sign: at for at, sign in enumerate(signs)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(signs),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def net_of_biased_keys() -> torch.nn.Module:
    """A tiny Qwen2 whose keys have much in common, as those of Qwen2.5 do: a bias where positions hardly turn them."""
    net = tiny_net("qwen2")
    generator, width = torch.Generator().manual_seed(0), net.config.hidden_size // net.config.num_attention_heads
    with torch.no_grad():
        for block in net.model.layers:
            block.self_attn.k_proj.bias.zero_().view(-1, width)[:, [width // 2 - 1, -1]] = 300
            query = block.self_attn.q_proj.bias
            query.copy_(torch.randn(query.shape, generator=generator))
    return net
