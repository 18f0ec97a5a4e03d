"""What reads tokens and gives logits for generation: our own forward pass, or transformers' where that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from shuyuan.base.progress import human_bytes, say
from shuyuan.load.products import copy_bytes, is_copied
from shuyuan.load.slots import free_bytes

# How far the logits may be from the reference's, after the middle one of the tokens tried: see `distance`.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
TRIAL = "书院 kept the books, taught and examined. 藏书、教学、考试 in one house, from 2026 on: {'a': 1}"
_COPY_SHARE = 0.5  # of the free memory that a second copy of the weights may take


@dataclass(frozen=True)
class Feed:
    """What one row reads in a step, and after how many of its last tokens the logits are wanted.

    `place` is what the engine gave for the row.
    """

    place: Any
    tokens: Sequence[int]
    wanted: int = 1


class Engine(Protocol):
    """Rows are opened, read step by step and closed. One thread at a time."""

    takes_back: bool  # a row may read several tokens a step and take back the last ones, or be left out of a step

    def fits(self, tokens: int) -> bool:
        """Whether memory holds one more row of so many tokens; always true for the first."""

    def open(self, tokens: int) -> Any:
        """The place of a row of at most so many tokens; its `length` is how many it has read."""

    def begin(self, place: Any, tokens: Sequence[int], others: Sequence[tuple[Sequence[int], Any]]) -> bool:
        """Take over what another row has read of the beginning of `tokens`: one of `others`, or one that has ended.

        True when one of `others` is reading it now, and it is worth waiting for.
        """

    def close(self, place: Any, tokens: Sequence[int]) -> None:
        """Forget a row whose tokens these are, or keep what it has read for those that begin alike."""

    def read(self, feeds: Sequence[Feed]) -> Tensor:
        """The logits [N, V] after the N wanted tokens, in the order of `feeds`."""


def engine_of(net: Any, name: str, trial: Sequence[int]) -> Engine:
    """The fastest engine whose logits are those of `net`; why another one is taken is said aloud.

    They are compared on the tokens `trial`: those of a real text, for nonsense makes rounding errors large.
    """
    from shuyuan.load.anatomy import unlike
    from shuyuan.load.fallback import Generic
    from shuyuan.load.fast import Forward

    why = unlike(net)
    if not why:
        try:
            fast = Forward(net, _copies(net, name))
        except RuntimeError as error:  # of oneDNN, where it has no such order for this processor
            say(f"{name} answers from its weights as they are: {str(error).splitlines()[0]}")
            fast = Forward(net, False)
        why = _wrong(fast, net, trial)
        if not why:
            return fast
    say(f"{name} answers at the speed of transformers, not at ours: {why}")
    return Generic(net)


def _wrong(engine: Engine, net: Any, trial: Sequence[int]) -> str:
    """Why an engine is not to be used, or nothing when its logits are those of the network."""
    try:
        off, most = distance(engine, net, trial), TOLERANCE[net.dtype]
    except Exception as error:  # what breaks off in a compiler, or at a network that only looks like the others
        return f"our forward pass breaks off: {f'{type(error).__name__}: {error}'.splitlines()[0]}"
    if off <= most:
        return ""
    return f"the logits would be {off:.2g} away from transformers', and {most:.2g} is what rounding explains"


def _copies(net: Any, name: str) -> bool:
    """Whether to keep a second copy of the weights, in the form in which the processor reads them fastest."""
    if next(net.parameters()).device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    head = net.get_output_embeddings().weight
    if is_copied(head):  # then the rest of the base is, too
        return True
    takes = copy_bytes([head, *(weight for weight in net.parameters() if weight is not head)])
    free = free_bytes(torch.device("cpu"))
    if takes <= _COPY_SHARE * free:
        return True
    need, have = human_bytes(takes), human_bytes(free)
    say(f"{name} answers at half the speed: a second copy of its weights takes {need}, and {have} is free")
    return False


def distance(engine: Engine, net: Any, tokens: Sequence[int]) -> float:
    """How far an engine's logits are from those of the network itself, on a text read in three pieces.

    The length of the difference by that of the logits, after each token; the median of these.
    """
    with torch.inference_mode():
        right = net(input_ids=torch.tensor([list(tokens)], device=net.device), use_cache=False).logits[0].float()
    place = engine.open(len(tokens))
    pieces = [piece for piece in (tokens[:-4], tokens[-4:-1], tokens[-1:]) if piece]
    ours = torch.cat([engine.read([Feed(place, piece, len(piece))]).float() for piece in pieces])
    engine.close(place, [])
    return float(((ours - right).norm(dim=1) / right.norm(dim=1)).median())
