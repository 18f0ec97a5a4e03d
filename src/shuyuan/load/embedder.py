"""Texts → vectors of length one, for search by meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, read_json
from shuyuan.load.catalogue import entries
from shuyuan.load.model import best_device, compute_dtype, open_tokenizer
from shuyuan.load.pulling import pull, read_manifest
from shuyuan.load.quiet import quiet

MOST_TOKENS, MOST_TOKENS_ON_CPU = 8192, 1024  # of one batch, padding included; a cache holds about 1024 tokens' numbers

_Kind = Literal["query", "passage"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text read token by token: see `Embedder.read`. `below`: every token [T, width] below some layer."""

    tokens: list[int]
    states: np.ndarray
    below: torch.Tensor | None = None


class Embedder:
    """An encoder with the pooling and the words before a text that its folder states.

    `cut` counts the texts so far of which only the first `context` tokens were read. `evidence`: see `Entry`.
    """

    def __init__(self, name: str, net: Any, tokenizer: Any, folder: Path) -> None:
        self.evidence = entries()[name].evidence if name in entries() else 0.0
        self.name, self._net, self._tokenizer = name, net, tokenizer
        self.width = int(net.config.hidden_size)
        self.context = min(int(net.config.max_position_embeddings), int(tokenizer.model_max_length))
        self._prompts = _prompts(folder)
        self._pools_mean = _pools_mean(folder)
        self.cut = 0

    @property
    def net(self) -> Any:
        """The encoder itself."""
        return self._net

    def embed(self, texts: Sequence[str], kind: _Kind) -> np.ndarray:
        """float32 [n, width], each row of length one. Queries and passages get different words in front.

        Texts of like length share a batch; the order of rows is that of `texts`.
        """
        vectors = np.zeros((len(texts), self.width), np.float32)
        ids = self._encode([self._prompts.get(kind, "") + text for text in texts])
        most = MOST_TOKENS_ON_CPU if self._net.device.type == "cpu" else MOST_TOKENS
        for rows in _batches([len(tokens) for tokens in ids], most):
            vectors[rows] = self._embed_batch([ids[row] for row in rows])
        return vectors

    def tokens(self, texts: Sequence[str], kind: _Kind) -> list[int]:
        """How many tokens of each text are read."""
        whole = self._tokenizer([self._prompts.get(kind, "") + text for text in texts], verbose=False)["input_ids"]
        return [min(len(ids), self.context) for ids in whole]

    def read(self, texts: Sequence[str], kind: _Kind) -> list[tuple[list[int], np.ndarray]]:
        """Each text token by token: its tokens, and float16 [2, tokens, width], what they mean in their place.

        The two are what five sixths of the layers and all of them make of a token, each of length one. The words in
        front and the marks at the ends are left out; so is what goes beyond `context`.
        """
        return [(one.tokens, one.states) for one in self.readings(texts, kind)]

    def readings(self, texts: Sequence[str], kind: _Kind, below: int | None = None) -> list[Reading]:
        """As `read`; with `below`, also what the first so many layers make of every token, as it is."""
        if not texts:
            return []
        prompt = self._prompts.get(kind, "")
        whole = self._tokenizer([prompt + text for text in texts], return_offsets_mapping=True, verbose=False)
        ids = [self._fitting(tokens) for tokens in whole["input_ids"]]
        own = [
            [at for at, (start, end) in enumerate(offsets[: len(tokens) - 1]) if start >= len(prompt) and end > start]
            for tokens, offsets in zip(ids, whole["offset_mapping"], strict=True)
        ]
        found = [Reading([], np.zeros((2, 0, self.width), np.float16))] * len(texts)
        for rows in _batches([len(tokens) for tokens in ids], MOST_TOKENS_ON_CPU):
            with torch.inference_mode():
                ids_BT, mask_BT = self._padded([ids[row] for row in rows])
                layers = self._net(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True).hidden_states
                of_BLTD = torch.stack([layers[round((len(layers) - 1) * 5 / 6)], layers[-1]], 1)
                states_BLTD = torch.nn.functional.normalize(of_BLTD.float(), dim=-1).half().cpu().numpy()
            for place, row in enumerate(rows):
                tokens = [ids[row][at] for at in own[row]]
                kept = None if below is None else layers[below][place, : len(ids[row])].clone()
                found[row] = Reading(tokens, states_BLTD[place][:, own[row]], kept)
        return found

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        whole = self._tokenizer(list(texts), verbose=False)["input_ids"]
        self.cut += sum(len(tokens) > self.context for tokens in whole)
        return [self._fitting(tokens) for tokens in whole]

    def _fitting(self, tokens: list[int]) -> list[int]:
        # The last token marks the end of a text, so it stays when the text is cut.
        return tokens if len(tokens) <= self.context else [*tokens[: self.context - 1], tokens[-1]]

    def _padded(self, ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of a batch [B, T], padded at the right, and where they are."""
        longest = max(len(tokens) for tokens in ids)
        ids_BT = torch.full((len(ids), longest), int(self._tokenizer.pad_token_id))
        mask_BT = torch.zeros_like(ids_BT)
        for row, tokens in enumerate(ids):
            ids_BT[row, : len(tokens)] = torch.tensor(tokens)
            mask_BT[row, : len(tokens)] = 1
        return ids_BT.to(self._net.device), mask_BT.to(self._net.device)

    @torch.inference_mode()
    def _embed_batch(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        # B texts, T tokens, D width
        ids_BT, mask_BT = self._padded(ids)
        hidden_BTD = self._net(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.float()
        if self._pools_mean:
            pooled_BD = (hidden_BTD * mask_BT[:, :, None]).sum(1) / mask_BT.sum(1, keepdim=True)
        else:
            pooled_BD = hidden_BTD[:, 0]
        vectors: np.ndarray = torch.nn.functional.normalize(pooled_BD, dim=1).cpu().numpy()
        return vectors


def open_embedder(name_or_path: str, dtype: torch.dtype | None = None) -> Embedder:
    """Open an embedder by catalogue name or by a folder of your own in the form of sentence-transformers.

    `dtype` None: bfloat16 where it is advised and native, else float32. Raises `Fixable` as `pull` does, and for a
    pooling other than mean and first token.
    """
    from transformers import AutoModel

    folder = pull(name_or_path)
    with quiet():
        try:
            net = AutoModel.from_pretrained(
                folder,
                dtype=dtype or compute_dtype(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
            )
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Fixable(
                f"the embedder cannot be opened: {reason}", "check that the folder is whole", folder
            ) from error
        tokenizer = open_tokenizer(folder)
    name = str(read_manifest(folder).get("name") or f"{folder.name}-{_weights_mark(folder)}")
    net = net.to(best_device()).eval()
    if net.device.type == "cpu" and net._supports_sdpa:  # its attention can be chosen
        _register()
        net.set_attn_implementation(_NAME)
    return Embedder(name, net, tokenizer, folder)


_NAME = "products"


@cache
def _register() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(_NAME, _attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(_NAME, ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as two batched products: on a processor, with texts this short, torch's flash kernel takes as long as
    all the rest of the network. All of [B, H, T, D]: B texts, H heads, T tokens, D width of a head."""
    B, H, T, D = query.shape
    if key.shape[1] != H:  # several query heads share a key's
        key, value = (shared.repeat_interleave(H // shared.shape[1], 1) for shared in (key, value))
    query = query * (D**-0.5 if scaling is None else scaling)
    scores_BHTT = torch.bmm(query.reshape(B * H, T, D), key.reshape(B * H, T, D).transpose(1, 2)).view(B, H, T, T)
    if attention_mask is not None:
        scores_BHTT = scores_BHTT + attention_mask
    share = scores_BHTT.softmax(-1).view(B * H, T, T)
    return torch.bmm(share, value.reshape(B * H, T, D)).view(B, H, T, D).transpose(1, 2), None


def _weights_mark(folder: Path) -> str:
    """Tells an own embedder's vectors from those of other weights that once lay in a folder of the same name."""
    return fingerprint([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.glob("*.safetensors"))])


def _prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    prompts = dict(read_json(file).get("prompts") or {}) if file.exists() else {}
    return {"passage": prompts.get("document", ""), **prompts}


def _pools_mean(folder: Path) -> bool:
    """True: the mean over tokens; False: the first token."""
    file = folder / "1_Pooling" / "config.json"
    stated = read_json(file) if file.exists() else {"pooling_mode_mean_tokens": True}
    modes = {name for name, on in stated.items() if name.startswith("pooling_mode") and on is True}
    if modes not in ({"pooling_mode_mean_tokens"}, {"pooling_mode_cls_token"}):
        raise Fixable(
            f"pooling by {', '.join(sorted(modes)) or 'nothing'} is not known here", "use another embedder", file
        )
    return modes == {"pooling_mode_mean_tokens"}


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
