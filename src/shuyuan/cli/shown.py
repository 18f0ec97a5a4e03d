"""How an answer is shown in a terminal: its text with the numbers of its sources, then the sources and what it cost."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shuyuan.base.chinese import listed, told, word
from shuyuan.base.errors import Fixable
from shuyuan.base.progress import human_seconds, say
from shuyuan.base.records import Answer, Assistant, Citation, Conversation
from shuyuan.base.workspace import Workspace

if TYPE_CHECKING:
    from shuyuan.examine.results import Exam
    from shuyuan.teach.preflight import Preflight

UNSUPPORTED = "[?]"


def in_mode(assistant: Assistant, mode: str) -> Assistant:
    """The assistant in another mode; `Fixable` when it has no library, and so no mode."""
    from shuyuan.recall.grounded import GroundedAssistant

    if not isinstance(assistant, GroundedAssistant):
        raise Fixable(
            f"'{assistant.name}' has no library, so it has no mode", "ask --with one that was taught retrieve"
        )
    return assistant.in_mode(mode)


def day(at: float) -> str:
    """The date of a moment, seconds since 1970."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%d")


def shortened(text: str, most: int = 56) -> str:
    """A text in one line of a table."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def keep_asked(workspace: Workspace, assistant: Assistant, conversation: Conversation, answer: Answer) -> None:
    """Keep the question where it was put to a library; that this cannot be done does not spoil the answer."""
    from shuyuan.recall.asked import keep

    try:
        keep(workspace.material, assistant, conversation, answer)
    except Fixable as error:
        say(f"the question was not kept: {error.what}")


def cited(workspace: Workspace, citation: Citation) -> dict[str, Any]:
    """A citation with the headings above it."""
    document = workspace.material.document(citation.source)
    return {**asdict(citation), "headings": document.headings_at(citation.start) if document else ()}


def marked(answer: Answer) -> str:
    """The text with `[1]` behind each sentence that source 1 speaks for, and `[?]` behind those that none does."""
    marks: dict[int, list[str]] = {}
    for number, citation in enumerate(answer.citations, 1):
        for _, end in citation.supports:
            marks.setdefault(end, []).append(f"[{number}]")
    for _, end in answer.unsupported:
        marks.setdefault(end, []).append(UNSUPPORTED)
    text, done = "", 0
    for end in sorted(marks):
        text, done = f"{text}{answer.text[done:end]} {''.join(marks[end])}", end
    return text + answer.text[done:]


def sources(workspace: Workspace, answer: Answer) -> str:
    """The numbered places that the answer cites, each with its exact span and words."""
    lines = []
    for number, place in enumerate((cited(workspace, citation) for citation in answer.citations), 1):
        page = [told(f"page {place['page']}")] if place["page"] else []
        path = " > ".join((listed((place["source"], *page)), *place["headings"]))
        span = told(f"characters {place['start']}–{place['end']}")
        lines += [f"[{number}] {listed((path, span))}", f"    “{place['quote']}”"]
    return "\n".join(lines)


def footer(name: str, answer: Answer) -> str:
    """One line: who answered, what to think of it, and what it cost."""
    states = [word("refused")] if answer.refused else [told("beyond the library")] if answer.beyond else []
    if answer.unsupported and not answer.beyond:
        states.append(f"{UNSUPPORTED} {told('not from the library')}")
    tokens = told(f"{answer.prompt_tokens:,} + {answer.answer_tokens:,} tokens")
    return " · ".join((f"— {name}", *states, human_seconds(answer.seconds), tokens))


def looked_over(found: Preflight) -> str:
    """What was found before teaching; the sample in it is the material's own words."""
    sample = found.sample.replace("\n", "\n  ")
    ahead, sample, after = str(found).partition(sample)
    return told(ahead) + sample + told(after)


def report_of(exam: Exam) -> str:
    """Where an exam's report lies."""
    return told(f"report: {exam.folder.resolve() / 'report.html'}")
