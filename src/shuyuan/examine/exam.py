"""The exam: open the assistants one after another, let each sit the same papers, score, and write the report."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from shuyuan import __version__
from shuyuan.base.errors import Fixable, near_miss
from shuyuan.base.files import fingerprint, locked, read_json, write_json
from shuyuan.base.progress import say
from shuyuan.base.records import Question
from shuyuan.base.shelf import choices, choose, kebab_name
from shuyuan.base.workspace import Workspace, finished
from shuyuan.examine.figures import with_conclusions, with_figures
from shuyuan.examine.papers import Paper, pick
from shuyuan.examine.power import foresight
from shuyuan.examine.relevance import relevant_passages
from shuyuan.examine.report import write_report
from shuyuan.examine.results import BASE, Exam, read_exam, write_scores
from shuyuan.examine.scoring import score
from shuyuan.examine.sitting import DECODING, Candidate, Cost, sit
from shuyuan.prepare.leak import check_leaks
from shuyuan.recall.leaks import refuse_leaks
from shuyuan.teach.teaching import open_assistant, stale

VERSION = "1"  # of the exam's rules: what is asked, how it is marked and decided


DEFAULT = ("knowledge", "unanswerable", "forgetting")  # what is sat when no paper is named


def exam(
    workspace: Workspace,
    assistants: Sequence[str] = (),
    name: str = "",
    *,
    papers: Sequence[str] = DEFAULT,
    questions: int = 0,
    general: int = 0,
    k: int = 5,
    seed: int = 0,
) -> Exam:
    """Examine assistants of a workspace by name (none named: all, the bare model included).

    `papers` names the papers; knowledge is always among them, for the verdict rests on it.
    `questions` and `general` limit how many of the workspace's questions and of the general items are asked (0: all);
    `k` is recall@k's. Answers already given are kept, so a killed exam goes on where it stopped. The folder
    `exams/<name>` (default `exam`) then holds paper, answers, scores and report. Raises Fixable for an unknown
    assistant, a workspace without questions, and questions that leaked into the lessons.
    """
    refuse_leaks(workspace, workspace.material.examples())
    names = list(dict.fromkeys(assistants)) or [BASE, *workspace.runs()]
    candidates = [candidate(workspace, each) for each in names]
    sat = chosen_papers(workspace, papers, k=k, general=general, seed=seed)
    return hold(workspace, candidates, sat, name or "exam", questions=questions, seed=seed)


def chosen_papers(
    workspace: Workspace, names: Sequence[str] = DEFAULT, *, k: int = 5, general: int = 0, seed: int = 0
) -> tuple[Paper, ...]:
    """The papers of these names, in the order of the shelf, knowledge among them. Raises Fixable for an unknown one."""
    given: dict[str, dict[str, Any]] = {
        "knowledge": {"k": k},
        "forgetting": {"items": general},
        "held-out": {"documents": workspace.material.held_out()},
    }
    found = []
    for name in sorted({"knowledge", *names}, key=[*DEFAULT, *choices("examine"), *names].index):
        kind = choose("examine", name)
        seeded = {"seed": seed} if "seed" in kind.model_fields else {}
        found.append(kind.of({**given.get(name, {}), **seeded}))
    return tuple(found)


def candidate(workspace: Workspace, name: str) -> Candidate:
    """An assistant of the workspace as the exam sees it: what it is made of, what that cost, how to open it."""
    chain: list[Mapping[str, Any]] = []
    on = name
    while on != BASE:
        done = finished(workspace.run(on))
        if done is None:
            raise Fixable(f"there is no assistant '{on}' here", near_miss(on, [BASE, *workspace.runs()]))
        chain.append(done)
        on = str(done.get("on") or BASE)
    cost = Cost(
        seconds=sum(float(done.get("seconds") or 0) for done in chain),
        cpu_seconds=sum(float(done.get("cpu_seconds") or 0) for done in chain),
        peak_bytes=max((int(done.get("peak_bytes") or 0) for done in chain), default=0),
        trained_tokens=sum(int(done.get("trained_tokens") or 0) for done in chain),
        routes=tuple(str(done.get("route")) for done in reversed(chain)),
    )

    if why := stale(workspace, name):
        say(f"{name} is examined as it was taught, though {why}")
    key = fingerprint(workspace.choices.model_dump(), chain)
    return Candidate(name, key, partial(open_assistant, workspace, name), cost)


def hold(
    workspace: Workspace,
    candidates: Iterable[Candidate],
    papers: Sequence[Paper],
    name: str,
    *,
    questions: int = 0,
    seed: int = 0,
) -> Exam:
    """Hold an exam for any candidates, whether or not they were taught here. Their order does not matter."""
    every = workspace.material.questions()
    material = pick([question for question in every if not question.choices], questions, seed)
    if not material:
        raise Fixable("there are no exam questions in this workspace", "add some: shuyuan add … --questions FILE")
    check_leaks(workspace.material.examples(), every)
    offered = (*material, *pick([question for question in every if question.choices], questions, seed))
    pools: dict[str, list[Question]] = {"material": [], "general": []}
    for paper in papers:
        pools.setdefault(paper.pool, []).extend(paper.questions(offered))
    asked = {question.id: question for paper in papers if paper.spoken for question in pools[paper.pool]}
    texts = [text for paper in papers for text in (*paper.texts(), *paper.weighed(offered))]
    say(foresight(len({question.fact or question.id for question in material if question.answers})))
    folder = workspace.exam(name)
    with locked(folder / ".lock", "shuyuan exam"):
        paper_hash = _write_paper(folder, papers, pools)
        sat, costs = {}, {}
        for each in sorted(candidates, key=lambda one: (one.name != BASE, one.name)):
            handed = sit(each, list(asked.values()), texts, folder / "answers" / f"{each.name}.jsonl")
            sat[each.name] = with_conclusions(papers, offered, handed)
            costs[each.name] = each.cost
        relevant = relevant_passages(material, workspace.material.documents(), workspace.material.passages())
        sheets, found = score(papers, pools, sat, relevant=relevant, costs=costs, seed=seed)
        sheets = with_figures(papers, pools, sat, sheets, seed)
        about = {
            "name": name,
            "version": f"{VERSION}+{'.'.join(str(paper.version) for paper in papers)}",
            "shuyuan": __version__,
            "paper": paper_hash,
            "seed": seed,
            "settings": _settings(workspace, papers, questions),
            "counts": _counts(workspace, material, pools, relevant),
        }
        write_scores(folder, about, sheets, found)
        result = read_exam(folder)
        write_report(result)
    say(f"report: {folder / 'report.html'}")
    return result


def _write_paper(folder: Path, papers: Sequence[Paper], pools: Mapping[str, Sequence[Question]]) -> str:
    """Keep what was asked, with the day it was first asked; return its hash."""
    asked = {
        "questions": [asdict(question) for question in pools["material"]],
        "general": [asdict(question) for question in pools["general"]],
        "papers": {kebab_name(type(p)): {"version": p.version, **p.model_dump()} for p in papers},
        "exam": VERSION,
    }
    others = {name: [asdict(q) for q in of] for name, of in pools.items() if name not in ("material", "general")}
    asked |= {"pools": others} if others else {}
    paper_hash, file = fingerprint(asked), folder / "paper.json"
    if not file.exists() or read_json(file)["hash"] != paper_hash:
        today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        write_json(file, {"hash": paper_hash, "made": today, **asked})
    return paper_hash


def _settings(workspace: Workspace, papers: Sequence[Paper], questions: int) -> dict[str, Any]:
    return {
        **workspace.choices.model_dump(),
        "decoding": DECODING,
        "questions": questions,
        "papers": {kebab_name(type(paper)): paper.model_dump() for paper in papers},
    }


def _counts(
    workspace: Workspace,
    material: Sequence[Question],
    pools: Mapping[str, Sequence[Question]],
    relevant: Mapping[str, Sequence[str]],
) -> dict[str, int]:
    answerable = [question for question in material if question.answers]
    return {
        "questions": len(material),
        "answerable": len(answerable),
        "unanswerable": len(material) - len(answerable),
        "facts": len({question.fact or question.id for question in answerable}),
        "not_asked": len(workspace.material.questions()) - len(material),
        "with_evidence": sum(1 for question in answerable if question.id in relevant),
        "general": len(pools["general"]),
        "documents": len(workspace.material.documents()),
        "passages": len(workspace.material.passages()),
        "examples": len(workspace.material.examples()),
    }
