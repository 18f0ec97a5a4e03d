"""A taught model with a library: what it is sure of by heart and the passages hold, and the rest read.

The assistant is asked the exam questions of its workspace twice: reading whenever something is near enough, and as it
answers. It reads with the model from before it was taught, and that model's reader. Beside it, the taught model without
the library. So are questions on facts that the documents hold and no lesson had: what it is sure of there is not so.
Intervals are 95 %, paired, over facts.

    python bench/by_heart.py WORKSPACE QUESTIONS --with lora+retrieve    # a demo's folder; twenty minutes on two cores
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from paired import keep, place, stamp

from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Answer, Question, ask
from shuyuan.base.workspace import Workspace, finished
from shuyuan.examine.statistics import compare
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.refusal import declined
from shuyuan.prepare.questions import exam_questions, read_questions
from shuyuan.recall.grounded import SURE, GroundedAssistant
from shuyuan.teach.teaching import open_assistant

AT_ONCE = 8
HEART, READ, BOTH = "by heart alone", "read, always", "by heart where the passages hold it"


def main() -> None:
    """Ask, mark, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("questions", type=Path, help="a file of questions, some of them on facts that were not taught")
    parser.add_argument("--with", dest="name", default="lora+retrieve", help="a taught assistant with a library")
    parser.add_argument("--every", type=int, default=1, help="ask every second, third … question")
    parser.add_argument("--most", type=int, default=100, help="questions on facts that were not taught")
    given = parser.parse_args()
    workspace = Workspace.open(given.workspace)
    questions = [question for question in workspace.material.questions() if not question.choices]
    there = [[q for q in questions if bool(q.answers) == known][:: given.every] for known in (True, False)]
    there.append(untaught(workspace, given.questions, given.most))
    done = finished(workspace.run(given.name))
    assert done, f"{given.name} is not taught yet"
    alone, both = open_assistant(workspace, str(done["on"])), open_assistant(workspace, given.name)
    assert isinstance(both, GroundedAssistant)
    reading = GroundedAssistant(given.name, replace(alone, learned=False), both.library, both.ground)  # type: ignore[type-var]
    answers = {name: asked(who, name, there) for name, who in ((HEART, alone), (READ, reading), (BOTH, both))}
    right = {
        name: [float(Accuracy().measure(a, q) or 0) for q, a in zip(there[0], of[0], strict=True)]
        for name, of in answers.items()
    }
    difference = compare((BOTH, np.array(right[BOTH])), (READ, np.array(right[READ])), [q.fact for q in there[0]])
    assert difference
    asks = f"--with {given.name} --every {given.every} --most {given.most}"
    command = f"python bench/by_heart.py DEMO {given.questions.name} {asks}"
    record = {
        **stamp(),
        "command": command,
        "sure": round(math.exp(SURE), 3),
        "n": [len(of) for of in there],
        "facts": len({q.fact for q in there[0]}),
        "rows": {name: row(of, there, right[name]) for name, of in answers.items()},
        "gain": [round(value, 3) for value in (difference.difference, difference.low or 0.0, difference.high or 0.0)],
    }
    keep("by_heart", given.name, record, drawn)
    say(drawn({given.name: record}))


def untaught(workspace: Workspace, file: Path, most: int) -> list[Question]:
    """Questions of a file, evenly taken, whose facts the workspace's documents hold and its own questions lack."""
    taught = {q.fact for q in workspace.material.questions()} | {e.fact for e in workspace.material.examples()}
    held = {document.source for document in workspace.material.documents()}
    questions = [q for q in exam_questions(read_questions(file)[0]) if q.answers and not q.choices]
    others = [q for q in questions if q.fact not in taught and q.source in held]
    return others[:: max(1, len(others) // most)][:most]


def asked(who: Any, name: str, there: Sequence[Sequence[Question]]) -> list[list[Answer]]:
    """The answers to the questions that have one, to those that have none, and to those that were not taught."""
    found: list[list[Answer]] = []
    for questions in there:
        found.append([])
        with Bar(name, len(questions), "questions") as bar:
            for start in range(0, len(questions), AT_ONCE):
                part = questions[start : start + AT_ONCE]
                found[-1] += who.answer([ask(question.text) for question in part])
                bar.advance(len(part))
    return found


def row(of: Sequence[Sequence[Answer]], there: Sequence[Sequence[Question]], right: Sequence[float]) -> dict[str, Any]:
    """The figures of one way to answer."""
    refused = [
        [declined(a, q) for q, a in zip(part, answers, strict=True)] for part, answers in zip(there, of, strict=True)
    ]
    whole = [answer for answers in of for answer in answers]
    known = [bool(Accuracy().measure(a, q)) for q, a in zip(there[2], of[2], strict=True)]
    return {
        "right": float(np.mean(right)),
        "refused": float(np.mean(refused[0])),
        "unanswerable_refused": float(np.mean(refused[1])) if refused[1] else None,
        "untaught_right": float(np.mean(known)),
        "untaught_wrong": float(np.mean([not (one or no) for one, no in zip(known, refused[2], strict=True)])),
        "tokens": float(np.mean([answer.prompt_tokens + answer.answer_tokens for answer in whole])),
        "seconds": float(np.mean([answer.seconds for answer in whole])),
    }


def drawn(record: Mapping[str, Any]) -> str:
    """The record for a reader."""
    head, _, rest = (__doc__ or "").partition("\n\n")
    lines = [f"# {head}", "", rest.partition("\n\n    ")[0], ""]
    for name, of in record.items():
        answerable, others, untaught = of["n"]
        lines += [f"## {name}", "", place(of), "", f"Sure: {of['sure']} a token.", ""]
        lines += [
            f"{answerable} questions on {of['facts']} facts, {others} that the documents do not answer, and {untaught}",
            "on facts that no lesson had.",
            "",
        ]
        lines += [
            "| | right | refused, of these | refused, without answer | not taught: right | … wrong | tokens | s |",
            "|-|-:|-:|-:|-:|-:|-:|-:|",
        ]
        for way, row in of["rows"].items():
            shares = ("right", "refused", "unanswerable_refused", "untaught_right", "untaught_wrong")
            cells = [f"{100 * row[key]:.1f} %" for key in shares]
            lines.append(f"| {way} | {' | '.join(cells)} | {row['tokens']:.0f} | {row['seconds']:.1f} |")
        low, high = (f"{100 * value:+.1f}" for value in of["gain"][1:])
        lines += ["", f"{BOTH} less {READ}: {100 * of['gain'][0]:+.1f} points right ({low} to {high}).", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
