"""Questions of the page: an answer whole or piece by piece, with its citations; the search behind it; tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from shuyuan.base.records import Answer, Assistant, Decoding, Message
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace
from shuyuan.serve.access import Door, Visitor, WithinBody
from shuyuan.serve.asked import Neighbour, neighbours
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused
from shuyuan.serve.speaking import Talk, while_there
from shuyuan.serve.sse import Event, begun, stream
from shuyuan.teach.teaching import default_assistant

router = APIRouter(prefix="/api/workspaces/{workspace}", tags=["ask"])
Asker = Annotated[Visitor, Depends(Door("ask"))]
MOST_CHARACTERS = 1_000_000  # of one text; the model's context ends long before
MOST_TOKENS_SHOWN = 10_000


class Asking(Settings):
    """Endpoints `/ask`, `/search` and `/tokens` of a workspace."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Turn(Body):
    """One earlier message of the conversation."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MOST_CHARACTERS)


class Question(Body):
    """What is asked, of whom, and how the answer is to be written."""

    question: str = Field(min_length=1, max_length=MOST_CHARACTERS, pattern=r"\S")
    history: list[Turn] = Field(default=[], max_length=200, description="the conversation so far, oldest first")
    assistant: str = Field(default="", max_length=100, description="empty: the workspace's default one")
    mode: Literal["query", "chat"] | None = Field(
        default=None, description="query: only from the library; chat: may go beyond it, and says so; none: as taught"
    )
    within: WithinBody | None = Field(default=None, description="only these documents are looked up; none: all")
    stream: bool = Field(
        default=False, description="as server-sent events: `piece` {text} …, then `answer`, or `error`"
    )
    max_tokens: int = Field(default=0, ge=0, le=1 << 17, description="0: as many as the assistant allows")
    temperature: float = Field(default=0, ge=0, le=2)
    top_p: float = Field(default=1, gt=0, le=1)
    seed: int = Field(default=0, ge=0, le=2**31)


class CitationBody(BaseModel):
    """The place of a document that supports an answer: its characters from `start` to `end` are the `quote`."""

    source: str
    start: int
    end: int
    quote: str
    page: int | None
    passage_id: str
    supports: list[tuple[int, int]] = Field(
        description="characters of the answer's `text` that it speaks for, sentence by sentence"
    )
    headings: list[str]


class AnswerBody(BaseModel):
    """An answer, where it has it from, and what it cost."""

    assistant: str
    text: str
    citations: list[CitationBody]
    retrieved: list[str] = Field(description="ids of the passages that were found, best first")
    refused: bool = Field(description="the library holds no answer, and the assistant says so")
    beyond: bool = Field(description="the text is not from the library")
    unsupported: list[tuple[int, int]] = Field(
        description="characters of `text` that the library does not speak for, sentence by sentence"
    )
    cut: bool = Field(description="it ended at its greatest length")
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    related: list[Neighbour] = Field(description="questions that others asked, near to this one in meaning")


class Opening(Body):
    """Who is about to be asked."""

    assistant: str = Field(default="", max_length=100, description="empty: the workspace's default one")


class SearchOrder(Body):
    """What to look for in the library of an assistant."""

    text: str = Field(min_length=1, max_length=10_000, pattern=r"\S")
    k: int = Field(default=10, ge=1, le=100)
    within: WithinBody | None = Field(default=None, description="only these documents; none: all")
    assistant: str = Field(default="", max_length=100, description="one with a library; empty: the default one")


class HitBody(BaseModel):
    """A passage that was found; `cosine`, `word_rank`: null where search by meaning, by words did not find it."""

    passage_id: str
    source: str
    start: int
    end: int
    text: str
    headings: list[str]
    page: int | None
    score: float
    cosine: float | None
    word_rank: int | None
    boxes: list[tuple[int, int, int, int, int]] = Field(
        description="where it stands: page, then left, top, right, bottom in thousandths of the page"
    )


class Found(BaseModel):
    """What was found, best first; `threshold` is the cosine below which the library counts as silent, by language."""

    assistant: str
    hits: list[HitBody]
    thresholds: dict[str, float]


class TokenOrder(Body):
    """A text to be cut into tokens."""

    text: str = Field(max_length=MOST_CHARACTERS)
    assistant: str = Field(default="", max_length=100, description="whose model; empty: the base model")


class TokenBody(BaseModel):
    """One token: the characters from `start` to `end`."""

    id: int
    text: str
    start: int
    end: int


class TokenCount(BaseModel):
    """How many tokens a text costs for a model."""

    model: str
    count: int


class Tokens(BaseModel):
    """A text as a model reads it; only the first 10,000 tokens are listed."""

    model: str
    count: int
    characters: int
    tokens: list[TokenBody]
    others: list[TokenCount] = Field(description="for the other language models of the catalogue that are here")


@router.post(
    "/ask",
    responses={200: {"content": {"text/event-stream": {"schema": {}}}, "model": AnswerBody}},
    response_model=AnswerBody,
)
async def ask(request: Request, visitor: Asker, workspace: str, question: Question) -> Any:
    """Ask an assistant: whole, or as events while it is written."""
    house, here = visitor.house, visitor.workspace
    name = await run_in_threadpool(_named, visitor, question.assistant)
    if question.max_tokens > house.bounds.answer_tokens:
        raise Refused(422, f"at most {house.bounds.answer_tokens:,} tokens may be asked for", param="max_tokens")
    turns = [*(Message(turn.role, turn.content) for turn in question.history), Message("user", question.question)]
    decoding = Decoding(question.max_tokens, question.temperature, question.top_p, question.seed)
    talk = Talk(here, partial(_in_mode, visitor, name, question), turns, decoding)
    if not question.stream:
        answer = await while_there(request, house.speaker.answer(talk))
        return await run_in_threadpool(answer_body, visitor, name, question.question, answer)

    async def events() -> AsyncGenerator[Event, None]:
        async for piece in house.speaker.pieces(talk):
            if isinstance(piece, str):
                yield Event({"text": piece}, "piece")
            else:
                said = await run_in_threadpool(answer_body, visitor, name, question.question, piece)
                yield Event(said.model_dump(), "answer")

    return stream(request, await while_there(request, begun(events())))


@router.post("/open", status_code=204)
def open_assistant(visitor: Asker, workspace: str, opening: Opening) -> None:
    """Open an assistant that is about to be asked: its first answer then need not wait for its model."""
    visitor.house.assistant(visitor, visitor.workspace, _named(visitor, opening.assistant))


@router.post("/search")
def search(visitor: Asker, workspace: str, wanted: SearchOrder) -> Found:
    """Look passages up, with the scores that ranked them."""
    from shuyuan.recall.grounded import GroundedAssistant

    name = wanted.assistant or default_assistant(Workspace.open(visitor.house.folder(visitor.workspace)))
    assistant = visitor.house.assistant(visitor, visitor.workspace, name, wanted.within)
    if not isinstance(assistant, GroundedAssistant):
        raise Refused(400, f"'{name}' has no library", "teach retrieve, and search that", param="assistant")
    hits = [
        HitBody(
            passage_id=hit.passage.id,
            source=hit.passage.source,
            start=hit.passage.start,
            end=hit.passage.end,
            text=hit.passage.text,
            headings=list(hit.passage.headings),
            page=hit.passage.page,
            score=hit.score,
            cosine=hit.cosine,
            word_rank=hit.word_rank,
            boxes=[(box.page, box.left, box.top, box.right, box.bottom) for box in hit.passage.boxes],
        )
        for hit in assistant.library.search(wanted.text, wanted.k)
    ]
    return Found(assistant=name, hits=hits, thresholds=dict(assistant.library.state.thresholds))


@router.post("/tokens")
def tokens(visitor: Asker, workspace: str, wanted: TokenOrder) -> Tokens:
    """How a model reads a text: its tokens, with the characters that each stands for."""
    name = wanted.assistant or "bare"
    if name not in visitor.house.names(visitor.workspace):
        raise Refused(404, f"there is no assistant '{name}'", code="assistant_not_found", param="assistant")
    tokenizer = visitor.house.tokenizer(visitor.workspace, name)
    read = tokenizer(wanted.text, add_special_tokens=False, return_offsets_mapping=True)
    spans = list(zip(read["input_ids"], read["offset_mapping"], strict=True))
    shown = [
        TokenBody(id=number, text=wanted.text[start:end], start=start, end=end)
        for number, (start, end) in spans[:MOST_TOKENS_SHOWN]
    ]
    others = [
        TokenCount(model=model, count=len(other(wanted.text, add_special_tokens=False)["input_ids"]))
        for model, other in visitor.house.other_tokenizers(visitor.workspace)
    ]
    return Tokens(model=name, count=len(spans), characters=len(wanted.text), tokens=shown, others=others)


@router.get("/passages")
def passages(
    visitor: Asker,
    workspace: str,
    ids: Annotated[list[Annotated[str, Field(max_length=100)]], Query(alias="id", min_length=1, max_length=100)],
) -> list[dict[str, Any]]:
    """Passages by id, for an answer's `retrieved`; ids that are not there any more are left out."""
    with visitor.house.opened(visitor.workspace) as here:
        view = visitor.view()
        found = {one.id: one for one in here.material.passages(ids) if here.marks.shows(view, one.source)}
    return [asdict(found[one]) for one in ids if one in found]


