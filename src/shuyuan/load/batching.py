"""Continuous batching: prompts of any thread join and leave between two tokens, and all rows share each step.

One batcher a network. Its thread is there while there are rows, and no longer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor

from shuyuan.load.choosing import Likely, drawn, likely, likely_each, log_odds
from shuyuan.load.drafting import HOPEFUL, LONGEST, SURE, Drafts
from shuyuan.load.engines import TRIAL, Engine, Feed, engine_of
from shuyuan.load.model import Model

MOST_ROWS = 64  # at once; others wait in the order they came
CHUNK = 512  # tokens of prompts read in one step: how long the others wait for a new row
CHEAP = 16  # tokens that a step reads for little more than the time of one


class Listener(Protocol):
    """Told of every token as it is said, in the batcher's thread: must be quick."""

    def hear(self, token: int) -> bool:
        """True when this was enough and the row may end."""

    def end(self) -> None:
        """The row has ended, in whatever way."""


class Mask(Protocol):
    """Which tokens may come next."""

    def allow(self, logits_V: Tensor) -> Tensor:
        """The logits with −∞ for what may not come."""

    def take(self, token: int) -> None:
        """This one has come."""


@dataclass(frozen=True)
class Ask:
    """What a row is to do: continue `prompt` by at most `most` tokens, until one of `ends`. See `Decoding`.

    `speaks`: it says something in any case; how near it was to saying nothing is `Row.silence`.
    `follow`: it says nothing; how likely these tokens are, each after one of the last tokens of the prompt, is
    `Row.likelihoods`.
    """

    prompt: Sequence[int]
    most: int
    ends: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    logprobs: int | None = None
    listener: Listener | None = None
    mask: Mask | None = None
    speaks: bool = False
    follow: Sequence[int] = ()


class Row:
    """A prompt and what was said after it. `cut`: it ended at its greatest length.

    `silence`: log-odds that the answer ends before it begins, where it speaks in any case.
    """

    def __init__(self, ask: Ask) -> None:
        self.ask, self.tokens = ask, list(ask.prompt)
        self.likelihoods = list[Likely]()
        self.cut = self.cancelled = False
        self.error: BaseException | None = None
        self.silence = 0.0
        self.place: Any = None
        self.drafts = Drafts()
        self._ended = threading.Event()

    @property
    def said(self) -> list[int]:
        """The answer so far, without the token that ends it."""
        return self.tokens[len(self.ask.prompt) :]

    @property
    def unread(self) -> int:
        """Tokens that the network has not read yet."""
        return len(self.tokens) - int(self.place.length)

    @property
    def first(self) -> int:
        """The place of the first token after which logits are wanted."""
        return len(self.tokens) - max(1, len(self.ask.follow))

    def cancel(self) -> None:
        """Let the row leave before the next step."""
        self.cancelled = True

    def end(self, error: BaseException | None = None) -> None:
        """Wake who waits for it."""
        self.error = error
        self._ended.set()
        if self.ask.listener:
            self.ask.listener.end()

    def wait(self) -> Row:
        """Until it has ended. Raises what went wrong."""
        self._ended.wait()
        if self.error:
            raise self.error
        return self


