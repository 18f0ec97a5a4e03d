"""Conversations and raw text → token ids with a loss mask: what is learned is exactly what would be generated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from jinja2 import TemplateError

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Kept, Message


class Tokenizer(Protocol):
    """What is needed of a Hugging Face fast tokenizer."""

    eos_token_id: int
    chat_template: Any
    backend_tokenizer: Any

    def apply_chat_template(self, conversation: list[dict[str, Any]], **options: Any) -> Any: ...

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

    @property
    def parts(self) -> tuple[Encoded, ...]:
        """The sequences it is made of, which never see each other."""
        return (self,)


def render(messages: Sequence[Message], tokenizer: Tokenizer, answer_next: bool, tools: str = "") -> str:
    """The text a model reads for a conversation, by its own chat template; `tools` is a JSON list of functions."""
    if not tokenizer.chat_template:
        raise Fixable("this model has no chat template", "choose a model tuned to chat (an 'instruct' model)")
    turns = [_turn(message) for message in messages]
    offered = json.loads(tools) if tools else None
    text = tokenizer.apply_chat_template(turns, tools=offered, tokenize=False, add_generation_prompt=answer_next)
    return str(text)


def encode_example(example: Example, tokenizer: Tokenizer) -> Encoded:
    """Tokens of a conversation; learned are the assistant's turns with their end-of-turn token, nothing else.

    A turn that is only read (`Message.learned` False) is left out. The spans are found by rendering what the model
    will have read when it begins each answer. A template that renders an earlier turn differently later on (some hide
    past reasoning) cannot be masked exactly and is refused, and so is one that has no place for the tools.
    """
    try:
        text = render(example.messages, tokenizer, False, example.tools)
        _check_tools(example, tokenizer, text)
        spans = [
            _span(example, position, tokenizer, text)
            for position, message in enumerate(example.messages)
            if message.role == "assistant" and message.learned
        ]
    except TemplateError as error:
        raise Fixable(
            f"this model's chat template refuses the conversation: {error}",
            "change the roles and their order, or choose another model",
            example.place,
        ) from None
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    learned = tuple(
        any(start < until and end > since for since, until in spans) and end > start
        for start, end in tokens["offset_mapping"]
    )
    return Encoded(tuple(tokens["input_ids"]), learned, example.place or example.id)


def encode_examples(
    examples: Iterable[Example], tokenizer: Tokenizer, longest: int
) -> tuple[tuple[Encoded, ...], Kept]:
    """Encode examples; those over `longest` tokens are cut at the end, those left with nothing to learn are dropped.

    All in memory; `tokens.encode_on_disk` does the same for more than fits there.
    """
    tally = Counter[str]()
    kept = tuple(encode_each(examples, tokenizer, longest, tally))
    return kept, encoding_kept(tally, longest)


def encode_each(
    examples: Iterable[Example], tokenizer: Tokenizer, longest: int, tally: Counter[str]
) -> Iterator[Encoded]:
    """The encoded examples one by one; `tally` counts what `came`, was `cut` or had nothing to learn (`empty`)."""
    for example in examples:
        whole = encode_example(example, tokenizer)
        encoded = Encoded(whole.ids[:longest], whole.learned[:longest], whole.source)
        tally["came"] += 1
        if not encoded.targets:
            tally["empty"] += 1
            continue
        tally["cut"] += len(whole.ids) > longest
        yield encoded


def encoding_kept(tally: Counter[str], longest: int) -> Kept:
    """What `encode_each` counted, to be said."""
    dropped = {"with nothing to learn": tally["empty"]} if tally["empty"] else {}
    what = f"examples ({tally['cut']} cut at {longest:,} tokens)" if tally["cut"] else "examples"
    return Kept(tally["came"], tally["came"] - tally["empty"], dropped, what)


def _turn(message: Message) -> dict[str, Any]:
    """A message as templates read it: the arguments of a call are an object there, and a JSON text in OpenAI's API."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = json.loads(message.tool_calls)
        for call in turn["tool_calls"]:
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return turn


def _span(example: Example, position: int, tokenizer: Tokenizer, text: str) -> tuple[int, int]:
    """Where the answer at `position` stands in the rendered text, with the mark that ends it."""
    before = render(example.messages[:position], tokenizer, True, example.tools)
    last = position + 1 == len(example.messages)
    after = text if last else render(example.messages[: position + 1], tokenizer, False, example.tools)
    if not (after.startswith(before) and text.startswith(after.rstrip())):
        raise Fixable(
            "this model's chat template renders earlier turns differently once the conversation goes on, so the "
            "tokens to learn cannot be told apart",
            "split the conversation into one example a turn",
            example.place,
        )
    return len(before), len(after.rstrip())


def _check_tools(example: Example, tokenizer: Tokenizer, text: str) -> None:
    """Refuse a template that passes over tools, calls or their results: leaving them out must change the text."""
    messages = example.messages
    without: list[tuple[str, Sequence[Message], str]] = []
    if example.tools:
        without.append(("tools", messages, ""))
    if any(message.tool_calls for message in messages):
        without.append(("calls of tools", [replace(message, tool_calls="") for message in messages], example.tools))
    if any(message.role == "tool" and message.content for message in messages):
        blank = [replace(message, content="") if message.role == "tool" else message for message in messages]
        without.append(("results of tools", blank, example.tools))
    for what, fewer, tools in without:
        if render(fewer, tokenizer, False, tools) == text:
            raise Fixable(
                f"this model's chat template has no place for the {what}",
                "choose a model that was made to call tools, or leave these examples out",
                example.place,
            )


def encode_documents(
    documents: Iterable[Document], tokenizer: Tokenizer, block: int, start: Sequence[int] = ()
) -> tuple[Encoded, ...]:
    """Raw text to pretrain on: each document with an end-of-text token, in blocks of at most `block` tokens.

    Every token is learned. A block begins with the last token of the one before it, so that no token is left out. The
    tokens `start` stand before each document, for a model that is yet to learn how texts begin. Blank documents are
    left out.
    """
    blocks = []
    for document in documents:
        if not document.text.strip():
            continue
        ids = [*start, *tokenizer(document.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        for first in range(0, max(1, len(ids) - 1), block - 1):
            piece = tuple(ids[first : first + block])
            if len(piece) > 1:
                blocks.append(Encoded(piece, (True,) * len(piece), f"{document.source}, token {first}"))
    return tuple(blocks)
