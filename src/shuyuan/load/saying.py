"""Tokens → the text of an answer, piece by piece: never half a character, and nothing of what it stops before."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import regex

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_PATIENCE = 8  # tokens that may make up one character; after that they are bytes of none
_JOINS = ("So", "Sk", "Mn", "Me", "Mc", "Cf", "Cn")  # what may grow into one sign with what follows: emoji, accents
_LONGEST_SIGN = 64  # characters at the end of a text in which its last sign is sought


class Speech:
    """The text said so far. A piece is given out as soon as nothing that follows can change it.

    Held back are bytes that are not a character yet, the last sign where a following one may join it (a family of
    emoji, a flag), blanks that may turn out to be the end, and what may become one of `stops`.
    """

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, [stop for stop in stops if stop]
        self._tokens: list[int] = []
        self._context = self._read = 0  # from where tokens are decoded together, and up to where they are said
        self._held = ""
        self.text = ""
        self.stopped = False

    def hear(self, token: int) -> str:
        """What can be said now; often nothing."""
        self._tokens.append(token)
        fresh = self._decoded()
        if fresh.endswith(_BROKEN) and len(self._tokens) - self._read < _PATIENCE:
            return ""
        self._settle(fresh)
        return self._said(self._held[: len(self._held) - self._unsure()])

    def end(self, cut: bool) -> str:
        """The rest. `cut`: the answer ended at its greatest length, so half a character may be left, and is dropped."""
        if not self.stopped:
            fresh = self._decoded()
            self._settle(fresh.rstrip(_BROKEN) if cut else fresh)
        return self._said(self._held.rstrip())

    def _decoded(self) -> str:
        """The text of the tokens not settled yet, decoded together with those before them."""
        known = self._decode(self._tokens[self._context : self._read])
        return self._decode(self._tokens[self._context :])[len(known) :]

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _settle(self, fresh: str) -> None:
        self._context, self._read = self._read, len(self._tokens)
        before = len(self._held)
        self._held += fresh
        if not (self.text or self._stops):
            self._held = self._held.lstrip()
        found = [at for stop in self._stops if (at := self._held.find(stop, max(0, before - len(stop)))) >= 0]
        if found:
            self.stopped, self._held = True, self._held[: min(found)].rstrip()

    def _unsure(self) -> int:
        """How many characters at the end of what is held may still change or vanish."""
        if self.stopped:
            return 0
        held = self._held
        stops = (n for stop in self._stops for n in range(1, min(len(stop), len(held) + 1)) if held.endswith(stop[:n]))
        unsure = max(stops, default=0)
        last = regex.findall(r"\X", held[-_LONGEST_SIGN:])[-1:]
        if last and any(unicodedata.category(mark) in _JOINS for mark in last[0]):
            unsure = max(unsure, len(last[0]))
        return len(held) - len(held[: len(held) - unsure].rstrip())

    def _said(self, piece: str) -> str:
        self._held = self._held[len(piece) :]
        if not self.text:
            piece = piece.lstrip()
        self.text += piece
        return piece


class Stream:
    """Listens to a row and passes its text on to another thread."""

    def __init__(self, speech: Speech) -> None:
        self.speech, self.pieces = speech, SimpleQueue[str | None]()

    def hear(self, token: int) -> bool:
        """See `Listener`."""
        if piece := self.speech.hear(token):
            self.pieces.put(piece)
        return self.speech.stopped

    def end(self) -> None:
        """See `Listener`: None is the last piece."""
        self.pieces.put(None)
