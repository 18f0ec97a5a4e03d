"""Two endings of one conversation, of which one is better → pairs of sequences to learn the preference from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from shuyuan.base.lazy import Lazy
from shuyuan.base.records import Example, Kept
from shuyuan.prepare.chat import Encoded, Tokenizer, encode_example


@dataclass(frozen=True, slots=True)
class Pair(Encoded):
    """The better sequence's tokens and, from `split` on, the worse one's less those that both begin with, unlearned."""

    shared: int = 0
    split: int = 0

    @property
    def targets(self) -> int:
        """One preference, whatever its length."""
        return 1

    @property
    def parts(self) -> tuple[Encoded, ...]:
        """The better sequence and the worse one."""
        ids, learned, shared, split = self.ids, self.learned, self.shared, self.split
        return (
            Encoded(ids[:split], learned[:split], self.source),
            Encoded(ids[:shared] + ids[split:], learned[:shared] + learned[split:], self.source),
        )


class Pairs(Lazy[Pair]):
    """Sequences that come in twos, the better one first, as pairs; they may lie on disk."""

    def __init__(self, sequences: Sequence[Encoded]) -> None:
        self._sequences = sequences

    def __len__(self) -> int:
        return len(self._sequences) // 2

    def _at(self, index: int) -> Pair:
        better, worse = self._sequences[2 * index], self._sequences[2 * index + 1]
        both = zip(better.ids, worse.ids, better.learned, worse.learned, strict=False)
        shared = sum(1 for _ in takewhile(lambda at: at[0] == at[1] and not (at[2] or at[3]), both))
        ids, learned = better.ids + worse.ids[shared:], better.learned + worse.learned[shared:]
        return Pair(ids, learned, better.source, shared, len(better.ids))


def encode_endings(
    examples: Iterable[Example], tokenizer: Tokenizer, longest: int, tally: Counter[str]
) -> Iterator[Encoded]:
    """As `chat.encode_each`, but two sequences an example: with its own ending, then with the rejected one.

    Each is cut after `longest` tokens. Examples with one ending (`single`) and those whose endings the cut leaves
    nothing of, or nothing to tell them apart by (`empty`), are left out.
    """
    for example in examples:
        tally["came"] += 1
        if not example.rejected:
            tally["single"] += 1
            continue
        whole = [encode_example(one, tokenizer) for one in (example, example.with_rejected())]
        better, worse = (Encoded(one.ids[:longest], one.learned[:longest], one.source) for one in whole)
        if not (better.targets and worse.targets) or better.ids == worse.ids:
            tally["empty"] += 1
            continue
        tally["cut"] += any(len(one.ids) > longest for one in whole)
        yield better
        yield worse


def pairs_kept(tally: Counter[str], longest: int) -> Kept:
    """What `encode_endings` counted, to be said."""
    reasons = {"with one ending only": tally["single"], "cut before their endings differ": tally["empty"]}
    dropped = {why: count for why, count in reasons.items() if count}
    what = f"pairs ({tally['cut']} cut at {longest:,} tokens)" if tally["cut"] else "pairs"
    return Kept(tally["came"], tally["came"] - sum(dropped.values()), dropped, what)