def answer_body(visitor: Visitor, name: str, question: str, answer: Answer) -> AnswerBody:
    """An answer as the page sees it: each citation with the headings above it, and what others asked."""
    cited = []
    with visitor.house.opened(visitor.workspace) as here:
        for citation in answer.citations:
            document = here.material.document(citation.source)
            headings = list(document.headings_at(citation.start)) if document else []
            cited.append(CitationBody(**asdict(citation), headings=headings))
        near = neighbours(visitor, here, question)
    return AnswerBody(
        assistant=name,
        text=answer.text,
        citations=cited,
        retrieved=list(answer.retrieved),
        refused=answer.refused,
        beyond=answer.beyond,
        unsupported=list(answer.unsupported),
        cut=answer.cut,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=answer.answer_tokens,
        seconds=answer.seconds,
        related=near,
    )


def _named(visitor: Visitor, assistant: str) -> str:
    """The assistant's name, or the default one's; `Refused` 404 where there is none of that name."""
    house, here = visitor.house, visitor.workspace
    name = assistant or default_assistant(Workspace.open(house.folder(here)))
    if name not in house.names(here):
        raise Refused(404, f"there is no assistant '{name}'", code="assistant_not_found", param="assistant")
    return name


def _in_mode(visitor: Visitor, name: str, question: Question) -> Assistant:
    from shuyuan.recall.grounded import GroundedAssistant

    mode = question.mode
    assistant = visitor.house.assistant(visitor, visitor.workspace, name, question.within)
    if mode is None:
        return assistant
    if not isinstance(assistant, GroundedAssistant):
        raise Refused(
            400, f"'{name}' has no library, so it has no mode", "ask one that was taught retrieve", param="mode"
        )
    return assistant.in_mode(mode)
