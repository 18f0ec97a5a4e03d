"""The plain frozen records that cross a doorway between rooms."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self

from shuyuan.base.guards import Guards

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a document: `start` is its character offset, `level` 1 is the highest."""

    start: int
    level: int
    title: str


class Box(NamedTuple):
    """A rectangle of a page and the offset of the first character in it.

    Edges are in thousandths of the page's width and height, from its top left; pages count from 1.
    """

    start: int
    page: int
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Document:
    """One file's canonical text, with what is needed to point back to its place.

    `source` is the path relative to the folder that was added (POSIX slashes); `id` is derived from it. `pages` holds
    the character offset at which each page starts (empty where a format has no pages), `boxes` where its lines stand.
    `first_line`: the file's line with which the text begins, where the text's lines are the file's own (0: they are
    not). `left_out` says what of the file could not be read. `sha256` is of the file's bytes.
    """

    id: str
    source: str
    title: str
    text: str
    sha256: str
    language: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()
    first_line: int = 0
    left_out: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The document that was written as JSON, by this version or an older one."""
        headings = tuple(Heading(**heading) for heading in row["headings"])
        boxes = tuple(Box(*box) for box in row.get("boxes", ()))
        return cls(**{**row, "headings": headings, "pages": tuple(row["pages"]), "boxes": boxes})

    def page_at(self, offset: int) -> int | None:
        """The 1-based page that holds a character offset, or None where the format has no pages."""
        return bisect_right(self.pages, offset) if self.pages else None

    def headings_at(self, offset: int) -> tuple[str, ...]:
        """The path of heading titles above a character offset, highest first."""
        path: list[str] = []
        lowest = 1_000
        for index in range(bisect_right(self.headings, offset, key=_start) - 1, -1, -1):
            heading = self.headings[index]
            if heading.level < lowest:
                path.append(heading.title)
                lowest = heading.level
            if lowest <= 1:
                break
        return tuple(reversed(path))

    def boxes_of(self, start: int, end: int) -> tuple[Box, ...]:
        """One box a page around the text from `start` to `end`."""
        first = max(0, bisect_right(self.boxes, start, key=_start) - 1)
        around: dict[int, Box] = {}
        for box in self.boxes[first : bisect_right(self.boxes, end - 1, key=_start)]:
            have = around.get(box.page)
            around[box.page] = box if have is None else _union(have, box)
        return tuple(around.values())


def _start(placed: Heading | Box) -> int:
    return placed.start


def _union(one: Box, other: Box) -> Box:
    low = (min(one.left, other.left), min(one.top, other.top))
    return Box(one.start, one.page, *low, max(one.right, other.right), max(one.bottom, other.bottom))


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document to look up: `document.text[start:end] == text`, exactly.

    `page`, `line`: where it begins, in formats that have them; `boxes`: where it stands, one a page. `context`: what a
    model wrote of where it stands, in an index only: it is searched, never shown, cited or held to be true.
    """

    id: str
    document_id: str
    source: str
    start: int
    end: int
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None
    boxes: tuple[Box, ...] = ()
    context: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The passage that was written as JSON, by this version or an older one."""
        boxes = tuple(Box(*box) for box in row.get("boxes", ()))
        return cls(**{**row, "headings": tuple(row["headings"]), "boxes": boxes})

    @property
    def searchable(self) -> str:
        """The text with its title, heading path and context in front: what is embedded and indexed, never cited."""
        path = " > ".join((self.source.rsplit("/", 1)[-1], *self.headings))
        return "\n".join((path, self.context, self.text) if self.context else (path, self.text))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    `learned` False: an assistant's turn that is read but not learned. `tool_calls` is a JSON list as in OpenAI's API.
    """

    role: Role
    content: str
    learned: bool = True
    tool_calls: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """Something to learn from: a conversation whose assistant turns are learned. `place` is where it came from.

    `tools` is a JSON list of the functions that could be called, as in OpenAI's API. `rejected` is another ending,
    worse than the one in `messages`: it stands in place of all from the first learned turn on.
    """

    id: str
    messages: tuple[Message, ...]
    fact: str = ""
    place: str = ""
    tools: str = ""
    rejected: tuple[Message, ...] = ()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The example that was written as JSON, by this version or an older one."""
        endings = {name: tuple(Message(**turn) for turn in row.get(name, ())) for name in ("messages", "rejected")}
        return cls(**{**row, **endings})

    @property
    def turns(self) -> tuple[Message, ...]:
        """Everything that is said in it, the rejected ending too."""
        return self.messages + self.rejected

    @property
    def replies(self) -> tuple[str, ...]:
        """All that is answered in it, the rejected ending's answers too."""
        return tuple(message.content for message in self.turns if message.role == "assistant")

    @property
    def content(self) -> tuple[Any, ...]:
        """What a fingerprint is made of; without a rejected ending it is what it always was."""
        endings = (self.messages, self.rejected) if self.rejected else (self.messages,)
        return tuple([(m.role, m.content, m.learned, m.tool_calls) for m in ending] for ending in endings)

    def with_rejected(self) -> Self:
        """The conversation with its other ending."""
        kept = takewhile(lambda turn: turn.role != "assistant" or not turn.learned, self.messages)
        return replace(self, messages=(*kept, *self.rejected), rejected=())


