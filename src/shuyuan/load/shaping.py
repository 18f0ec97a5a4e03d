"""Answers that keep to a JSON schema: at each token, what the schema does not allow is masked (llguidance)."""

from __future__ import annotations

import json
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from shuyuan.base.errors import Fixable
from shuyuan.load.model import Model

# As models write JSON. Free blanks would let one write blanks for ever.
_LAYOUT: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_readers: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()  # tokenizer → llguidance's view of it, a second's work


class Shaped:
    """What one answer may go on with, token by token."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allow(self, logits_V: Tensor) -> Tensor:
        """The logits with −∞ for every token that the schema does not allow next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed_V = np.unpackbits(bits, bitorder="little", count=self._vocabulary).astype(bool)
        return logits_V.masked_fill(~torch.from_numpy(allowed_V).to(logits_V.device), float("-inf"))

    def take(self, token: int) -> None:
        """The token that was said."""
        if not self._matcher.consume_token(token):
            raise Fixable(f"the schema cannot be kept to: {self._matcher.get_error()}", "simplify it")


def mask_of(model: Model, schema: str) -> Shaped:
    """A fresh mask for one answer in the form of a JSON schema; "{}" is any JSON object. Raises `Fixable`."""
    try:
        import llguidance
        from llguidance.hf import from_tokenizer
    except ImportError:
        raise Fixable(
            "an answer in the form of a schema needs the package llguidance", "pip install 'shuyuan[serve]'"
        ) from None
    vocabulary = int(model.net.get_input_embeddings().num_embeddings)
    if model.tokenizer not in _readers:
        _readers[model.tokenizer] = from_tokenizer(model.tokenizer, vocabulary, sorted(model.end_tokens))
    try:
        wanted = json.loads(schema)
        if not isinstance(wanted, dict):
            raise ValueError("it is not an object")
        grammar = llguidance.LLMatcher.grammar_from_json_schema(wanted or {"type": "object"}, defaults=_LAYOUT)
    except (ValueError, RecursionError) as error:
        raise Fixable(f"this is not a JSON schema: {error}", 'write one, such as {"type": "object"}') from None
    matcher = llguidance.LLMatcher(_readers[model.tokenizer], grammar, log_level=0)
    if matcher.is_error():
        raise Fixable(f"this schema cannot be kept to: {matcher.get_error()}", "leave out what it names")
    return Shaped(matcher, vocabulary)
