"""Conversations and raw text → token ids with a loss mask: what is learned is exactly what would be generated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Kept, Message


class Tokenizer(Protocol):
    """What is needed of a Hugging Face fast tokenizer."""

    eos_token_id: int
    chat_template: Any

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...

    def __call__(self, text: str, **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """One training sequence: `ids` are its tokens and `learned[i]` says whether token i is a target of the loss."""

    ids: tuple[int, ...]
    learned: tuple[bool, ...]
    source: str = ""

    @property
    def targets(self) -> int:
        """How many tokens the loss counts: learned ones, but never the first, which nothing predicts."""
        return sum(self.learned[1:])


def render(messages: Sequence[Message], tokenizer: Tokenizer, answer_next: bool) -> str:
    """The text a model reads for a conversation, by its own chat template."""
    if not tokenizer.chat_template:
        raise Fixable("this model has no chat template", "choose a model tuned to chat (an 'instruct' model)")
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer_next)
    return str(text)


def encode_example(example: Example, tokenizer: Tokenizer) -> Encoded:
    """Tokens of a conversation; learned are the assistant's turns with their end-of-turn token, nothing else.

    The spans are found by rendering what the model will have read when it begins each answer. A template that renders
    an earlier turn differently later on (some hide past reasoning) cannot be masked exactly and is refused.
    """
    text = render(example.messages, tokenizer, answer_next=False)
    spans = []
    for position, message in enumerate(example.messages):
        if message.role != "assistant":
            continue
        before = render(example.messages[:position], tokenizer, answer_next=True)
        after = render(example.messages[: position + 1], tokenizer, answer_next=False)
        if not (after.startswith(before) and text.startswith(after.rstrip())):
            raise Fixable(
                "this model's chat template renders earlier turns differently once the conversation goes on, so the "
                "tokens to learn cannot be told apart",
                "split the conversation into one example a turn",
                example.place,
            )
        spans.append((len(before), len(after.rstrip())))
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    learned = tuple(
        any(start < until and end > since for since, until in spans) and end > start
        for start, end in tokens["offset_mapping"]
    )
    return Encoded(tuple(tokens["input_ids"]), learned, example.place or example.id)


def encode_examples(
    examples: Iterable[Example], tokenizer: Tokenizer, longest: int
) -> tuple[tuple[Encoded, ...], Kept]:
    """Encode examples; those over `longest` tokens are cut at the end, those left with nothing to learn are dropped."""
    kept, came, cut, empty = [], 0, 0, 0
    for example in examples:
        came += 1
        whole = encode_example(example, tokenizer)
        encoded = Encoded(whole.ids[:longest], whole.learned[:longest], whole.source)
        if not encoded.targets:
            empty += 1
            continue
        cut += len(whole.ids) > longest
        kept.append(encoded)
    dropped = {"with nothing to learn": empty} if empty else {}
    what = f"examples ({cut} cut at {longest:,} tokens)" if cut else "examples"
    return tuple(kept), Kept(came, len(kept), dropped, what)


def encode_documents(documents: Iterable[Document], tokenizer: Tokenizer, block: int) -> tuple[Encoded, ...]:
    """Raw text to go on pretraining with: each document with an end-of-text token, in blocks of at most `block` tokens.

    Every token is learned. A block begins with the last token of the one before it, so that no token is left out.
    """
    blocks = []
    for document in documents:
        ids = [*tokenizer(document.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for start in range(0, max(1, len(ids) - 1), block - 1):
            piece = tuple(ids[start : start + block])
            if len(piece) > 1:
                blocks.append(Encoded(piece, (True,) * len(piece), f"{document.source}, token {start}"))
    return tuple(blocks)
