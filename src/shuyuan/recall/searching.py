"""A library: the passages of one workspace, searched by meaning and by words through one function."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from shuyuan.base.errors import Fixable
from shuyuan.base.files import fingerprint, locked
from shuyuan.base.marks import FOR_ALL, WHOLE, Marks, View, Within
from shuyuan.base.progress import say
from shuyuan.base.records import Passage
from shuyuan.read.language import language
from shuyuan.recall.centring import Centres
from shuyuan.recall.embedding import Embeds, embed_passages
from shuyuan.recall.evidence import Read
from shuyuan.recall.fuse import Fuse, Fused
from shuyuan.recall.keeping import open_index, remove_all_but
from shuyuan.recall.state import RERANKER, VERSION, State, finished, state_of, write_state
from shuyuan.recall.threshold import LOOKED_AT, calibrate, nearness
from shuyuan.store.contract import Index, Scored, Vectors, in_order, normal

if TYPE_CHECKING:
    from shuyuan.recall.reranking import Reranker

STORE = "lance"  # where a library is kept that nobody said anything about


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, best first. `cosine`, `word_rank`: None where that list did not hold it.

    `score` is that of the two rankings together; where a library ranks again, the order may be another one.
    `pinned`: the best one of a pinned document, which is always among those found.
    """

    passage: Passage
    score: float
    cosine: float | None
    word_rank: int | None
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Rankings:
    """What was found for one text, best first. `foreign`: passages with neither text nor headings in its language."""

    dense: list[Scored]
    words: list[Scored]
    foreign: frozenset[str]


