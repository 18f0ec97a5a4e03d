"""Questions others ask: what was asked of a workspace's library, a page for each that was published, related ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from shuyuan.base.asked import Asked as Question
from shuyuan.base.asked import Keeping, Order, State
from shuyuan.base.material import Material
from shuyuan.base.records import Citation
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace
from shuyuan.recall.asked import related
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.limits import Body
from shuyuan.serve.refusals import Refused

router = APIRouter(prefix="/api/workspaces/{workspace}/asked", tags=["asked"])
Reader = Annotated[Visitor, Depends(Door("read"))]
Writer = Annotated[Visitor, Depends(Door("write"))]
Owner = Annotated[Visitor, Depends(Door("admin"))]
AROUND = 160  # characters of the document before and after a cited sentence
_BRIEF = 280  # characters of an answer in a list


class Asked(Settings):
    """Endpoints under `/api/workspaces/{workspace}/asked`. Who may not write there sees pages only."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class Neighbour(BaseModel):
    """A question near to another in meaning. Times are seconds since 1970."""

    id: str
    question: str
    last: float = Field(description="when it was last asked")


class AskedBrief(Neighbour):
    """A question in a list: `answer` is the beginning of it."""

    times: int = Field(description="how often it was asked, in all its wordings")
    first: float
    state: State = Field(description="withdrawn: a document that the answer cites was changed or removed")
    public: bool = Field(description="a page for everybody who may see the workspace; else for who may write in it")
    answer: str
    assistant: str = Field(description="who wrote the answer")
    answered: float = Field(description="when; 0: never")


class Reference(BaseModel):
    """A place that the answer cites, the characters from `start` to `end`, with the document's words around it."""

    source: str
    start: int
    end: int
    quote: str
    page: int | None
    supports: list[tuple[int, int]] = Field(description="characters of the answer's `text` that it speaks for")
    headings: list[str]
    before: str
    after: str


class AskedPage(AskedBrief):
    """A question with its whole answer, what it rests on, and its neighbours by meaning."""

    wordings: list[str] = Field(description="most asked first; to who may not write, the published one alone")
    text: str = Field(description="the answer; a model wrote it")
    model: str = Field(description="the name of the workspace's base model")
    unsupported: list[tuple[int, int]] = Field(description="characters of `text` that the sources do not speak for")
    references: list[Reference]
    related: list[AskedBrief]


class AskedList(BaseModel):
    """A page of a list, how many there are in all, what happens to questions that are asked now, and your rights."""

    data: list[AskedBrief]
    total: int
    keeping: Keeping
    may_write: bool = Field(description="publish and remove, and see what is no page")
    may_choose: bool = Field(description="choose what happens to questions")


class Publishing(Body):
    """Whether a question is a page for everybody who may see the workspace."""

    public: bool


class KeepingBody(Body):
    """What happens to questions: `off`, they are not kept; `private`; `public`: once answered, they are pages."""

    keeping: Keeping


@router.get("")
def asked_questions(
    visitor: Reader,
    workspace: str,
    *,
    find: Annotated[str, Query(max_length=200, description="words of a wording or of the answer")] = "",
    order: Annotated[Order, Query(description="asked last, or asked most often, first")] = "newest",
    state: State | None = None,
    skip: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AskedList:
    """The questions that were asked here."""
    with visitor.house.opened(visitor.workspace) as here:
        asked = here.material.asked
        found, total = asked.find(
            find, order, state, public=_pages_only(visitor), hidden=visitor.hidden(here), skip=skip, most=limit
        )
        return AskedList(
            data=[_brief(one) for one in found],
            total=total,
            keeping=asked.keeping(),
            may_write=not _pages_only(visitor),
            may_choose=visitor.may("admin", visitor.workspace),
        )


@router.put("", status_code=204)
def keep_questions(visitor: Owner, workspace: str, wanted: KeepingBody) -> None:
    """Choose what happens to questions that are asked from now on."""
    with visitor.house.opened(visitor.workspace) as here:
        here.material.asked.keep(wanted.keeping)


@router.get("/{question}")
def asked_question(visitor: Reader, workspace: str, question: str) -> AskedPage:
    """One question: the answer, its references with excerpts, related questions."""
    with visitor.house.opened(visitor.workspace) as here:
        found = here.material.asked.get(question)
        cited = {place.source for place in found.answer.citations} if found.answer else set()
        if (not found.public and _pages_only(visitor)) or cited.intersection(visitor.hidden(here)):
            raise Refused(404, f"there is no question '{question[:200]}'", code="not_found")
        near = related(here.material.asked, found.wordings[0], public=_pages_only(visitor), hidden=visitor.hidden(here))
        wordings = [found.text] if _pages_only(visitor) else list(found.wordings)
        return _page(here, found, wordings, [_brief(one) for one in near])


@router.put("/{question}", status_code=204)
def publish_question(visitor: Writer, workspace: str, question: str, wanted: Publishing) -> None:
    """Make a page of an answered question, or take it back."""
    with visitor.house.opened(visitor.workspace) as here:
        here.material.asked.publish(question, wanted.public)


@router.delete("/{question}", status_code=204)
def remove_question(visitor: Writer, workspace: str, question: str) -> None:
    """Forget a question with its wordings, vectors and answer."""
    with visitor.house.opened(visitor.workspace) as here:
        here.material.asked.remove(question)


def neighbours(visitor: Visitor, here: Workspace, text: str) -> list[Neighbour]:
    """Of the questions near to one that was just asked, those that a visitor may see."""
    near = related(here.material.asked, text, public=_pages_only(visitor), hidden=visitor.hidden(here))
    return [Neighbour(id=one.id, question=one.text, last=one.last) for one in near]


def _brief(one: Question) -> AskedBrief:
    text = one.answer.text if one.answer else ""
    return AskedBrief(
        id=one.id,
        question=one.text,
        times=one.times,
        first=one.first,
        last=one.last,
        state=one.state,
        public=one.public,
        answer=text if len(text) <= _BRIEF else f"{text[:_BRIEF]}…",
        assistant=one.assistant if one.answer else "",
        answered=one.answered,
    )


def _pages_only(visitor: Visitor) -> bool:
    return not visitor.may("write", visitor.workspace)


def _page(here: Workspace, one: Question, wordings: list[str], near: Sequence[AskedBrief]) -> AskedPage:
    said = one.answer
    return AskedPage(
        **_brief(one).model_dump(),
        wordings=wordings,
        text=said.text if said else "",
        model=here.choices.model.rpartition("#")[2].rpartition("/")[2],  # no path or address of this machine
        unsupported=list(said.unsupported) if said else [],
        references=[_reference(here.material, cited) for cited in said.citations] if said else [],
        related=list(near),
    )


def _reference(material: Material, cited: Citation) -> Reference:
    document = material.document(cited.source)
    text = document.text if document else ""
    place = {name: value for name, value in asdict(cited).items() if name in Reference.model_fields}
    return Reference(
        **place,
        headings=list(document.headings_at(cited.start)) if document else [],
        before=text[max(0, cited.start - AROUND) : cited.start],
        after=text[cited.end : cited.end + AROUND],
    )