class Batcher:
    """Rows of one network. See the module."""

    def __init__(self, net: Any, name: str, trial: Sequence[int]) -> None:
        self._net, self._name, self._trial = ref(net), name, trial
        self._lock = threading.Lock()
        self._waiting, self._going = deque[Row](), list[Row]()
        self._thread: threading.Thread | None = None
        self._engine: Engine | None = None

    def submit(self, asks: Sequence[Ask]) -> list[Row]:
        """Let rows join as soon as there is room, in this order."""
        rows = [Row(ask) for ask in asks]
        with self._lock:
            self._waiting += rows
            if rows and self._thread is None:
                # It holds the network for as long as it works; we only know where to find it.
                self._thread = threading.Thread(target=self._work, args=(self._net(),), name=f"answers of {self._name}")
                self._thread.start()
        return rows

    def _work(self, net: Any) -> None:
        try:
            engine = self._engine = self._engine or engine_of(net, self._name, self._trial)
            while self._let_in_and_out(engine):
                self._step(engine)
        except BaseException as error:  # raised again in the threads that wait
            with self._lock:
                left = [*self._going, *self._waiting]
                self._going, self._waiting, self._thread, self._engine = [], deque(), None, None
            for row in left:
                row.end(error)

    def _let_in_and_out(self, engine: Engine) -> bool:
        """Cancelled rows leave and waiting ones join; False when none are left, and then this thread has ended."""
        for row in [row for row in self._going if row.cancelled]:
            self._leave(engine, row)
        with self._lock:
            while self._waiting and len(self._going) < MOST_ROWS:
                row = self._waiting[0]
                room = len(row.tokens) + row.ask.most
                if not row.cancelled:
                    if not engine.fits(room):
                        break
                    row.place = engine.open(room)
                    self._going.append(row)
                else:
                    row.end()
                self._waiting.popleft()
            if not self._going:
                self._thread = None
            return bool(self._going)

    def _leave(self, engine: Engine, row: Row) -> None:
        self._going.remove(row)
        engine.close(row.place, row.tokens)
        row.place = None  # who still holds the row would hold its table
        row.end()

    def _step(self, engine: Engine) -> None:
        feeds = self._feeds(engine)
        logits_NV = engine.read([feed for _, feed in feeds])
        best_N = logits_NV.max(-1).indices.tolist() if len(logits_NV) else []  # argmax is five times slower
        at = 0
        for row, feed in feeds:
            if feed.wanted and self._hear(row, feed, logits_NV[at : at + feed.wanted], best_N[at : at + feed.wanted]):
                self._leave(engine, row)
            at += feed.wanted

    def _feeds(self, engine: Engine) -> list[tuple[Row, Feed]]:
        """What each row reads now: the rest of its prompt, or its last token and a draft of the next ones."""
        if not engine.takes_back:
            return [(row, _next(row, row.unread)) for row in self._going]
        saying = [row for row in self._going if row.unread == 1 and not row.ask.follow]
        reading = [row for row in self._going if row.unread > 1 or row.ask.follow]
        feeds = []
        cheap = CHEAP - len(saying)
        for row in sorted(saying, key=lambda row: -row.drafts.trust):
            drafted = self._draft(row, cheap)
            cheap -= len(drafted)
            feeds.append((row, Feed(row.place, [row.tokens[-1], *drafted], 1 + len(drafted))))
        # The oldest first, half of the chunk at most if others wait; then the shortest. Nobody waits for ever.
        left = CHUNK
        for number, row in enumerate([*reading[:1], *sorted(reading[1:], key=lambda row: row.unread)]):
            if left and not (row.place.length == 0 and self._waits(engine, row)):
                take = min(row.unread, left if number or len(reading) == 1 else CHUNK // 2)
                feeds.append((row, _next(row, take)))
                left -= take
        return feeds

    def _waits(self, engine: Engine, row: Row) -> bool:
        """Let a row take over what was read before of its beginning; whether it waits for a row that reads it now."""
        earlier = self._going[: self._going.index(row)]
        return engine.begin(row.place, row.tokens[: row.first + 1], [(other.tokens, other.place) for other in earlier])

    def _draft(self, row: Row, cheap: int) -> list[int]:
        """A draft, as long as there is cheap room for it; past that only where nearly all drafts were right."""
        if row.ask.mask:
            return []
        trust = row.drafts.trust
        most = LONGEST if trust > SURE else min(cheap, LONGEST if trust > HOPEFUL else 1)
        return row.drafts.draft(row.tokens, min(most, row.ask.most - len(row.said) - 1))

    def _hear(self, row: Row, feed: Feed, logits_NV: Tensor, best_N: Sequence[int]) -> bool:
        """Say the tokens that follow, as far as the draft was right, or measure them; whether the row has ended."""
        if row.ask.follow:
            follow = row.ask.follow[len(row.likelihoods) :][: feed.wanted]
            row.likelihoods += likely_each(logits_NV, follow, best_N)
            return row.unread == 0
        drafted = list(feed.tokens[1:]) if feed.wanted > 1 else []
        ended, kept = False, 0
        for number in range(feed.wanted):
            token = self._chosen(row, logits_NV[number], best_N[number])
            if token in row.ask.ends:
                ended = True
                break
            row.tokens.append(token)
            row.cut = len(row.said) == row.ask.most
            ended = bool(row.ask.listener and row.ask.listener.hear(token)) or row.cut
            right = number < len(drafted) and drafted[number] == token
            kept += right
            if ended or not right:
                break
        row.drafts.judge(len(drafted), kept)
        if drafted:
            row.place.length = len(row.tokens) - 1  # what was drafted wrongly was not read
        return ended

    def _chosen(self, row: Row, logits_V: Tensor, best: int) -> int:
        ask = row.ask
        allowed_V = logits_V
        if ask.mask:
            allowed_V = ask.mask.allow(logits_V)
            best = int(allowed_V.max(-1).indices)
        if ask.speaks and not row.said:
            ends = [end for end in ask.ends if end < len(logits_V)]
            row.silence = log_odds(logits_V, ends)
            allowed_V = allowed_V.index_fill(0, torch.tensor(ends, device=logits_V.device), -torch.inf)
            best = int(allowed_V.max(-1).indices)
        token = drawn(allowed_V, ask.temperature, ask.top_p, ask.seed, len(row.said)) if ask.temperature else best
        if ask.mask:
            ask.mask.take(token)
        if ask.logprobs is not None and token not in ask.ends:
            row.likelihoods.append(likely(logits_V, token, ask.logprobs))
        return token


def _next(row: Row, take: int) -> Feed:
    """The next tokens of what the row was given; logits are wanted after its last one, or wherever one is measured."""
    read = row.place.length
    stop = read + take
    return Feed(row.place, row.tokens[read:stop], max(0, min(take, stop - row.first)))


_batchers: WeakKeyDictionary[Any, Batcher] = WeakKeyDictionary()
_lock = threading.Lock()


def batcher_of(model: Model) -> Batcher:
    """The one batcher of a network; it goes when the network does."""
    with _lock:
        if model.net not in _batchers:
            trial = model.tokenizer(TRIAL, add_special_tokens=False)["input_ids"]
            _batchers[model.net] = Batcher(model.net, model.name, trial)
        return _batchers[model.net]
