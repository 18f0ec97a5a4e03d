"""Does more material help? One route, taught on nested shares of the workspace, and examined on all of it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shuyuan.base.errors import Fixable
from shuyuan.base.files import write_json
from shuyuan.base.guards import Guards
from shuyuan.base.progress import say
from shuyuan.base.records import Question, Score
from shuyuan.base.shelf import choose
from shuyuan.base.workspace import Workspace
from shuyuan.examine.exam import candidate, hold
from shuyuan.examine.knowledge import Knowledge
from shuyuan.examine.report import write_report
from shuyuan.examine.results import BASE, MAIN, Exam
from shuyuan.examine.sitting import Candidate
from shuyuan.examine.statistics import intervals
from shuyuan.examine.unanswerable import Unanswerable
from shuyuan.teach.teaching import teach

CURVE = "curve.json"


@dataclass(frozen=True, slots=True)
class Point:
    """One share of the material: how many examples or documents it is, and what was right after they were taught.

    `everything` asks about all facts, `taught` only about those taught (None at 0). Both are means over the seeds, with
    intervals over facts; `by_seed` holds the first one's value for each seed.
    """

    share: float
    amount: int
    everything: Score
    taught: Score | None
    by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Growth with material: `what` is counted (`examples` or `documents`), and the points from nothing to all."""

    route: str
    settings: Mapping[str, Any]
    what: str
    seeds: tuple[int, ...]
    points: tuple[Point, ...]
    exam: str


@dataclass(frozen=True)
class _Share:
    """A part of the material as a workspace of its own, in which the route is taught as anywhere else."""

    workspace: Workspace
    share: float
    seed: int
    amount: int
    facts: frozenset[str]  # or sources: what the questions about it are known by


def curve(
    workspace: Workspace,
    route: str,
    settings: Mapping[str, Any] | None = None,
    *,
    shares: Sequence[float] = (0.25, 0.5, 1.0),
    seeds: Sequence[int] = (0,),
    questions: int = 0,
    guards: Guards | None = None,
) -> tuple[Curve, Exam]:
    """Teach a route on each share of the material, let all sit one exam, and keep the curve beside its scores.

    A route that learns examples gets shares of their facts, with all their wordings; another one shares of the
    documents. Each seed shuffles once, and its smaller shares are inside its larger ones. The exam is
    `exams/curve-<route>`; every teaching is kept in it, so a stopped curve goes on. Raises Fixable where there is too
    little to share out.
    """
    way = choose("teach", route)
    what = "examples" if getattr(way, "learns_examples", True) else "documents"
    name = f"curve-{route}"
    parts = list(_shares(workspace, what, sorted(set(shares)), seeds, workspace.exam(name) / "shares"))
    seated: list[tuple[_Share, Candidate]] = []
    for at, part in enumerate(parts, start=1):
        say(f"{at} of {len(parts)}: {route} on {part.amount:,} {what}, {part.share:.0%} of all, seed {part.seed}")
        teach(part.workspace, route, settings, name=route, seed=part.seed, guards=guards, again=True)
        called = f"{route}-{part.share:.0%}".rstrip("%") + (f"-seed{part.seed}" if len(set(seeds)) > 1 else "")
        seated.append((part, replace(candidate(part.workspace, route), name=called)))
    everybody = [candidate(workspace, BASE), *(one for _, one in seated)]
    sat = hold(workspace, everybody, (Knowledge(), Unanswerable()), name, questions=questions)
    taught = [(part, one.name) for part, one in seated]
    found = Curve(route, dict(settings or {}), what, tuple(sorted(set(seeds))), _points(sat, what, taught), name)
    write_json(sat.folder / CURVE, asdict(found))
    write_report(sat)
    return found, sat


def _shares(
    workspace: Workspace, what: str, shares: Sequence[float], seeds: Sequence[int], folder: Path
) -> Iterator[_Share]:
    """Each seed's shares, smallest first."""
    names = sorted(_names(workspace, what))
    if not shares or not all(0 < share <= 1 for share in shares):
        raise Fixable(f"shares lie above 0 and up to 1: {', '.join(map(str, shares))}", "for example 0.25 0.5 1")
    if len(names) < 2 or len(names) * shares[0] < 1:
        raise Fixable(
            f"there is too little to share out: {len(names)} {'facts' if what == 'examples' else what}",
            "add more, or leave out the smallest share",
        )
    for seed in sorted(set(seeds)):
        order = random.Random(f"{seed}/{what}").sample(names, len(names))
        for share in shares:
            chosen = frozenset(order[: max(1, round(share * len(names)))])
            part = _part(workspace, folder / f"{share:.0%}-seed{seed}".replace("%", ""), what, chosen)
            amount = part.material.counts()[what]
            yield _Share(part, share, seed, amount, chosen)


def _names(workspace: Workspace, what: str) -> set[str]:
    if what == "documents":
        return {document.source for document in workspace.material.documents(hidden=False)}
    return {example.fact or example.id for example in workspace.material.examples()}


def _part(workspace: Workspace, folder: Path, what: str, chosen: frozenset[str]) -> Workspace:
    """A workspace of all the exam questions and the chosen part of the material."""
    part = Workspace.create(folder, workspace.choices)
    whole, own = workspace.material, part.material
    examples = [e for e in whole.examples() if what == "documents" or (e.fact or e.id) in chosen]
    own.put_questions("shared out", examples, whole.questions())
    passages = whole.passages()
    hidden = set(whole.hidden())  # the part knows no groups
    files = {s: file for s, file in whole.files().items() if s not in hidden}
    wanted = {s: file for s, file in files.items() if what == "examples" or s in chosen}
    own.remove_files(set(own.files()) - set(wanted))
    for source, file in wanted.items():
        if own.files().get(source) != file:
            own.put_document(file, whole.document(source), [p for p in passages if p.source == source])
    return part


def _points(sat: Exam, what: str, taught: Sequence[tuple[_Share, str]]) -> tuple[Point, ...]:
    """The untaught model, then every share, each averaged over its seeds question by question."""
    marks = {sheet.name: sheet.marks[MAIN] for sheet in sat.sheets}
    asked = sat.answerable

    def score(rows: Sequence[Mapping[str, float]], about: Sequence[Question]) -> Score | None:
        means = [float(np.mean([row[q.id] for row in rows if q.id in row] or [np.nan])) for q in about]
        (found,) = intervals(np.array([means]), [q.fact or q.id for q in about], sat.seed)
        return Score(MAIN, found.value, found.n, found.low, found.high) if found.n else None

    none = score([marks[BASE]], asked)
    assert none is not None, "an exam has questions"
    points = [Point(0.0, 0, none, None, (none.value,))]
    for share in sorted({part.share for part, _ in taught}):
        mine = [(part, marks[name]) for part, name in taught if part.share == share]
        known = [{q.id: row[q.id] for q in asked if _about(q, what) in part.facts} for part, row in mine]
        whole = score([row for _, row in mine], asked)
        assert whole is not None, "an exam has questions"
        by_seed = tuple(float(np.mean(list(row.values()))) for _, row in mine)
        points.append(Point(share, mine[0][0].amount, whole, score(known, asked), by_seed))
    return tuple(points)


def _about(question: Question, what: str) -> str:
    return question.source if what == "documents" else question.fact or question.id
