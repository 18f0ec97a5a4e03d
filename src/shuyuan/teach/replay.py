"""Other text mixed into continued pretraining against forgetting: a file's, or what the base model writes itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, read_json, write_whole
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Run
from shuyuan.prepare.chat import Encoded

if TYPE_CHECKING:
    import torch

    from shuyuan.load.model import Model

TEXTS = 32  # written by the model itself, in one batch: about a minute for half a billion weights on two cores
LENGTH = 192  # tokens of each at most


def replayed(base: Model, blocks: Sequence[Encoded], share: float, file: str, run: Run) -> tuple[Encoded, ...]:
    """Sequences of other text that make up `share` of all tokens read together with `blocks`; () where that is nothing.

    Drawn by the run's seed from a text file, or sampled from the base model before it is taught (kept in the
    workspace's cache, so made once). Where there is less text than the share asks for, all of it is taken, and said.
    """
    tokens = sum(len(block.ids) for block in blocks)
    wanted = round(tokens * share / (1 - share))
    if wanted < 2:  # a token is learned from the one before it
        return ()
    block = max(len(block.ids) for block in blocks)
    chosen: list[Encoded] = []
    left = wanted
    for sequence in _of_file(base, file, block, run.seed) if file else _of_itself(base, block, run):
        chosen.append(replace(sequence, ids=sequence.ids[:left], learned=sequence.learned[:left]))
        left -= len(chosen[-1].ids)
        if left < 2:
            break
    if not chosen:
        raise Fixable(
            f"there is nothing to replay: {file or f'{base.name} wrote only empty texts'}",
            "give a file with text (--replay-file) or go on without (--replay 0)",
        )
    taken = wanted - left
    short = (
        f", not the {share:.1%} asked for: there is no more; a --replay-file with more text helps" if left >= 2 else ""
    )
    whose = file or "its own writing"
    say(f"{run.name}: replay {taken:,} tokens of {whose} beside {tokens:,} = {taken / (taken + tokens):.1%}{short}")
    return tuple(chosen)


def _of_file(base: Model, file: str, block: int, seed: int) -> Iterator[Encoded]:
    """Pieces of a text file in an order drawn from the seed, each of whole lines and at most `block` tokens."""
    from shuyuan.read.reading import read_file

    path = Path(file).expanduser()
    if not path.is_file():
        raise Fixable("there is no file to replay from", "give a text file: --replay-file FILE", path)
    pieces = list(_pieces(read_file(path, path.name).text, 2 * block))
    for number in np.random.default_rng(seed).permutation(len(pieces)):
        ids = tuple(base.tokenizer(pieces[number], add_special_tokens=False)["input_ids"][:block])
        if len(ids) > 1:
            yield Encoded(ids, (True,) * len(ids), f"{path.name}, piece {number + 1}")


def _pieces(text: str, characters: int) -> Iterator[str]:
    """Consecutive whole lines in pieces of at least so many characters; the last may be shorter."""
    piece: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        piece.append(line)
        size += len(line)
        if size >= characters:
            yield "".join(piece)
            piece, size = [], 0
    if piece:
        yield "".join(piece)


def _of_itself(base: Model, block: int, run: Run) -> list[Encoded]:
    """What the base model writes from nothing, from the cache or sampled now."""
    import torch

    length = min(LENGTH, block - 1)
    mark = fingerprint("replay 1", weights_hash(base.net), base.start_token, TEXTS, length, run.seed)
    kept = run.cache / "replay" / f"{mark}.json"
    if not kept.exists():
        draws_BT = torch.rand(TEXTS, length, generator=torch.Generator().manual_seed(run.seed), dtype=torch.float64)
        write_whole(kept, json.dumps(sample(base, draws_BT)) + "\n")
    return [
        Encoded((base.start_token, *text), (True,) * (len(text) + 1), f"{base.name}'s own text {number + 1}")
        for number, text in enumerate(read_json(kept))
        if text
    ]


def weights_hash(net: torch.nn.Module) -> str:
    """Changes when any weight does."""
    import torch

    digest = hashlib.sha256()
    for name, weight in net.state_dict().items():
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def sample(model: Model, draws_BT: torch.Tensor) -> list[list[int]]:
    """Texts from the model's own distribution (temperature 1, nothing cut off), from its start token until they end.

    B texts of at most T tokens; `draws_BT` are uniform numbers in [0, 1): the t-th token of a text is where the sum of
    the probabilities first exceeds its number, so a text does not depend on the others. A text that ends holds the end
    token. Training on such text has no gradient on average until the model has moved, and then pulls it back.
    """
    import torch

    texts: list[list[int]] = [[] for _ in draws_BT]
    going = torch.arange(len(texts))
    ids_B1 = torch.full((len(texts), 1), model.start_token, device=model.device)
    ends, cache = torch.tensor(sorted(model.end_tokens)), None
    with torch.inference_mode(), Bar(f"{model.name} writes text to replay", draws_BT.numel(), "tokens") as bar:
        for draws_B in draws_BT.T:
            said: Any = model.net(input_ids=ids_B1, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = said.past_key_values
            sums_BV = torch.softmax(said.logits[:, -1].double(), -1).cumsum(-1).cpu()
            chosen_B1 = torch.searchsorted(sums_BV, draws_B[going, None] * sums_BV[:, -1:], right=True)
            chosen_B1 = chosen_B1.clamp(max=sums_BV.shape[1] - 1)
            for row, token in zip(going.tolist(), chosen_B1[:, 0].tolist(), strict=True):
                texts[row].append(token)
            bar.advance(len(going))
            keep_B = ~torch.isin(chosen_B1[:, 0], ends)
            if not keep_B.any():
                break
            if not keep_B.all():
                cache.batch_select_indices(keep_B.nonzero()[:, 0].to(model.device))
                going, chosen_B1 = going[keep_B], chosen_B1[keep_B]
            ids_B1 = chosen_B1.to(model.device)
    return texts