@dataclass(frozen=True, slots=True)
class Question:
    """Something to be examined on. No `answers` means that the right thing to do is to refuse.

    `answers` are alternative right wordings; `evidence` is a sentence of the document `source` that proves them.
    Questions about one `fact` are one cluster: intervals resample facts, not wordings. `kind` is what it tries
    (`reversed`, `two-passage`, …), `made` how a program made it (empty: a person wrote it). `choices`: the possible
    answers of a multiple-choice question, a right one among them.
    """

    id: str
    text: str
    answers: tuple[str, ...]
    language: str
    fact: str
    source: str = ""
    evidence: str = ""
    place: str = ""
    kind: str = ""
    made: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """A place in a document that supports an answer: `document.text[start:end] == quote`.

    `supports` holds start and end of the sentences of the answer's text that it speaks for.
    """

    source: str
    start: int
    end: int
    quote: str
    page: int | None = None
    passage_id: str = ""
    supports: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is to be written. The default is greedy, to the length that the assistant itself allows.

    `temperature` 0: the most likely token; else tokens are drawn, always the same ones for one `seed`, from the
    smallest set that holds `top_p` of the probability. `stop`: texts before which the answer ends. `logprobs`: how many
    alternatives are told for each token (None: not even the token's own). `schema`: a JSON schema that the answer keeps
    to, as JSON ("{}": any JSON object). `tools`: a JSON list of functions the model may call, as in OpenAI's API.
    """

    max_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    schema: str = ""
    tools: str = ""


GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that was said, its natural log probability, and the likeliest alternatives with theirs."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an assistant said, where it has it from, and what saying it cost.

    `retrieved` lists passage ids, best first, whether or not they are cited. `refused`: the library holds no answer and
    the assistant says so. `beyond`: the text is not from the library (chat mode says so to the reader). `unsupported`
    holds start and end of the sentences of `text` that nothing in the library speaks for (assistants without a library
    cannot tell). `cut`: the answer ended at its greatest length, not by itself. `seconds` is wall time. `prompt` is the
    whole text that the model read, as its chat template rendered it ("" where that is not known). `answerable`: the
    log-odds, by a model that learned to read, that what it read before a question holds the answer; None: not known.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    retrieved: tuple[str, ...] = ()
    refused: bool = False
    beyond: bool = False
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cut: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()
    unsupported: tuple[tuple[int, int], ...] = ()
    prompt: str = ""
    answerable: float | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The answer that was written as JSON, by this version or an older one."""
        cited = [{**citation, "supports": _spans(citation.get("supports", ()))} for citation in row["citations"]]
        told = [TokenLogprob(t["token"], t["logprob"], tuple(map(tuple, t["top"]))) for t in row.get("logprobs", ())]
        read = {
            "citations": tuple(Citation(**citation) for citation in cited),
            "retrieved": tuple(row.get("retrieved", ())),
            "unsupported": _spans(row.get("unsupported", ())),
            "logprobs": tuple(told),
        }
        return cls(**{**row, **read})


def _spans(pairs: Sequence[Sequence[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((start, end) for start, end in pairs)


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's value over `n` items with its 95 % interval, and the signature that lets others repeat it."""

    metric: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Lessons:
    """The material a route may learn from. Exam questions are never in it: `prepare` splits them off first.

    Documents and examples may be more than memory holds: they are read from the disk as they are needed. `held_out`
    are examples to measure on and never to learn; without any, some of the examples are kept aside.
    """

    documents: Sequence[Document] = ()
    passages: Sequence[Passage] = ()
    examples: Sequence[Example] = ()
    held_out: Sequence[Example] = ()


Conversation = Sequence[Message]


class Assistant(Protocol):
    """Anything that answers. Exam, server, page and export never ask which route made it."""

    @property
    def name(self) -> str:
        """The name it has in its workspace: `prompt`, `lora`, `lora+retrieve`, …"""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        """Answer each conversation (its last message is the user's), in one batch or several; from any thread."""

    def stream(self, conversation: Conversation, decoding: Decoding = GREEDY) -> Generator[str, None, Answer]:
        """Say one answer piece by piece; the pieces joined are the text of the `Answer` it returns at its end.

        Closing the generator ends the work. Several may run at once, in threads of their own.
        """

    def nats(self, texts: Sequence[str]) -> list[float]:
        """The negative log-likelihood of each text in nats, summed over its tokens, for bits per byte."""


def ask(text: str) -> tuple[Message, ...]:
    """The conversation of one question."""
    return (Message("user", text),)


@dataclass(frozen=True, slots=True)
class Kept:
    """How many things came in, how many were kept, and why the others were not: `came == kept + sum(dropped)`."""

    came: int
    kept: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    what: str = "items"

    def __str__(self) -> str:
        if not self.dropped:
            return f"kept {self.kept:,} {self.what}"
        reasons = ", ".join(f"{count:,} {why}" for why, count in sorted(self.dropped.items(), key=lambda d: -d[1]))
        return f"kept {self.kept:,} of {self.came:,} {self.what}: {reasons}"


@dataclass(frozen=True, slots=True)
class Run:
    """Where one teaching keeps what a person can read: settings, log, checkpoints, weights, scores, card.

    `cache` is the workspace's own folder for what can be made again (embeddings); workspaces never share it.
    `embedder` is the workspace's model that places texts for search. `material` is the file of its records, which say
    who may see which document (None: everyone sees everything).
    A rehearsal stops before anything is taught: `dry` only looks, `tune_seconds` > 0 tries learning rates and epochs.
    """

    name: str
    folder: Path
    cache: Path
    seed: int = 0
    embedder: str = "multilingual-e5-small"
    guards: Guards = field(default_factory=Guards)
    dry: bool = False
    tune_seconds: float = 0.0
    material: Path | None = None
