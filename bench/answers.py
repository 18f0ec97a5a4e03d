"""Answers from a library: what is found, said and refused, beside AnythingLLM's rule and LlamaIndex.

    python bench/answers.py FOLDER search             # SQuAD: recall@5 and nDCG@10 of each leg
    python bench/answers.py FOLDER signals            # what tells a question without an answer, before any model
    python bench/answers.py FOLDER refusal            # answerable, near misses and questions from elsewhere
    python bench/answers.py FOLDER answers --peers P  # SQuAD: exact match and F1, ours and LlamaIndex's
    python bench/answers.py FOLDER draw               # the page anew, from what was kept

A near miss is an answerable question whose passages are hidden from the search while their neighbours stay (in the
handbook and the guide, which tell facts on several pages: all passages that hold a right answer word for word). Every
answer is kept in FOLDER as it comes, so that a run can be stopped (`--seconds`) and gone on with. Intervals are 95 %,
from 2,000 bootstrap draws of questions. Prompts, rules and thresholds are worked on with one half of the facts and
articles (`--development`, whose figures are only shown); what is kept comes from the other half.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from corpora import Corpus, elsewhere, fetched, guide, handbook, reference, squad
from paired import Contestant, keep, place, run_once, stamp

from shuyuan.base.files import append_jsonl, fingerprint, read_jsonl, write_whole
from shuyuan.base.progress import Bar, say
from shuyuan.base.records import Answer, Question, ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import Embedder, open_embedder
from shuyuan.load.model import open_model
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.exact_match import ExactMatch
from shuyuan.measure.token_f1 import TokenF1
from shuyuan.recall.choosing import Chosen, choose_shown
from shuyuan.recall.citing import key_terms
from shuyuan.recall.evidence import HOPELESS, PER_EVIDENCE, PER_NEARNESS, SURE
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.ground import REFUSAL, Ground
from shuyuan.recall.grounded import LEAST_FOUND, GroundedAssistant
from shuyuan.recall.reader import READERS
from shuyuan.recall.searching import Hit, Library
from shuyuan.recall.threshold import COVERAGE, LOOKED_AT

MODEL, EMBEDDER = "qwen2.5-0.5b", "multilingual-e5-small"
LEGS = {"hybrid": Fuse(), "meaning alone": Fuse(word_weight=0.0), "words alone": Fuse(word_weight=1.0)}
SETS = {"squad": "en", "handbook-en": "en", "handbook-zh": "zh", "guide-zh": "zh"}
KINDS = ("elsewhere", "answerable", "near miss")
MOST_TOKENS = 64
BATCH = 16
UNASKED = -20.0


@dataclass(frozen=True)
class Asked:
    """One question of the refusal figures; `hidden`: the passages that the search must not find."""

    kind: str
    question: Question
    hidden: frozenset[str] = frozenset()


class Hiding(Library):
    """A library that does not find certain passages for certain questions: as if they had never been added."""

    def __init__(self, library: Library, hidden: Mapping[str, frozenset[str]]) -> None:
        super().__init__(library.folder, library._index, library._embedder, library.state, library.fuse)
        self.hidden = hidden

    def search_all(self, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """`Library.search_all` without what is hidden."""
        found = []
        depth = max(self.fuse.depth, k)
        for text, of in zip(texts, self.rankings(texts, depth + 20), strict=True):
            hidden = self.hidden.get(text, frozenset())
            legs = [[one for one in leg if one[0] not in hidden][:depth] for leg in (of.dense, of.words)]
            best = {one.id: one for one in self.fuse.fuse(*legs, of.foreign)[:k]}
            passages = self._index.passages(list(best))
            found.append([Hit(p, best[p.id].score, best[p.id].cosine, best[p.id].word_rank) for p in passages])
        return found


def main() -> None:
    """Measure one part, keep it, draw the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where packages, libraries and answers are kept between runs")
    parser.add_argument("part", choices=("search", "signals", "refusal", "answers", "draw"))
    parser.add_argument("--n", type=int, default=200, help="questions of each kind (search: five times as many)")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop asking after so long")
    parser.add_argument("--development", action="store_true", help="the half that may be looked at; nothing is kept")
    parser.add_argument("--peers", type=Path, help="the folder with the environment `llamaindex`")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.ends = time.monotonic() + given.seconds
    fetched(given.folder)
    parts = {"search": search, "signals": signals, "refusal": refusal, "answers": answers, "draw": lambda _: None}
    parts[given.part](given)
    file = Path(__file__).parent / "results" / "answers.json"
    if file.exists():
        write_whole(file.with_suffix(".md"), drawn(json.loads(file.read_text(encoding="utf-8"))))


