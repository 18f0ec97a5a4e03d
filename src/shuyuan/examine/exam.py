"""The exam: open the assistants one after another, let each sit the same papers, score, and write the report."""

from __future__ import annotations

import datetime
import glob
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
from shuyuan.examine.machine import machine
from shuyuan.examine.marking import VERSION, mark
from shuyuan.examine.papers import USUAL, Paper, pick
from shuyuan.examine.power import foresight
from shuyuan.examine.relevance import relevant_passages
from shuyuan.examine.results import BASE, Exam, write_sitting
from shuyuan.examine.sitting import Asking, Candidate, Cost, sit
from shuyuan.prepare.leak import check_leaks
from shuyuan.recall.leaks import refuse_leaks
from shuyuan.teach.teaching import open_assistant, stale


def exam(
    workspace: Workspace,
    assistants: Sequence[str] = (),
    name: str = "",
    *,
    papers: Sequence[str] = USUAL,
    questions: int = 0,
    general: int = 0,
    k: int = 5,
    seed: int = 0,
    asking: Asking | None = None,
) -> Exam:
    """Examine assistants of a workspace by name (none named: all, the bare model included).

    `papers` names the papers; knowledge is always among them, for the verdict rests on it.
    `questions` and `general` limit how many of the workspace's questions and of the general items are asked (0: all);
    `k` is recall@k's; `asking` says how everybody is asked (None: greedily). Answers already given are kept, those of
    other exams too, so a killed exam goes on where it stopped. The folder
    `exams/<name>` (default `exam`) then holds paper, answers, scores and report. Raises Fixable for an unknown
    assistant, a workspace without questions, and questions that leaked into the lessons.
    """
    refuse_leaks(workspace, workspace.material.examples())
    names = list(dict.fromkeys(assistants)) or [BASE, *workspace.runs()]
    candidates = [candidate(workspace, each) for each in names]
    sat = chosen_papers(workspace, papers, k=k, general=general, seed=seed)
    return hold(workspace, candidates, sat, name or "exam", questions=questions, seed=seed, asking=asking)


def chosen_papers(
    workspace: Workspace, names: Sequence[str] = USUAL, *, k: int = 5, general: int = 0, seed: int = 0
) -> tuple[Paper, ...]:
    """The papers of these names, in the order of the shelf, knowledge among them. Raises Fixable for an unknown one."""
    given: dict[str, dict[str, Any]] = {
        "knowledge": {"k": k},
        "forgetting": {"items": general},
        "held-out": {"documents": workspace.material.held_out()},
    }
    found = []
    for name in sorted({"knowledge", *names}, key=[*USUAL, *choices("examine"), *names].index):
        kind = choose("examine", name)
        seeded = {"seed": seed} if "seed" in kind.model_fields else {}
        found.append(kind.of({**given.get(name, {}), **seeded}))
    return tuple(found)


def candidate(workspace: Workspace, name: str) -> Candidate:
    """An assistant of the workspace as the exam sees it: what it is made of, what that cost, how to open it."""
    chain: list[Mapping[str, Any]] = []
    made: list[Mapping[str, Any]] = []
    on = name
    while on != BASE:
        done = finished(workspace.run(on))
        if done is None:
            raise Fixable(f"there is no assistant '{on}' here", near_miss(on, [BASE, *workspace.runs()]))
        chain.append(done)
        curve = workspace.run(on).folder / "curve.json"
        made.insert(0, {"name": on, **done, **({"curve": read_json(curve)} if curve.exists() else {})})
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
    key = fingerprint(__version__, workspace.choices.model_dump(), chain)  # another version may answer otherwise
    changing = [done for done in chain if _changes_weights(str(done.get("route")))]
    weights = fingerprint(__version__, workspace.choices.model_dump(), changing)
    return Candidate(name, key, partial(open_assistant, workspace, name), cost, tuple(made), weights)


def _changes_weights(route: str) -> bool:
    """What the route says of itself; one of a package that is no longer here may have changed them."""
    return route not in choices("teach") or getattr(choose("teach", route), "changes_weights", True)


def hold(
    workspace: Workspace,
    candidates: Iterable[Candidate],
    papers: Sequence[Paper],
    name: str,
    *,
    questions: int = 0,
    seed: int = 0,
    asking: Asking | None = None,
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
    spoken = [pool for pool in pools if any(paper.spoken for paper in papers if paper.pool == pool)]
    asked = list({question.id: question for pool in spoken for question in pools[pool]}.values())
    texts = [text for paper in papers for text in (*paper.texts(), *paper.weighed(offered))]
    say(foresight(len({question.fact or question.id for question in material if question.answers})))
    asking = asking or Asking()
    folder = workspace.exam(name)
    with locked(folder / ".lock", "shuyuan exam"):
        _write_paper(folder, papers, pools, offered)
        relevant = relevant_passages(material, workspace.material.documents(), workspace.material.passages())
        assistants, sat = {}, list[Candidate]()
        for each in sorted(candidates, key=lambda one: (one.name != BASE, one.name)):
            file = folder / "answers" / f"{each.name}.jsonl"
            earlier = sorted(set(folder.parent.glob(f"*/answers/{glob.escape(each.name)}.jsonl")) - {file})
            same = [one for one in sat if one.weights == each.weights != ""]
            alike = {one.key: folder / "answers" / f"{one.name}.jsonl" for one in same}
            sit(each, asked, texts, file, asking=asking, earlier=earlier, alike=alike)
            sat.append(each)
            assistants[each.name] = {"key": each.key, "cost": asdict(each.cost), "made": each.made}
        about = {
            "name": name,
            "seed": seed,
            "settings": _settings(workspace, papers, questions, asking),
            "counts": _counts(workspace, material, pools, relevant),
            "relevant": relevant,
            "spoken": spoken,
            "machine": machine(),
        }
        write_sitting(folder, about, asking, assistants)
        result = mark(folder)
    say(f"report: {folder / 'report.html'}")
    return result


def _write_paper(
    folder: Path, papers: Sequence[Paper], pools: Mapping[str, Sequence[Question]], offered: Sequence[Question]
) -> None:
    """Keep what was asked, with its hash and the day it was first asked."""
    asked = {
        "questions": [asdict(question) for question in pools["material"]],
        "general": [asdict(question) for question in pools["general"]],
        "papers": {kebab_name(type(p)): {"version": p.version, **p.model_dump()} for p in papers},
        "exam": VERSION,
    }
    others = {name: [asdict(q) for q in of] for name, of in pools.items() if name not in ("material", "general")}
    asked |= {"pools": others, "offered": [asdict(question) for question in offered]}
    paper_hash, file = fingerprint(asked), folder / "paper.json"
    if not file.exists() or read_json(file)["hash"] != paper_hash:
        today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        write_json(file, {"hash": paper_hash, "made": today, **asked})


def _settings(workspace: Workspace, papers: Sequence[Paper], questions: int, asking: Asking) -> dict[str, Any]:
    return {
        **workspace.choices.model_dump(),
        "decoding": str(asking),
        "samples": asking.samples,
        "temperature": asking.decoding.temperature,
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
        "leaks": 0,  # one that is found stops the exam
        "documents": len(workspace.material.documents()),
        "passages": len(workspace.material.passages()),
        "examples": len(workspace.material.examples()),
    }
