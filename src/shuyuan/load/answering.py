"""A model that answers conversations through its own chat template, and says how likely it finds a text."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding
from shuyuan.load.generate import generate
from shuyuan.load.model import Model

WINDOW = 1024  # tokens read at once when a text is measured
SHARED = 256  # tokens of the window before that the next window reads again
MOST_TOKENS = 2048  # of one measured batch: bounds the memory of its logits


@dataclass(frozen=True)
class ModelAssistant:
    """A bare or tuned model as an assistant. `system` "" leaves the template's own system message in place, if any."""

    name: str
    model: Model
    system: str = ""
    max_new_tokens: int = 96

    def prompt(self, conversation: Conversation) -> list[int]:
        """The tokens of a conversation up to where the answer begins.

        A model without a chat template (a base model) reads the turns as paragraphs.
        """
        turns = [{"role": turn.role, "content": turn.content} for turn in conversation]
        if self.system:
            turns = [{"role": "system", "content": self.system}, *turns]
        tokenizer = self.model.tokenizer
        if not tokenizer.chat_template:
            text = "\n\n".join(turn["content"] for turn in turns) + "\n\n"
            return list(tokenizer(text)["input_ids"])
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """Answer greedily; `seconds` is each answer's even share of the time for all of them."""
        began = time.perf_counter()
        prompts = [self.prompt(conversation) for conversation in conversations]
        answers = generate(self.model, prompts, decoding.max_tokens or self.max_new_tokens)
        texts = [str(self.model.tokenizer.decode(answer, skip_special_tokens=True)).strip() for answer in answers]
        seconds = (time.perf_counter() - began) / max(1, len(prompts))
        return [
            Answer(
                text,
                prompt_tokens=len(prompt),
                answer_tokens=len(answer),
                seconds=seconds,
                prompt=str(self.model.tokenizer.decode(prompt)),
            )
            for text, prompt, answer in zip(texts, prompts, answers, strict=True)
        ]

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """See `Assistant`."""
        (answer,) = self.answer([conversation], decoding)
        yield answer.text
        return answer

    def nats(self, texts: Sequence[str]) -> list[float]:
        """The negative log-likelihood of each text in nats, summed over all of its tokens; 0.0 for an empty text.

        Every token counts, the first too: it is predicted from the model's start token. A text longer than `WINDOW`
        tokens is read in windows that overlap by `SHARED` tokens, and each token is counted once.
        """
        windows = [
            (row, window)
            for row, text in enumerate(texts)
            for window in _windows(
                self.model.start_token,
                self.model.tokenizer(text, add_special_tokens=False)["input_ids"],
                min(WINDOW, self.model.context),
            )
        ]
        windows.sort(key=lambda window: -len(window[1][0]))
        sums = [0.0] * len(texts)
        while windows:
            size = max(1, MOST_TOKENS // len(windows[0][1][0]))
            batch, windows = windows[:size], windows[size:]
            for (row, _), nats in zip(batch, _measure(self.model, [window for _, window in batch]), strict=True):
                sums[row] += nats
        return sums


def _windows(start: int, tokens: Sequence[int], size: int) -> Iterator[tuple[list[int], int]]:
    """(tokens of a window, how many of its last ones count) until every token was counted once."""
    whole, counted = [start, *tokens], 1
    while counted < len(whole):
        begin = max(0, counted - min(SHARED, size // 2))
        window = whole[begin : begin + size]
        yield window, begin + len(window) - counted
        counted = begin + len(window)


@torch.inference_mode()
def _measure(model: Model, windows: Sequence[tuple[list[int], int]]) -> list[float]:
    """The nats of the counted tokens of each window, in one batch padded at the right, where no token looks."""
    longest = max(len(tokens) for tokens, _ in windows)
    ids_BT = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in windows], device=model.device)
    logits_BTV = model.net(input_ids=ids_BT, use_cache=False).logits
    found = []
    for row, (tokens, count) in enumerate(windows):
        last = len(tokens)
        logits_TV = logits_BTV[row, last - count - 1 : last - 1].float()
        found.append(functional.cross_entropy(logits_TV, ids_BT[row, last - count : last], reduction="sum").item())
    return found
