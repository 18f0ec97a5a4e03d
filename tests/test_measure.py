"""The metrics: golden numbers, parity with the field's own libraries, and properties that must always hold."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shuyuan.base.records import Answer, Question
from shuyuan.base.shelf import choices, choose
from shuyuan.measure.accuracy import Accuracy
from shuyuan.measure.bits_per_byte import bits_per_byte
from shuyuan.measure.exact_match import ExactMatch
from shuyuan.measure.recall_at_k import RecallAtK
from shuyuan.measure.refusal import declined, says_no
from shuyuan.measure.refusal_precision import RefusalPrecision
from shuyuan.measure.refusal_recall import RefusalRecall
from shuyuan.measure.rouge_l import RougeL, rouge_l
from shuyuan.measure.seconds import Seconds
from shuyuan.measure.text import norm_v1, tok_mixed, tokens
from shuyuan.measure.token_f1 import TokenF1, f1
from shuyuan.measure.tokens import Tokens

TEXT_METRICS = (Accuracy(), ExactMatch(), TokenF1(), RougeL())
# Words of both languages, with all that normalisation has to survive.
VOCABULARY = ["书", "院", "the", "cat", "A", "3.14", "-5", "１２", "，", "。", "!", "é", "か", "한", "GPT-4", "1,024"]
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=8)
TEXTS = st.one_of(WORDS.map(" ".join), WORDS.map("".join), st.text(max_size=20))


def asked(*golds: str, language: str = "", text: str = "?") -> Question:
    return Question("q", text, golds, language, "fact")


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


def test_rouge_l_equals_rouge_score_with_our_tokenizer() -> None:
    rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer")

    class Ours:
        def tokenize(self, text: str) -> list[str]:
            return list(tokens(text))

    scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=Ours())

    @settings(max_examples=60, deadline=None)
    @given(TEXTS, TEXTS)
    def same(said: str, gold: str) -> None:
        assert rouge_l(tokens(said), tokens(gold)) == pytest.approx(scorer.score(gold, said)["rougeL"].fmeasure)

    same()
    plain = rouge_scorer.RougeScorer(["rougeL"]).score("我想买一部新手机。", "我想买新手机")["rougeL"].fmeasure
    assert plain == 0.0, "the trap that our tokenizer is there for: the default one drops all Chinese"


def test_accuracy_and_refusals_equal_sklearn() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    items = [(asked("七"), Answer("七")), (asked("八"), Answer("九")), (asked("九"), Answer("", refused=True))]
    items += [(asked(), Answer("", refused=True)), (asked(), Answer("编的")), (asked(), Answer("我不知道。"))]
    truth = [not question.answers for question, _ in items]
    refused = [declined(answer, question) for question, answer in items]
    recall = [m for q, a in items if (m := RefusalRecall().measure(a, q)) is not None]
    precision = [m for q, a in items if (m := RefusalPrecision().measure(a, q)) is not None]
    assert sum(recall) / len(recall) == pytest.approx(sklearn_metrics.recall_score(truth, refused))
    assert sum(precision) / len(precision) == pytest.approx(sklearn_metrics.precision_score(truth, refused))
    right = [m for q, a in items if (m := Accuracy().measure(a, q)) is not None]
    assert right == [1, 0, 0]


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
        if tokens(gold, language):
            assert truth == 1
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


def test_recall_at_k() -> None:
    found = Answer("", retrieved=("a", "b", "c"))
    assert RecallAtK(k=1).measure(found, asked("x"), {"b"}) == 0
    assert RecallAtK(k=2).measure(found, asked("x"), {"b"}) == 1
    assert RecallAtK(k=3).measure(found, asked("x"), {"b", "z"}) == 0.5
    assert RecallAtK(k=1).measure(found, asked("x"), {"a", "b"}) == 1
    assert RecallAtK().measure(found, asked("x"), ()) is None
    assert RecallAtK().measure(Answer(""), asked("x"), {"b"}) is None


def test_cost_metrics_and_signatures() -> None:
    answer = Answer("x", prompt_tokens=30, answer_tokens=12, seconds=0.5)
    assert Seconds().measure(answer, asked()) == 0.5
    assert [Tokens(count=c).measure(answer, asked()) for c in ("all", "prompt", "answer")] == [42, 30, 12]
    assert TokenF1().signature.startswith("token-f1|refs:max|case:lc|tok:mixed|norm:v1|v:")
    assert "|k:7|" in RecallAtK(k=7).signature
    assert len({choose("measure", name)().signature for name in choices("measure")}) == len(choices("measure"))


def test_the_shelf_holds_metrics_only() -> None:
    assert set(choices("measure")) == {
        "accuracy", "exact-match", "recall-at-k", "refusal-precision", "refusal-recall", "rouge-l", "seconds",
        "token-f1", "tokens",
    }  # fmt: skip


@given(st.floats(0, 1e6), st.integers(1, 10**6))
def test_bits_per_byte_is_nats_over_bytes(nats: float, size: int) -> None:
    assert bits_per_byte(nats, size) * size * math.log(2) == pytest.approx(nats)
