"""Exams of the page: list, scores, answers, and the report as it was drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from shuyuan.base.errors import near_miss
from shuyuan.base.files import read_json, read_jsonl
from shuyuan.base.settings import Settings
from shuyuan.base.workspace import Workspace
from shuyuan.serve.access import Door, Visitor
from shuyuan.serve.gate import REPORT_POLICY
from shuyuan.serve.refusals import Refused
from shuyuan.teach.removing import quotes

router = APIRouter(prefix="/api/workspaces/{workspace}", tags=["exams"])
Reader = Annotated[Visitor, Depends(Door("read"))]


class Exams(Settings):
    """Endpoints under `/api/workspaces/{workspace}/exams`."""

    def routes(self) -> APIRouter:
        """The group's routes."""
        return router


class ExamBrief(BaseModel):
    """An exam in a list."""

    name: str
    at: float = Field(description="when it was scored last")
    assistants: list[str]
    winner: str | None
    questions: int


class ExamRow(BaseModel):
    """One answer that was given in an exam, as the exam keeps it."""

    id: str
    assistant: str
    question: str
    answers: list[str]
    said: str
    refused: bool
    marks: dict[str, float] = Field(description="paper/metric → what this answer was given")


@router.get("/exams")
def exams(visitor: Reader, workspace: str) -> list[ExamBrief]:
    """The exams that were sat, newest first."""
    here = Workspace.open(visitor.house.folder(visitor.workspace))
    found = []
    for name in reversed(seen_exams(visitor, visitor.workspace)):
        file = here.exam(name) / "scores.json"
        scores = read_json(file)
        found.append(
            ExamBrief(
                name=name,
                at=file.stat().st_mtime,
                assistants=list(scores["assistants"]),
                winner=scores["verdict"]["winner"],
                questions=int(scores["counts"].get("questions", 0)),
            )
        )
    return found


@router.get("/exams/{exam}")
def scores(visitor: Reader, workspace: str, exam: str) -> dict[str, Any]:
    """An exam's `scores.json` as it is: verdict, and each assistant's scores with intervals, marks and cost."""
    found: dict[str, Any] = read_json(_folder(visitor, exam) / "scores.json")
    return found


@router.get("/exams/{exam}/answers")
def answers(  # noqa: PLR0917  (an endpoint's parameters are named)
    visitor: Reader,
    workspace: str,
    exam: str,
    assistant: Annotated[str, Query(max_length=100)],
    skip: Annotated[int, Query(ge=0, le=1 << 40)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[ExamRow]:
    """What one assistant answered, question by question, with its marks."""
    folder = _folder(visitor, exam)
    paper, sheet = read_json(folder / "paper.json"), read_json(folder / "scores.json")["assistants"]
    if assistant not in sheet:
        raise Refused(404, f"'{assistant}' did not sit this exam", near_miss(assistant, sheet), code="not_found")
    rows = {row["id"]: row for row in read_jsonl(folder / "answers" / f"{assistant}.jsonl") if "answer" in row}
    asked = [one for one in [*paper["questions"], *paper["general"]] if one["id"] in rows]
    marks = sheet[assistant]["marks"]
    return [
        ExamRow(
            id=one["id"],
            assistant=assistant,
            question=one["text"],
            answers=one["answers"],
            said=rows[one["id"]]["answer"]["text"],
            refused=bool(rows[one["id"]]["answer"].get("refused")),
            marks={metric: given[one["id"]] for metric, given in marks.items() if one["id"] in given},
        )
        for one in asked[skip : skip + limit]
    ]


@router.get("/exams/{exam}/report.{form}", response_class=FileResponse)
def report(visitor: Reader, workspace: str, exam: str, form: Literal["html", "md"]) -> FileResponse:
    """The report: one page that needs no network, or the same as Markdown."""
    file = _folder(visitor, exam) / f"report.{form}"
    if not file.exists():
        raise Refused(404, "this exam has no report yet", "draw it: shuyuan report", code="not_found")
    kind = "text/html" if form == "html" else "text/markdown"
    return FileResponse(file, media_type=kind, headers={"Content-Security-Policy": REPORT_POLICY})


def seen_exams(visitor: Visitor, workspace: str) -> list[str]:
    """The exams of a workspace, oldest first, without those that quote a document which the visitor may not see."""
    with visitor.house.opened(workspace) as here:
        hidden = visitor.hidden(here)
        return [name for name in here.exams() if not quotes(here.exam(name), hidden)]


def _folder(visitor: Visitor, exam: str) -> Any:
    here = Workspace.open(visitor.house.folder(visitor.workspace))
    sat = seen_exams(visitor, visitor.workspace)
    if exam not in sat:
        raise Refused(404, f"there is no exam '{exam[:100]}'", near_miss(exam[:100], sat), code="exam_not_found")
    return here.exam(exam)
