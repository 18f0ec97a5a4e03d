"""Which passages are shown, and several wordings of one question: no repeats, unlike ones, within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_recall import HashedTerms, passages
from test_recall_answer import Says

from shuyuan.base.records import Answer, Passage, ask
from shuyuan.recall.choosing import choose_shown, fitted
from shuyuan.recall.evidence import evidence
from shuyuan.recall.fuse import Fuse
from shuyuan.recall.ground import Ground, about_tokens
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.reranking import Reranker
from shuyuan.recall.rewriting import MOST, Rewritten, rewritten, step_by_step
from shuyuan.recall.searching import Hit, Library


def hit(name: str, text: str, pinned: bool = False) -> Hit:
    return Hit(Passage(name, f"d-{name}", f"{name}.md", 0, len(text), text), 0.0, 0.9, None, pinned)


def names(shown: Sequence[Passage]) -> str:
    return "".join(passage.id for passage in shown)


RATE = "The learning rate of further training is 2e-5, and training goes on from the newest checkpoint."
CHINESE = "增量预训练的学习率默认是 2e-5，训练中断后会从最近的检查点继续。"


@pytest.mark.parametrize("text", [RATE, CHINESE])
def test_a_repeat_is_left_out_and_another_number_is_no_repeat(text: str) -> None:
    hits = [hit("a", text), hit("b", text), hit("c", f"{text} 🎉"), hit("d", "The kiln cools. 窑要冷却。")]
    assert names(fitted(hits, 4, 1400)) == "ad"
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert names(fitted([hit("a", text), hit("w", wide)], 4, 1400)) == "a", "full-width letters say the same"
    changed = [hit("a", text), hit("b", text.replace("2e-5", "3e-5"))]
    assert names(fitted(changed, 4, 1400)) == "ab", "this year's rate is not last year's"
    assert names(fitted([*hits[:2], hit("p", text, pinned=True)], 4, 1400)) == "p", "a pinned one goes before its copy"
    assert names(fitted(hits, 4, 1400, same=2.0)) == "abcd"


def test_diversity_prefers_what_is_unlike(monkeypatch: pytest.MonkeyPatch) -> None:
    alike = [hit("a", "red blue green kiln"), hit("b", "red blue green clay"), hit("c", "snow wind rain ice")]
    assert names(fitted(alike, 2, 1400)) == "ab"
    assert names(fitted(alike, 2, 1400, diversity=0.5)) == "ac"
    assert names(fitted(alike, 3, 1400, diversity=0.5)) == "abc", "shown in the order in which they were found"
    assert names(fitted(alike, 1, 1400, diversity=1.0)) == "a"


@given(
    st.lists(st.tuples(st.text(max_size=200), st.booleans()), max_size=8),
    st.integers(1, 6),
    st.integers(1, 200),
    st.floats(0, 1),
)
def test_what_is_shown_keeps_within_its_bounds(
    given_: list[tuple[str, bool]], most: int, tokens: int, diversity: float
) -> None:
    hits = [hit(str(at), text, pinned) for at, (text, pinned) in enumerate(given_)]
    shown = fitted(hits, most, tokens, diversity)
    assert len(shown) <= most
    assert bool(shown) == bool(hits)
    assert len(shown) < 2 or sum(about_tokens(p.searchable) for p in shown) <= tokens
    assert [int(p.id) for p in shown] == sorted({int(p.id) for p in shown})
    if any(one.pinned for one in hits):
        assert any(hits[int(p.id)].pinned for p in shown)


# several wordings


def library(tmp_path: Path) -> Library:
    return Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")


def test_one_wording_together_is_that_wording_alone(tmp_path: Path) -> None:
    found = library(tmp_path)
    question = "default rank of LoRA"
    assert found.search_together([question], 4) == found.search(question, 4)
    assert found.search_together([question, question.lower()], 1)[0].passage == found.search(question, 1)[0].passage


def test_another_wording_finds_what_the_question_misses(tmp_path: Path) -> None:
    found = library(tmp_path)
    question = "Zwei kleine Matrizen?"
    alone = found.search(question, 4)
    both = found.search_together([question, "LoRA trains two small matrices", "What is the rank of LoRA?"], 4)
    place = [[one.passage.source for one in hits].index("guide/lora.md") for hits in (both, alone)]
    assert place[0] < place[1]
    cosines = [{one.passage.id: one.cosine for one in hits} for hits in (both, alone)]
    assert cosines[0] == pytest.approx(cosines[1]), "nearness is to the question itself"
    narrow = library(tmp_path)
    narrow.fuse = Fuse(depth=1)  # a list of one: the other wording finds what this one cannot
    far = next(
        one
        for one in narrow.search_together([question, "LoRA trains two small matrices"], 2)
        if one.passage.source == "guide/lora.md"
    )
    assert far.cosine == pytest.approx(cosines[1][far.passage.id])


def test_what_the_model_writes_is_made_questions_of() -> None:
    said = (
        "1. 山长何时上任？\n2) When does he start?\n- when does he START？\n\n"
        + "x" * 301
        + "?\nHe starts.\n3、第三？\n• fourth?"
    )
    (one,) = rewritten(Says(said), ["When does he start?"], "several")
    assert one == Rewritten(("When does he start?", "山长何时上任？", "第三？", "fourth?"), 7, 3)
    assert len(one.texts) == MOST + 1
    (none,) = rewritten(Says("一样的问题？"), ["一样的问题?"], "steps")
    assert none.texts == ("一样的问题?",), "the question itself is no other wording, full-width or not"


def test_each_step_knows_what_was_found_before(tmp_path: Path) -> None:
    answers = {"who?": Answer("Zhang"), "where? Zhang": Answer("", refused=True), "when? Zhang": Answer("九月")}
    walked = step_by_step(Rewritten(("all?", "who?", "where?", "when?")), lambda text: answers[text])
    assert walked.texts == ("all?", "who?", "where? Zhang", "when? Zhang")


def test_the_assistant_looks_up_wordings_and_steps_and_says_what_they_cost(tmp_path: Path) -> None:
    question = "Wie gross ist der default rank von LoRA?"
    for how, said in (
        ("several", ["What is the default rank of LoRA?", "The default rank is 16."]),
        ("steps", ["What is the default rank of LoRA?", "The default rank is 16.", "The default rank is 16."]),
    ):
        inner = Says(*said)
        ground = Ground(threshold=-1.0, queries=how, passages=2)
        (answer,) = GroundedAssistant("retrieve", inner, library(tmp_path), ground).answer([ask(question)])
        assert not inner.texts, "and nothing more was asked"
        assert [citation.quote for citation in answer.citations] == ["The default rank is 16."]
        assert (answer.prompt_tokens, answer.answer_tokens) == (7 * len(said), 3 * len(said))
    plain = Says("The default rank is 16.")
    GroundedAssistant("retrieve", plain, library(tmp_path), Ground(threshold=-1.0, passages=2)).answer([ask(question)])
    assert len(plain.asked) == 1


class Ranks(HashedTerms):
    """An embedder that reads, as all here do, with evidence that is known."""

    name, evidence = "ranks", 0.01


def test_what_is_shown_is_ordered_by_tokens(tmp_path: Path) -> None:
    question = "Which default rank has LoRA, and what is its seed?"
    texts = ["snow wind rain 雪", "its seed", "what default LoRA rank has seed 7", "The kiln cools. 窑要冷却。"]
    hits = [hit(name, text) for name, text in zip("abcd", texts, strict=True)]
    library = Library.build(tmp_path / "library", passages(), Ranks(), tmp_path / "cache", store="memory")
    ground = Ground(passages=2, diversity=0.0)
    (one, none) = choose_shown(library, [question, question], [hits, []], ground, order=True, weigh=True)
    assert names([hit.passage for hit in one.hits])[0] == "c"
    assert sorted(names([hit.passage for hit in one.hits])) == list("abcd"), "nothing is lost"
    assert names(one.passages) == names([hit.passage for hit in one.hits])[:2]
    ((asked, read),) = library.read([question], [one.passages])
    assert one.held == evidence(asked, read), "as the evidence of those that are shown, not of all that were found"
    assert (none.hits, none.passages, list(none.held)) == ([], (), [])
    (plain,) = choose_shown(library, [question], [hits], ground, order=False, weigh=False)
    assert (names(plain.passages), list(plain.held)) == ("ab", [0.0, 0.0])
    (as_found,) = choose_shown(library, [question], [hits], ground, order=False, weigh=True)
    assert names(as_found.passages) == "ab"
    assert max(as_found.held) > 0
    pinned = [*hits[:3], hit("p", "mud", pinned=True)]
    (kept,) = choose_shown(library, [question], [pinned], ground, order=True, weigh=True)
    assert set(names(kept.passages)) == {"c", "p"}
    library.rank_again(Reranker(Ranks()))
    (tuned,) = choose_shown(library, [question], [hits], ground, order=True, weigh=True)
    assert names(tuned.passages) == "ab", "the library has ranked again: its order stands"
