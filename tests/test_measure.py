"""The metrics: golden numbers, parity with the field's own libraries, and properties that must always hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Answer, Citation, Question, TokenLogprob
from shuyuan.base.shelf import choices, choose
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.bits_per_byte import BitsPerByte, bits_per_byte
from shuyuan.measure.bleu import Bleu
from shuyuan.measure.brier import Brier
from shuyuan.measure.chrf import Chrf
from shuyuan.measure.citation_precision import CitationPrecision
from shuyuan.measure.citation_recall import CitationRecall
from shuyuan.measure.cost import Cost
from shuyuan.measure.distinct_n import DistinctN
from shuyuan.measure.ece import Ece
from shuyuan.measure.exact_match import ExactMatch
from shuyuan.measure.f1 import F1
from shuyuan.measure.marking import Metric
from shuyuan.measure.mrr import Mrr
from shuyuan.measure.ndcg_at_k import NdcgAtK
from shuyuan.measure.pass_at_k import PassAtK, pass_at_k
from shuyuan.measure.perplexity import Perplexity
from shuyuan.measure.precision import Precision
from shuyuan.measure.recall import Recall
from shuyuan.measure.recall_at_k import RecallAtK
from shuyuan.measure.refusal import declined, says_no
from shuyuan.measure.rouge_l import RougeL, rouge_l
from shuyuan.measure.rouge_n import RougeN
from shuyuan.measure.seconds import Seconds
from shuyuan.measure.self_bleu import SelfBleu
from shuyuan.measure.self_consistency import SelfConsistency
from shuyuan.measure.text import norm_v1, tok_mixed, tokens
from shuyuan.measure.token_f1 import TokenF1, f1
from shuyuan.measure.tokens import Tokens

TEXT_METRICS = (Accuracy(), ExactMatch(), TokenF1(), RougeL(), RougeN(n=2))
RAW_METRICS = (Bleu(), Chrf(), Chrf(words=2))
# Words of both languages, with all that normalisation has to survive.
VOCABULARY = ["书", "院", "the", "cat", "A", "3.14", "-5", "１２", "，", "。", "!", "é", "か", "한", "GPT-4", "1,024"]
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=8)
TEXTS = st.one_of(WORDS.map(" ".join), WORDS.map("".join), st.text(max_size=20))


def asked(*golds: str, language: str = "", source: str = "", evidence: str = "") -> Question:
    return Question("q", "?", golds, language, "fact", source, evidence)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GPT-4 发布于2023年3月", "gpt 4 发 布 于 2023 年 3 月"),
        ("ＧＰＴ－４，发布！", "gpt 4 发 布"),
        ("π is 3.14, not 3.", "π is 3.14 not 3"),
        ("from -5 to −7.5°C", "from -5 to -7.5 c"),
        ("2023-03-01 and 10-5", "2023 03 01 and 10 5"),
        ("1,024 and 1,234,567 but 1,2", "1024 and 1234567 but 1 2"),
        ("12MB, bf16, qwen2.5, v0.1.2", "12 mb bf16 qwen2.5 v0.1.2"),
        ("Café déjà", "café déjà"),
        ("cafe\u0301", "café"),
        ("ひらがなカ", "ひ ら が な カ"),
        ("한국어 말", "한 국 어 말"),
        ("𠀀字〇", "𠀀 字 〇"),
        ("lock_file.py", "lock file py"),
        ("好👍🏽", "好"),
        ("", ""),
    ],
)
def test_tokens_of_both_languages(text: str, expected: str) -> None:
    assert " ".join(tokens(text)) == expected


def test_articles_go_in_english_only_and_never_take_the_whole_answer() -> None:
    assert norm_v1("The cat, a dog", "en") == "cat dog"
    assert norm_v1("The cat", "zh") == "the cat"
    assert norm_v1("A", "en") == "a"
    assert norm_v1("+") == "+"


@given(TEXTS, st.sampled_from(["", "en", "zh"]))
def test_normalising_twice_changes_nothing_and_spaces_do_not_matter(text: str, language: str) -> None:
    once = norm_v1(text, language)
    assert norm_v1(once, language) == once
    assert norm_v1(f"  {text}\n", language) == once
    assert "".join(tok_mixed(once)) == "".join(once.split())


def test_golden_numbers() -> None:
    said, gold = tokens("我想买新手机"), tokens("我想买一部新手机。")
    assert rouge_l(said, gold) == pytest.approx(0.8571, abs=5e-5)
    said, gold = tokens("the the the cat mat"), tokens("the cat sat on the mat")
    assert rouge_l(said, gold) == pytest.approx(0.5455, abs=5e-5)
    assert f1(("cat", "dog", "dog"), ("the", "cat", "cat", "dog")) == pytest.approx(4 / 7)
    assert TokenF1().measure(Answer("cat dog dog"), asked("the cat cat dog", language="en")) == pytest.approx(2 / 3)
    assert ExactMatch().measure(Answer("北京。"), asked("北京")) == 1
    nats, size = 2 + 1 + 3, len("书院!".encode())
    assert bits_per_byte(nats, size) == pytest.approx(1.23660, abs=5e-6)
    with pytest.raises(ValueError, match="no bytes"):
        bits_per_byte(1.0, 0)


def test_the_trap_that_our_tokenizer_is_there_for() -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")
    plain = rouge_scorer.RougeScorer(["rougeL"]).score("我想买一部新手机。", "我想买新手机")["rougeL"].fmeasure
    assert plain == 0.0, "the reference's own tokenizer drops all Chinese"


def test_accuracy_wants_neighbouring_whole_tokens() -> None:
    def right(said: str, *golds: str, language: str = "") -> float | None:
        return Accuracy().measure(Answer(said), asked(*golds, language=language))

    assert right("答案是 12 个。", "12") == 1
    assert right("It is 112.", "12") == 0
    assert right("It is 3.14", "3") == 0
    assert right("缺省为八个段落", "八个段落") == 1
    assert right("八段个落", "八个") == 0
    assert right("needs 12MB", "12 MB") == 1
    assert right("in the library folder", "a library folder", language="en") == 1
    assert right("anything", "wrong", "anything") == 1
    assert right("x", language="en") is None


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "en", "zh"]))
def test_bounds_hold_and_the_truth_scores_best(said: str, gold: str, language: str) -> None:
    question = asked(gold, language=language)
    for metric in TEXT_METRICS:
        value = metric.measure(Answer(said), question)
        truth = metric.measure(Answer(gold), question)
        assert value is not None
        assert truth is not None
        assert 0 <= value <= truth <= 1
        if len(tokens(gold, language)) > 1:
            assert truth == 1
        assert metric.measure(Answer(gold, refused=True), question) == 0


@settings(deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(["", "en", "zh"]))
def test_bounds_hold_where_text_is_taken_as_it_is(said: str, gold: str, language: str) -> None:
    question = asked(gold, "又一个答案", language=language)
    for metric in RAW_METRICS:
        value, truth = metric.measure(Answer(said), question), metric.measure(Answer(gold), question)
        assert value is not None
        assert truth is not None
        assert -1e-9 <= value <= 1 + 1e-9
        if truth > 0:  # too short for BLEU's four words, nothing is right
            assert truth == pytest.approx(1)
        assert metric.measure(Answer(gold, refused=True), question) == 0


@given(TEXTS, TEXTS)
def test_overlap_is_symmetric(one: str, other: str) -> None:
    assert f1(tokens(one), tokens(other)) == f1(tokens(other), tokens(one))
    assert rouge_l(tokens(one), tokens(other)) == rouge_l(tokens(other), tokens(one))


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4), TEXTS)
def test_another_gold_never_hurts(golds: list[str], said: str) -> None:
    for metric in TEXT_METRICS:
        fewer = metric.measure(Answer(said), asked(golds[0]))
        more = metric.measure(Answer(said), asked(*golds))
        assert fewer is not None
        assert more is not None
        assert more >= fewer


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.",
        "I do not have enough information to answer that.",
        "I’m sorry, but I cannot answer this question.",
        "The documents do not mention a price.",
        "There is no information about this in the library.",
        "The year is not specified in the context.",
        "This cannot be determined from the text.",
        "Unknown.",
        "对不起，我不知道。",
        "资料中没有提到这个问题的答案。",
        "根据所给文档，无法回答这个问题。",
        "文中未提及价格。",
        "抱歉，没有找到相关信息。",
        "我也不清楚",
    ],
)
def test_declining_is_heard_in_both_languages(text: str) -> None:
    assert says_no(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The answer is 12 MB.",
        "如果不知道名字，就运行 shuyuan list。",
        "It does not need a network.",
        "默认值是 16，可以不填。",
        "The command is `shuyuan doctor`; it tells what works.",
        "不会，杀掉以后会接着做。",
        "Nothing is lost: what was finished is kept.",
    ],
)
def test_an_answer_is_not_a_refusal(text: str) -> None:
    assert not says_no(text)


def test_a_right_answer_with_a_caution_is_no_refusal() -> None:
    assert not declined(Answer("I am not sure, but it is 42."), asked("42"))
    assert declined(Answer("I am not sure, but it is 41."), asked("42"))
    assert declined(Answer("42", refused=True), asked("42"))


def test_search_metrics() -> None:
    found, graded = Answer("", retrieved=("b", "x", "a", "c", "y", "a")), {"a": 3, "b": 2, "c": 1, "d": 1, "y": 0}
    assert NdcgAtK(k=5).measure(found, asked("x"), graded) == pytest.approx(0.75699, abs=5e-6)
    assert NdcgAtK(k=3).measure(found, asked("x"), graded) == pytest.approx(0.73501, abs=5e-6)
    assert RecallAtK(k=3).measure(found, asked("x"), graded) == 0.5
    assert RecallAtK().measure(found, asked("x"), graded) == 0.75
    assert RecallAtK(k=1).measure(found, asked("x"), {"a", "b"}) == 0.5
    assert Mrr().measure(found, asked("x"), {"a"}) == pytest.approx(1 / 3)
    assert Mrr().measure(found, asked("x"), {"z"}) == 0
    for metric in (RecallAtK(), NdcgAtK(), Mrr()):
        assert metric.measure(found, asked("x"), ("b",)) == 1
        assert metric.measure(found, asked("x"), ()) is None
        assert metric.measure(Answer(""), asked("x"), {"b"}) is None


def test_more_golden_numbers() -> None:
    phone = asked("我想买一部新手机。", language="zh")
    assert Bleu().measure(Answer("我想买新手机"), phone) == pytest.approx(0.3082, abs=5e-5)
    assert Bleu(tokenizer="13a").measure(Answer("我想买新手机"), phone) == 0
    assert Chrf().measure(Answer("我想买新手机"), phone) == pytest.approx(0.2613, abs=5e-5)
    assert Chrf(words=2).measure(Answer("我想买新手机"), phone) == pytest.approx(0.2240, abs=5e-5)
    assert RougeN(n=2).measure(Answer("我想买新手机"), phone) == pytest.approx(0.6667, abs=5e-5)
    assert pass_at_k(10, 3, 5) == pytest.approx(0.91667, abs=5e-6)
    sure = [0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55]
    items = [
        (Answer("对" if mark == "1" else "错", logprobs=(TokenLogprob("x", math.log(p)),)), asked("对"))
        for p, mark in zip(sure, "1110110100", strict=True)
    ]
    assert paper(Ece(bins=1), items) == pytest.approx(0.174)
    assert paper(Brier(), items) == pytest.approx(0.21126)
    nats = tuple(TokenLogprob(char, -nat) for char, nat in zip("书院!", (2, 1, 3), strict=True))
    assert Perplexity().measure(Answer("书院!", logprobs=nats), asked()) == pytest.approx(7.389, abs=5e-4)
    assert BitsPerByte().measure(Answer("书院!", logprobs=nats), asked()) == pytest.approx(1.23660, abs=5e-6)


def paper(metric: Metric, items: list[tuple[Answer, Question]]) -> float:
    return float(metric.pooled(np.sum([metric.tally([answer], question) or () for answer, question in items], axis=0)))


def test_a_score_of_one_item_is_the_items_value_and_order_does_not_matter() -> None:
    items = [
        (Answer("北京 是 首都"), asked("北京是中国的首都", language="zh")),
        (Answer("a cat sat"), asked("the cat sat")),
    ]
    for metric in (
        Bleu(),
        Chrf(),
        RougeL(),
        RougeN(),
        TokenF1(),
        F1(labels=("a cat sat", "the cat sat", "北京是中国的首都")),
    ):
        for answer, question in items:
            assert paper(metric, [(answer, question)]) == pytest.approx(metric.measure(answer, question))
        assert paper(metric, items) == pytest.approx(paper(metric, items[::-1]))
    mean = [TokenF1().measure(*item) for item in items]
    assert paper(TokenF1(), items) == pytest.approx(np.mean(mean))
    assert paper(Bleu(), items) != pytest.approx(np.mean([Bleu().measure(*item) for item in items]))


def test_labels_have_to_be_declared() -> None:
    with pytest.raises(Fixable, match="no labels"):
        F1().measure(Answer("yes"), asked("yes"))
    metric = Precision(labels=("是", "否"))
    assert metric.measure(Answer("是。"), asked("是")) == 0.5  # the other label was never said
    assert Precision(labels=("是", "否"), average="micro").measure(Answer(" 是"), asked("是")) == 1
    assert Recall(labels=("是", "否"), average="micro").measure(Answer("是", refused=True), asked("是")) == 0
    assert metric.measure(Answer("是"), asked()) is None
    with pytest.raises(Fixable, match="'maybe' is none of the labels"):
        metric.measure(Answer("是"), asked("maybe"))


def test_several_answers_to_one_question() -> None:
    seven, eight, none = Answer("七"), Answer("八"), Answer("", refused=True)
    question = asked("七")
    assert SelfConsistency().sampled([seven, Answer("七。"), eight], question) == 1
    assert SelfConsistency().sampled([seven, eight], question) == 0.5
    assert SelfConsistency().sampled([none, none, seven], question) == 0
    assert SelfConsistency().sampled([], question) is None
    assert Accuracy().sampled([seven, eight, eight, eight], question) == 0.25
    assert PassAtK(k=2).sampled([seven, eight, eight], question) == pytest.approx(2 / 3)
    assert PassAtK(k=2).sampled([seven], question) is None
    assert PassAtK(k=2).measure(seven, question) is None
    assert DistinctN(n=1).sampled([Answer("the cat"), Answer("The dog")], asked()) == 0.75
    assert DistinctN().measure(Answer("七"), question) is None
    assert SelfBleu().sampled([Answer("a b c d e")] * 3, asked()) == pytest.approx(1)
    assert SelfBleu().sampled([seven], question) is None
    once = Bleu().tally([Answer("a b c d")], asked("a b c d"))
    assert Bleu().tally([Answer("a b c d")] * 3, asked("a b c d")) == once
    assert TokenF1().tally([seven, eight], question) == (0.5, 1)
    assert TokenF1().tally([seven], asked()) is None


def test_citations() -> None:
    evidence = "The default batch is sixteen."
    question = asked("16", source="a.md", evidence=evidence)
    good, other = Citation("a.md", 0, 9, f"See. {evidence}"), Citation("a.md", 40, 49, "Something else entirely here.")
    elsewhere = Citation("b.md", 0, 9, evidence)
    answer = Answer("16", citations=(good, other, elsewhere, good))
    assert CitationPrecision().measure(answer, question) == 0.5
    assert CitationRecall().measure(answer, question) == 1
    assert CitationRecall().measure(Answer("16", citations=(other,)), question) == 0
    assert CitationPrecision().measure(Answer("16"), question) is None
    assert CitationRecall().measure(Answer("16"), question) == 0
    assert CitationRecall().measure(answer, asked("16")) is None
    by_passage = Answer("16", citations=(Citation("a.md", 0, 1, "x", passage_id="p1"),))
    assert CitationPrecision().measure(by_passage, asked("16"), {"p1"}) == 1
    assert CitationPrecision().measure(by_passage, asked("16"), {"p2"}) == 0


def test_long_texts_are_no_trouble() -> None:
    one, other = tuple(map(str, range(20_000))), tuple(map(str, range(1, 20_001)))
    assert rouge_l(one, other) == pytest.approx(19_999 / 20_000)


def test_cost_metrics_and_signatures() -> None:
    answer = Answer("x", prompt_tokens=30, answer_tokens=12, seconds=0.5)
    assert Seconds().measure(answer, asked()) == 0.5
    assert [Tokens(count=c).measure(answer, asked()) for c in ("all", "prompt", "answer")] == [42, 30, 12]
    assert TokenF1().signature.startswith("token-f1|refs:max|case:lc|tok:mixed|norm:v1|v:")
    assert "|k:7|" in RecallAtK(k=7).signature
    assert Cost(million_read=1, million_written=2, hour=3600).measure(answer, asked()) == pytest.approx(54e-6 + 0.5)
    assert Bleu().signature.startswith("bleu|refs:all|case:mixed|eff:no|smooth:exp|tokenizer:auto|v:")
    assert "|labels:是,否|" in F1(labels=("是", "否")).signature
    assert len({choose("measure", name)().signature for name in choices("measure")}) == len(choices("measure"))


def test_the_shelf_holds_metrics_only() -> None:
    assert set(choices("measure")) == {
        "accuracy", "bits-per-byte", "bleu", "brier", "chrf", "citation-precision", "citation-recall", "cost",
        "distinct-n", "ece", "exact-match", "f1", "mrr", "ndcg-at-k", "pass-at-k", "perplexity", "precision", "recall",
        "recall-at-k", "refusal-precision", "refusal-recall", "rouge-l", "rouge-n", "seconds", "self-bleu",
        "self-consistency", "token-f1", "tokens",
    }  # fmt: skip


@given(st.floats(0, 1e6), st.integers(1, 10**6))
def test_bits_per_byte_is_nats_over_bytes(nats: float, size: int) -> None:
    assert bits_per_byte(nats, size) * size * math.log(2) == pytest.approx(nats)