class Library:
    """Passages in an index, with the embedder that placed them. `search` is the only way anything is looked up.

    `fuse`: the settings given, or else those chosen for this library, or else the defaults. `view`: who looks; what
    they may not see, or do not want, is left out before anything is ranked. It begins as what everyone may see.
    """

    def __init__(
        self,
        folder: Path,
        index: Index,
        embedder: Embeds,
        state: State,
        fuse: Fuse | None,
        *,
        material: Path | None = None,
    ) -> None:
        self.folder, self.state, self.fuse = folder, state, fuse or Fuse.of(state.fuse)
        self._index, self._embedder, self._centres = index, embedder, Centres(state.centres)
        self._marks, self.view = Marks(material or folder / "nothing is marked"), FOR_ALL
        self._opened: list[Reranker] = []  # the one in use, once it was; whoever looks shares it

    def seen_by(self, view: View) -> Library:
        """The same library as somebody else sees it."""
        seen = copy.copy(self)
        seen.view = view
        return seen

    @classmethod
    def build(
        cls,
        folder: Path,
        passages: Sequence[Passage],
        embedder: Embeds,
        cache: Path,
        *,
        store: str = "",
        fuse: Fuse | None = None,
        material: Path | None = None,
    ) -> Library:
        """Make the index in `folder` hold exactly `passages`; only documents that changed are embedded and written.

        `material`: the workspace's records, which say who may see which document. `store` empty: the one it is in, or
        LanceDB. A killed build goes on where it was. Raises Fixable when there is nothing to index, or another command
        builds.
        """
        if not passages:
            raise Fixable("there are no passages to build a library from", "add documents first: shuyuan add <folder>")
        with locked(folder / "lock", "building the library"):
            state = state_of(folder)
            store = store or state.store or STORE
            goes_on = (state.version, state.embedder, state.store) == (VERSION, embedder.name, store)
            if not goes_on:
                centres = Centres.learn(embedder).plain
                ranks = state.reranker if state.embedder == embedder.name else ""
                if ranks != state.reranker:
                    say("the reranker was made for another embedder, and goes: shuyuan tune rerank makes one anew")
                    (folder / RERANKER).unlink(missing_ok=True)
                state = State(embedder.name, embedder.width, store, centres=centres, fuse=state.fuse, reranker=ranks)
            remove_all_but(store if goes_on else "", folder)
            index = open_index(folder, state)
            if not state.unfinished and index.count() != state.passages:  # the index was lost, or never begun
                state = replace(state, documents={})
            library = cls(folder, index, embedder, state, fuse, material=material)
            library.seen_by(WHOLE)._become(passages, cache)
            library.state = state_of(folder)
        return library

    @classmethod
    def open(cls, folder: Path, embedder: Embeds, fuse: Fuse | None = None, material: Path | None = None) -> Library:
        """Open a library that was built, with the embedder it was built with. Raises Fixable when it is not so."""
        state = finished(folder)
        if embedder.name != state.embedder:
            raise Fixable(
                f"this library was built with {state.embedder}, not with {embedder.name}",
                "build it again: shuyuan teach retrieve",
                folder,
            )
        index = open_index(folder, state)
        if index.count() != state.passages:
            raise Fixable(f"passages of the library in {folder} are lost", "build it again: shuyuan teach retrieve")
        return cls(folder, index, embedder, state, fuse, material=material)

    def search(self, text: str, k: int) -> list[Hit]:
        """The `k` passages that fit `text` best, in any language, the best of each pinned document among them."""
        return self.search_all([text], k)[0]

    def search_all(self, texts: Sequence[str], k: int) -> list[list[Hit]]:
        """`search` for several texts, which are embedded together."""
        vectors = self.place(texts)
        return [self._search([text], vector[None], k) for text, vector in zip(texts, vectors, strict=True)]

    @property
    def reranker(self) -> Reranker | None:
        """What ranks the first passages again, if anything. Raises Fixable where it is damaged or a foreign one."""
        if not self.state.reranker:
            return None
        if not self._opened:
            from shuyuan.recall.reranking import Reranker

            self._opened.append(Reranker.open(self.state.reranker, self._embedder, self.folder))
        return self._opened[0]

    def search_together(self, texts: Sequence[str], k: int) -> list[Hit]:
        """The `k` passages that fit a question in several wordings best; the first text is the question itself.

        It counts as much as all the others together. `cosine` and `word_rank` are to the question itself.
        """
        return self._search(texts, self.place(texts), k)

    def _search(self, texts: Sequence[str], vectors: Vectors, k: int, again: bool = True) -> list[Hit]:
        """`again`: with the first ones ranked again, where this library does that."""
        reranker = self.reranker if again else None
        depth = max(self.fuse.depth, k)
        scores: dict[str, float] = {}
        own: dict[str, Fused] = {}
        for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
            of = self._rankings(text, vector, depth)
            ranked = self.fuse.fuse(of.dense, of.words, of.foreign)
            if number == 0:
                own = {one.id: one for one in ranked}
            share = 1 / (len(texts) - 1) if number else 1.0
            for one in ranked:
                scores[one.id] = scores.get(one.id, 0.0) + share * one.score
        best = [name for name, _ in sorted(scores.items(), key=lambda pair: -pair[1])]  # stable: the first's order
        passages = self.passages(best[: max(k, reranker.first) if reranker else k])
        if reranker:
            passages = [passages[row] for row in reranker.ranked(texts[0], [p.searchable for p in passages])][:k]
        far = frozenset(p.document_id for p in passages if p.id not in own)  # found by another wording alone
        near = dict(self._index.dense(vectors[0], depth, Within(far))) if far else {}
        ranks = {p.id: own.get(p.id, Fused(p.id, 0.0, near.get(p.id), None)) for p in passages}
        hits = [Hit(p, scores[p.id], ranks[p.id].cosine, ranks[p.id].word_rank) for p in passages]
        return self._with_pinned(hits, vectors[0], k)

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """As they stand in their documents: a model's context has done its work when they are found."""
        return [replace(passage, context="") for passage in self._index.passages(ids)]

    def _with_pinned(self, hits: list[Hit], vector: Vectors, k: int) -> list[Hit]:
        """At most `k` hits; the last give way to the nearest passage of each pinned document that has none."""
        pinned = [name for name in self._marks.pinned(self.view) if name in self.state.documents]
        if not pinned:
            return hits
        first: dict[str, str] = {}
        for hit in hits:
            first.setdefault(hit.passage.document_id, hit.passage.id)
        of_pinned = {first[name] for name in pinned if name in first}
        hits = [replace(hit, pinned=hit.passage.id in of_pinned) for hit in hits]
        missing = [Within(frozenset({name})) for name in pinned if name not in first]
        cosine = dict(in_order([one for within in missing for one in self._index.dense(vector, 1, within)], k))
        hits += [Hit(p, 0.0, cosine[p.id], None, pinned=True) for p in self.passages(list(cosine))]
        spare = [row for row, hit in enumerate(hits) if not hit.pinned]
        dropped = set(spare[max(0, len(spare) + k - len(hits)) :])
        return [hit for row, hit in enumerate(hits) if row not in dropped][:k]

    def rankings(self, texts: Sequence[str], depth: int) -> list[Rankings]:
        """For each text, the best `depth` passages by meaning and by words, before they are joined."""
        return [self._rankings(text, vector, depth) for text, vector in zip(texts, self.place(texts), strict=True)]

    def _rankings(self, text: str, vector: Vectors, depth: int) -> Rankings:
        within = self._marks.within(self.view, self.state.documents)
        dense, words = self._index.dense(vector, depth, within), self._index.words(text, depth, within)
        return Rankings(dense, words, self._foreign(language(text), [*dense, *words]))

    def _foreign(self, spoken: str, found: Sequence[Scored]) -> frozenset[str]:
        """Those that are in another language; passages are looked at only where the library holds several."""
        ids = {name for name, _ in found}
        if spoken == "und" or set(self.state.languages) <= {spoken, "und"}:
            return frozenset()
        if spoken not in self.state.languages:
            return frozenset(ids)
        passages = self._index.passages(sorted(ids))
        return frozenset(p.id for p in passages if not _languages(p) & {spoken, "und"})

    def settle(self, fuse: Fuse, passages: Sequence[Passage]) -> None:
        """Search with these settings from now on, they were found to be better here; what is near is learned anew."""
        with locked(self.folder / "lock", "tuning the search"):
            self.fuse = fuse
            kept = {} if fuse == Fuse() else fuse.model_dump()
            thresholds = calibrate(self._near, passages)
            self.state = replace(state_of(self.folder), fuse=kept, thresholds=thresholds)
            write_state(self.folder, self.state)

    def rank_again(self, reranker: Reranker | None) -> None:
        """Rank what is found again with this from now on, or leave it as it is found."""
        with locked(self.folder / "lock", "tuning the search"):
            state = state_of(self.folder)
            write_state(self.folder, replace(state, reranker=""))  # a kill on the way leaves none
            (self.folder / RERANKER).unlink(missing_ok=True)
            kept = reranker.keep(self.folder) if reranker else ""
            self.state = replace(state, reranker=kept)
            write_state(self.folder, self.state)
        self._opened = []

    def count(self) -> int:
        """How many passages there are."""
        return self._index.count()

    def _become(self, passages: Sequence[Passage], cache: Path) -> None:
        """Bring index and `library.json` to hold exactly `passages`."""
        by_document: dict[str, list[Passage]] = {}
        for passage in passages:
            by_document.setdefault(passage.document_id, []).append(passage)
        wanted = {name: fingerprint([asdict(p) for p in of]) for name, of in by_document.items()}
        there = self.state.documents
        same = {name: print_ for name, print_ in wanted.items() if there.get(name) == print_}
        gone = sorted((there.keys() | self.state.unfinished) - wanted.keys())
        changed = [name for name in wanted if name not in same]
        languages = dict(sorted(Counter(name for passage in passages for name in _languages(passage)).items()))
        if not gone and not changed and languages == self.state.languages:
            say(f"library unchanged: {len(passages):,} passages of {len(wanted):,} documents")
            return
        fresh = [passage for name in changed for passage in by_document[name]]
        texts = [p.searchable for p in fresh]
        vectors = self._centres.taken_off(embed_passages(self._embedder, texts, cache), texts, "passage")
        if gone or changed:
            self._note(same, unfinished=[*changed, *gone])
            self._index.upsert(fresh, vectors)
            for name in gone:
                self._index.delete_document(name)
            if gone:
                self._index.purge()
            else:
                self._index.optimise()
        self.state = replace(self.state, languages=languages)
        self._note(wanted, thresholds=calibrate(self._near, passages))
        say(f"library: {len(passages):,} passages of {len(wanted):,} documents, {len(changed):,} new or changed")

    def _note(
        self,
        documents: Mapping[str, str],
        unfinished: Sequence[str] = (),
        thresholds: Mapping[str, float] | None = None,
    ) -> None:
        self.state = replace(
            self.state,
            documents=documents,
            passages=self.count(),
            unfinished=unfinished,
            thresholds=thresholds or {},
        )
        write_state(self.folder, self.state)

    def nearness(self, text: str, hits: Sequence[Hit]) -> float:
        """How near what was found for a text is to it: the larger, the likelier that it holds an answer.

        It is that of what search itself found: ranking again changes what is shown, not what is near enough.
        """
        if self.reranker:
            hits = self._search([text], self.place([text]), len(hits), again=False)
        return self._nearness(text, hits)

    def _nearness(self, text: str, hits: Sequence[Hit]) -> float:
        cosine = max((hit.cosine for hit in hits if hit.cosine is not None), default=-1.0)
        return nearness(text, cosine, [hit.passage for hit in hits])

    def place(self, questions: Sequence[str]) -> Vectors:
        """Where questions lie by meaning: unit vectors [n, width], freed of what only says their language."""
        texts = [normal(question) for question in questions]
        return self._centres.taken_off(self._embedder.embed(texts, "query"), texts, "query")

    @property
    def least_evidence(self) -> float:
        """The evidence below which passages hold no answer, for this embedder; 0: that is not known for it."""
        return self._embedder.evidence

    def read(self, texts: Sequence[str], passages: Sequence[Sequence[Passage]]) -> list[tuple[Read, list[Read]]]:
        """Each text and the passages found for it, token by token, each read once: for `evidence.py`."""
        searchable = {passage.id: normal(passage.searchable) for of in passages for passage in of}
        read = dict(zip(searchable, self._embedder.read(list(searchable.values()), "passage"), strict=True))
        questions = self._embedder.read([normal(text) for text in texts], "query")
        return [
            (question, [read[passage.id] for passage in of]) for question, of in zip(questions, passages, strict=True)
        ]

    def _near(self, texts: Sequence[str]) -> list[float]:
        vectors = self.place(texts)
        found = [self._search([t], v[None], LOOKED_AT, again=False) for t, v in zip(texts, vectors, strict=True)]
        return [self._nearness(text, hits) for text, hits in zip(texts, found, strict=True)]


def _languages(passage: Passage) -> set[str]:
    """Those of its text and of its headings: an untranslated page may have a translated title."""
    return {language(passage.text), *([language(" ".join(passage.headings))] if passage.headings else [])}