def shown_of(library: Library, texts: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[Chosen]:
    """What would be shown of what was found."""
    return choose_shown(library, texts, found, Ground(), order=True, weigh=True)


def best_evidence(library: Library, texts: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[float]:
    """That of the best of the passages which would be shown."""
    return [max(one.held, default=0.0) for one in shown_of(library, texts, found)]


def stamped(given: argparse.Namespace) -> dict[str, Any]:
    """When, where and how, without the folders of this machine."""
    return {key: str(v).replace(str(given.folder), "FOLDER") if key == "command" else v for key, v in stamp().items()}


def told(given: argparse.Namespace, part: str, figures: dict[str, Any]) -> None:
    """Keep the figures of the final half; those of the other are only shown."""
    if given.development:
        say(drawn({part: figures}))
    else:
        keep("answers", part, figures, drawn)


def corpus_of(name: str, given: argparse.Namespace) -> Corpus:
    """The library behind a set, with the questions of one half of its facts, or of its articles."""
    kind, _, language = name.partition("-")
    whole = squad(given.folder) if kind == "squad" else guide(given.folder) if kind == "guide" else handbook()
    kept = [
        question
        for question in whole.questions
        if question.answers
        and language in {"", question.language}
        and tuned_on(question.fact.rpartition("/")[0] or question.fact) == given.development
    ]
    return Corpus(kind, whole.passages, kept, whole.gold, whole.told)


def tuned_on(fact: str) -> bool:
    """Whether a fact or an article is in the half that may be looked at while the library is worked on."""
    return int(hashlib.sha1(fact.encode()).hexdigest(), 16) % 2 == 0


def library_of(corpus: Corpus, folder: Path, embedder: Embedder) -> Library:
    """Built once; what did not change is not embedded again."""
    return Library.build(
        folder / "answers" / corpus.name, corpus.passages, embedder, folder / "answers", store="memory"
    )


def drawn_from(items: Sequence[Any], count: int) -> list[Any]:
    """`count` of the items, always the same ones."""
    shuffled = list(items)
    random.Random(0).shuffle(shuffled)
    return shuffled[:count]


# search


def search(given: argparse.Namespace) -> None:
    """SQuAD: is the paragraph found?"""
    corpus = squad(given.folder)
    library = library_of(corpus, given.folder, open_embedder(EMBEDDER))
    asked = drawn_from(corpus.questions, 5 * given.n)
    places: dict[str, list[int]] = {leg: [] for leg in LEGS}
    with Bar("searching", len(asked)) as bar:
        for start in range(0, len(asked), 50):
            part = asked[start : start + 50]
            found = library.rankings([question.text for question in part], 50)
            for question, of in zip(part, found, strict=True):
                (gold,) = corpus.gold[question.id]
                for leg, fuse in LEGS.items():
                    ids = [one.id for one in fuse.fuse(of.dense, of.words, of.foreign)][:10]
                    places[leg].append(ids.index(gold) + 1 if gold in ids else 0)
            bar.advance(len(part))
    rows = {}
    for leg, found_at in places.items():
        place_N = np.array(found_at)
        gain_N = np.where(place_N > 0, 1 / np.log2(np.maximum(place_N, 1) + 1), 0.0)
        recall_N = ((place_N > 0) & (place_N <= 5)).astype(float)
        rows[leg] = {"recall@5": interval(recall_N), "ndcg@10": interval(gain_N)}
    keep(
        "answers", "search", {**stamped(given), "n": len(asked), "passages": len(corpus.passages), "legs": rows}, drawn
    )


# signals


def signals(given: argparse.Namespace) -> None:
    """What is known of each kind of question before a model is asked, and how many are refused by it."""
    embedder = open_embedder(EMBEDDER)
    for name in given.sets:
        corpus = corpus_of(name, given)
        library = library_of(corpus, given.folder, embedder)
        rows = _signs(name, asked_of(name, corpus, given), library, corpus)
        threshold = round(library.state.thresholds[SETS[name]] - HOPELESS, 4)
        least = round(library.least_evidence - HOPELESS, 2)
        figures: dict[str, Any] = {**stamped(given), "threshold": threshold, "evidence": least}
        yes = [row for row in rows if row["kind"] == "answerable"]
        found = [row for row in yes if row["found"]]
        for kind in KINDS:
            of = [row["signals"] for row in rows if row["kind"] == kind]
            far = np.array([row["nearness"] < threshold for row in of])
            bare = np.array([row["evidence"] < least for row in of])
            figures[kind] = {
                "n": len(of),
                "too far": interval(far.astype(float)),
                "too little evidence": interval(bare.astype(float)),
                "either": interval((far | bare).astype(float)),
            }
            if kind != "answerable":
                no = [row for row in rows if row["kind"] == kind]
                figures[kind]["auc"] = {signal: area(yes, no, signal) for signal in no[0]["signals"]}
                figures[kind]["auc, found"] = area(found, no, "evidence")
        figures["found"] = len(found)
        told(given, f"signals {name}", figures)


def _signs(name: str, asked: Sequence[Asked], library: Library, corpus: Corpus) -> list[dict[str, Any]]:
    rows = []
    with Bar(name, len(asked)) as bar:
        of_kinds = [[one for one in asked if one.kind == kind] for kind in KINDS]
        for part in [of[start : start + 100] for of in of_kinds for start in range(0, len(of), 100)]:
            texts = [one.question.text for one in part]
            hiding = Hiding(library, {one.question.text: one.hidden for one in part})
            found = hiding.search_all(texts, LEAST_FOUND)
            for one, hits, best in zip(part, found, shown_of(hiding, texts, found), strict=True):
                cosines = sorted((hit.cosine for hit in hits if hit.cosine is not None), reverse=True) or [-1.0]
                near = hiding.nearness(one.question.text, hits)
                holding = corpus.told.get(one.question.id) or corpus.gold.get(one.question.id, frozenset())
                known = {"cosine": cosines[0], "nearness": near, "evidence": max(best.held, default=0.0)}
                has = bool(holding & {passage.id for passage in best.passages})
                rows.append({"kind": one.kind, "found": has, "signals": known})
            bar.advance(len(part))
    return rows


# refusal


def refusal(given: argparse.Namespace) -> None:
    """Ask all kinds in query mode, then count."""
    embedder, inner = open_embedder(EMBEDDER), ModelAssistant("bare", open_model(MODEL))
    for name in given.sets:
        corpus = corpus_of(name, given)
        library = library_of(corpus, given.folder, embedder)
        sat = _ask(given, name, asked_of(name, corpus, given), library, inner)
        figures = {**stamped(given), "thresholds": library.state.thresholds, **_counted(sat)}
        told(given, f"refusal {name}", figures)


def asked_of(name: str, corpus: Corpus, given: argparse.Namespace) -> list[Asked]:
    """The questions of one set, kind by kind."""
    own = drawn_from(corpus.questions, given.n)
    if name == "squad":
        other = [q.text for q in handbook().questions if q.answers and q.language == "en"] + elsewhere(
            given.folder, "en"
        )
    elif name == "handbook-en":
        other = [q.text for q in drawn_from(squad(given.folder).questions, 1000)] + elsewhere(given.folder, "en")
    elif name == "handbook-zh":
        other = [q.text for q in reference(given.folder, "zh").questions] + elsewhere(given.folder, "zh")
    else:
        other = [q.text for q in handbook().questions if q.answers and q.language == "zh"] + elsewhere(
            given.folder, "zh"
        )
    return [
        *(
            Asked("elsewhere", Question(fingerprint(text), text, (), SETS[name], ""))
            for text in drawn_from(other, given.n)
        ),
        *(Asked("answerable", question) for question in own),
        *(Asked("near miss", question, corpus.told.get(question.id, corpus.gold[question.id])) for question in own),
    ]


def _ask(
    given: argparse.Namespace, name: str, asked: Sequence[Asked], library: Library, inner: ModelAssistant
) -> list[dict[str, Any]]:
    """What was answered, from the file or now; each kind in turn, as long as the time lasts."""
    file = given.folder / "answers" / f"refusal-{name}.jsonl"
    prompts = [Ground().prompt("", [], language) for language in REFUSAL]
    limits = (library.state.thresholds, library.least_evidence, PER_EVIDENCE, PER_NEARNESS, SURE, HOPELESS)
    reader = hashlib.sha256((READERS / MODEL / "adapter_model.safetensors").read_bytes()).hexdigest()
    mark = fingerprint(Ground().model_dump(), prompts, limits, reader, library.state.documents)
    done = {(row["kind"], row["id"]): row for row in read_jsonl(file) if row["mark"] == mark}
    left = [one for one in asked if one.kind in given.kinds and (one.kind, one.question.id) not in done]
    with Bar(name, len(asked), done=len(done)) as bar:
        for kind in KINDS:
            of = [one for one in left if one.kind == kind]
            for start in range(0, len(of), BATCH):
                if time.monotonic() > given.ends:
                    break
                part = of[start : start + BATCH]
                hiding = Hiding(library, {one.question.text: one.hidden for one in part})
                began = time.process_time()
                said = GroundedAssistant("retrieve", inner, hiding).answer([ask(one.question.text) for one in part])
                spent = (time.process_time() - began) / len(part)
                found = hiding.search_all([one.question.text for one in part], LEAST_FOUND)
                held = best_evidence(hiding, [one.question.text for one in part], found)
                least = library.least_evidence, library.state.thresholds[SETS[name]]
                rows = [
                    _row(one, answer, (hiding.nearness(one.question.text, hits), has, *least), hits, mark, spent)
                    for one, answer, hits, has in zip(part, said, found, held, strict=True)
                ]
                append_jsonl(file, rows)
                done.update({(row["kind"], row["id"]): row for row in rows})
                bar.advance(len(part))
    return [done[key] for one in asked if (key := (one.kind, one.question.id)) in done]


def _row(  # noqa: PLR0917
    one: Asked, answer: Answer, told: tuple[float, float, float, float], hits: Sequence[Hit], mark: str, spent: float
) -> dict[str, Any]:
    cosines = [hit.cosine for hit in hits if hit.cosine is not None]
    right = Accuracy().measure(answer, one.question) if one.kind == "answerable" else None
    return {
        "kind": one.kind,
        "id": one.question.id,
        "mark": mark,
        "refused": answer.refused,
        "right": right,
        "text": answer.text,
        "retrieved": list(answer.retrieved),
        "signals": _signals(one.question.text, answer, told, hits),
        "cosines": cosines,
        "cpu_seconds": round(spent, 2),
    }


def _signals(
    question: str, answer: Answer, told: tuple[float, float, float, float], hits: Sequence[Hit]
) -> dict[str, float]:
    """What could tell that there is an answer. `told`: nearness and evidence, and what is enough of each (least
    evidence, threshold).

    What a model that was not asked makes of it is taken to be `UNASKED`.
    """
    asked, (near, held_here, least, threshold) = key_terms(question), told
    says = UNASKED if answer.answerable is None else answer.answerable
    cosines = sorted((hit.cosine for hit in hits if hit.cosine is not None), reverse=True)[:LOOKED_AT] or [-1.0]
    cited = {citation.passage_id for citation in answer.citations}
    held = [
        len(asked & key_terms(hit.passage.searchable)) / max(1, len(asked)) for hit in hits if hit.passage.id in cited
    ]
    return {
        "cosine": cosines[0],
        "cosine, margin": cosines[0] - float(np.mean(cosines[1:] or cosines)),
        "terms": (near - cosines[0]) / COVERAGE,
        "nearness": near,
        "evidence": held_here,
        "reader": says,
        "evidence and reader": says + PER_EVIDENCE * (held_here - least),
        "all three": says + PER_EVIDENCE * (held_here - least) + PER_NEARNESS * (near - threshold),
        "support": float(not answer.refused),
        "support and terms": max(held, default=0.0),
        "nearness, support and terms": near + COVERAGE * max(held, default=0.0),
    }


def anythingllm(cosines: Sequence[float]) -> bool:
    """Whether AnythingLLM's Query mode refuses: none of the top 4 has a similarity of .25 or more.

    Its `distanceToSimilarity` takes a cosine distance of 1 or more for a similarity of 1.
    """
    similarities = [1.0 if cosine <= 0 else cosine for cosine in cosines[:4]]
    return not any(similarity >= 0.25 for similarity in similarities)


def _counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in KINDS}
    for kind, of in by_kind.items():
        if of:
            refused = np.array([row["refused"] for row in of], float)
            theirs = np.array([anythingllm(row["cosines"]) for row in of], float)
            spent = sum(row["cpu_seconds"] for row in of) / len(of)
            figures[kind] = {"n": len(of), "refused": interval(refused), "anythingllm": interval(theirs)}
            figures[kind]["cpu_seconds"] = round(spent, 2)
    right = [row["right"] for row in by_kind["answerable"] if not row["refused"]]
    if right:
        figures["right, of those answered"] = interval(np.array(right, float))
    names = sorted({name for row in rows for name in row["signals"]})
    figures["auc"] = {
        kind: {name: area(by_kind["answerable"], by_kind[kind], name) for name in names}
        for kind in ("elsewhere", "near miss")
        if by_kind[kind] and by_kind["answerable"]
    }
    return figures


def area(yes: Sequence[Mapping[str, Any]], no: Sequence[Mapping[str, Any]], signal: str) -> dict[str, float]:
    """The area under the curve with which one signal tells answerable questions from others, with its interval."""
    a, b = (np.array([row["signals"].get(signal, 0.0) for row in rows], float) for rows in (yes, no))
    wins = (a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None])
    draw = np.random.default_rng(0)
    picks = [wins[draw.integers(0, len(a), len(a))][:, draw.integers(0, len(b), len(b))].mean() for _ in range(300)]
    low, high = np.quantile(picks, [0.025, 0.975])
    return {"value": round(float(wins.mean()), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


# answers


def answers(given: argparse.Namespace) -> None:
    """SQuAD: exact match and F1 on the same passages, vectors, weights and number of passages."""
    corpus = corpus_of("squad", given)
    embedder = open_embedder(EMBEDDER)
    library = library_of(corpus, given.folder, embedder)
    asked = drawn_from(corpus.questions, given.n)
    ours = _ask(
        given,
        "squad",
        [Asked("answerable", question) for question in asked],
        library,
        ModelAssistant("bare", open_model(MODEL)),
    )
    theirs = _llamaindex(given, corpus, library, asked)
    said = {
        "ours": {row["id"]: row for row in ours},
        "LlamaIndex": {row["id"]: row for row in theirs["rows"]},
    }
    both = [question for question in asked if all(question.id in rows for rows in said.values())]
    figures: dict[str, Any] = {
        **stamped(given),
        "n": len(both),
        "passages": len(corpus.passages),
        "versions": theirs["versions"],
    }
    marks: dict[str, dict[str, Any]] = {}
    for side, rows in said.items():
        given_answers = [Answer(rows[q.id]["text"], refused=bool(rows[q.id].get("refused"))) for q in both]
        metrics = {"exact match": ExactMatch(), "token F1": TokenF1(), "holds the answer": Accuracy()}
        marks[side] = {
            what: np.array([metric.measure(a, q) for a, q in zip(given_answers, both, strict=True)], float)
            for what, metric in metrics.items()
        }
        figures[side] = {what: interval(values) for what, values in marks[side].items()}
        figures[side]["found"] = interval(
            np.array([bool(corpus.gold[q.id] & set(rows[q.id]["retrieved"][:4])) for q in both], float)
        )
        figures[side]["cpu_seconds"] = round(sum(rows[q.id]["cpu_seconds"] for q in both) / max(1, len(both)), 2)
    figures["difference"] = {what: interval(marks["ours"][what] - marks["LlamaIndex"][what]) for what in marks["ours"]}
    told(given, "answers", figures)


def _llamaindex(
    given: argparse.Namespace, corpus: Corpus, library: Library, asked: Sequence[Question]
) -> dict[str, Any]:
    file = given.folder / "answers" / "passages.jsonl"
    kept = given.folder / "answers" / "llamaindex.jsonl"
    texts = {passage.id: passage for passage in corpus.passages}
    if not file.exists():
        for passages, vectors in library._index.export():
            rows = [
                {"id": p.id, "text": p.text, "title": texts[p.id].headings[0], "vector": [float(x) for x in vector]}
                for p, vector in zip(passages, vectors, strict=True)
            ]
            append_jsonl(file, rows)
    contestant = Contestant("LlamaIndex", "llamaindex", "llamaindex_answers.py")
    if contestant.python(given.peers) is None:
        say("LlamaIndex is left out: there is no environment 'llamaindex' in --peers")
        return {"rows": read_jsonl(kept), "versions": {}}
    job = {
        "passages": str(file.absolute()),
        "kept": str(kept.absolute()),
        "questions": [{"id": question.id, "text": question.text} for question in asked],
        "model": MODEL,
        "embedder": EMBEDDER,
        "top_k": Ground().passages,
        "most_tokens": MOST_TOKENS,
        "seconds": max(0.0, given.ends - time.monotonic()),
    }
    report = run_once(contestant, job, given.peers, given.threads)
    return {"rows": list(read_jsonl(kept)), "versions": report["versions"]}


def interval(values: np.ndarray) -> dict[str, float]:
    """The mean with its bootstrap interval."""
    draws = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.025, 0.975])
    return {"value": round(float(values.mean()), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


# the page


def drawn(record: Mapping[str, Any]) -> str:
    """All parts as Markdown."""
    lines = ["# Answers from a library\n"]
    if part := record.get("search"):
        lines += [
            f"## What is found\n\n{place(part)}\n",
            f"SQuAD, {part['passages']:,} paragraphs, {part['n']:,} questions.\n",
        ]
        lines += ["| ranking | recall@5 | nDCG@10 |", "|-|-|-|"]
        lines += [
            f"| {leg} | {shown(row['recall@5'])} | {shown(row['ndcg@10'])} |" for leg, row in part["legs"].items()
        ]
    for name in SETS:
        if part := record.get(f"signals {name}"):
            lines += [f"\n## Before a model is asked: {name}\n\n{place(part)}\n"]
            lines += [f"Refused below a nearness of {part['threshold']}, or an evidence of {part['evidence']}.\n"]
            lines += ["| questions | n | too far | too little evidence | either |", "|-|-|-|-|-|"]
            for kind in KINDS:
                row = part[kind]
                cells = [shown(row[what]) for what in ("too far", "too little evidence", "either")]
                lines.append(f"| {kind} | {row['n']} | {' | '.join(cells)} |")
            lines += ["\n| area under the curve, answerable against | cosine | nearness | evidence |", "|-|-|-|-|"]
            for kind in ("elsewhere", "near miss"):
                cells = [shown(part[kind]["auc"][signal]) for signal in ("cosine", "nearness", "evidence")]
                lines.append(f"| {kind} | {' | '.join(cells)} |")
            lines += [
                f"\nAn answer stands in the passages found for {part['found']} of {part['answerable']['n']} answerable "
                f"questions; their area against near misses, by evidence, is {shown(part['near miss']['auc, found'])}."
            ]
        if part := record.get(f"refusal {name}"):
            lines += [f"\n## Refusing: {name}\n\n{place(part)}\n"]
            lines += ["| questions | n | refused | refused by AnythingLLM's rule | CPU-seconds |", "|-|-|-|-|-|"]
            for kind in KINDS:
                if row := part.get(kind):
                    cells = (kind, row["n"], shown(row["refused"]), shown(row["anythingllm"]), row["cpu_seconds"])
                    lines.append(f"| {' | '.join(map(str, cells))} |")
            if right := part.get("right, of those answered"):
                lines += [f"\nRight, of the answerable ones that are answered: {shown(right)}."]
            for kind, signals in part.get("auc", {}).items():
                told = ", ".join(f"{signal} {shown(value)}" for signal, value in signals.items())
                lines += [f"\nArea under the curve, answerable against {kind}: {told}."]
    if part := record.get("answers"):
        lines += [
            f"\n## What is said\n\n{place(part)}\n",
            f"SQuAD, {part['passages']:,} paragraphs, {part['n']:,} questions.\n",
        ]
        names = [*part["ours"]]
        lines += [f"| | {' | '.join(names)} |", "|-" * (len(names) + 1) + "|"]
        for side in ("ours", "LlamaIndex", "difference"):
            cells = [shown(part[side][name]) if name in part[side] else "" for name in names]
            lines.append(f"| {side} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(of: Mapping[str, float] | float) -> str:
    """A share with its interval."""
    return str(of) if not isinstance(of, Mapping) else f"{of['value']:.3f} ({of['low']:.3f} to {of['high']:.3f})"


if __name__ == "__main__":
    main()
