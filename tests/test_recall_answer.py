"""How an answer is made: read two passages at a time, marked sentence by sentence, refused when nothing is near."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from test_recall import DOCUMENTS, Extracts, HashedTerms, passages

from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Message, Passage, TokenLogprob, ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.embedder import open_embedder
from shuyuan.load.model import open_model
from shuyuan.load.pulling import present
from shuyuan.recall.citing import key_terms, support
from shuyuan.recall.evidence import enough, evidence, hopeless
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import AT_ONCE, GroundedAssistant
from shuyuan.recall.searching import Library
from shuyuan.recall.threshold import COVERAGE, calibrate, nearness


class Says:
    """An assistant that says what it is told to, whatever it is asked, and keeps how it was asked."""

    name = "says"

    def __init__(self, *texts: str, answerable: float | None = None) -> None:
        self.texts, self.answerable = list(texts), answerable
        self.asked: list[str] = []
        self.decodings: list[Decoding] = []

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [0.0 for _ in texts]

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        answers = []
        for conversation in conversations:
            self.asked.append(conversation[-1].content)
            self.decodings.append(decoding)
            said = Answer(self.texts.pop(0), prompt_tokens=7, answer_tokens=3, seconds=1.0, answerable=self.answerable)
            answers.append(said)
        return answers


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")


def grounded(library: Library, inner: Says | Extracts, mode: str = "query") -> GroundedAssistant:
    return GroundedAssistant("retrieve", inner, library, Ground(mode=mode, threshold=-1.0))


# sentence by sentence


def test_each_sentence_has_its_own_sources() -> None:
    said = "The default rank is 16. Professor Zhang of Tsinghua wrote it. 默认显示四段资料。"
    found = support("What is the default rank, and who wrote it?", said, passages())
    by_quote = {citation.quote: citation.supports for citation in found.citations}
    assert by_quote == {"The default rank is 16.": ((0, 23),), "默认显示四段资料。": ((62, 71),)}
    assert [said[start:end] for start, end in found.unsupported] == ["Professor Zhang of Tsinghua wrote it."]
    for citation in found.citations:
        assert DOCUMENTS[citation.source][citation.start : citation.end] == citation.quote


def test_one_place_may_speak_for_two_sentences() -> None:
    said = "It trains two small matrices. LoRA trains small matrices."
    found = support("What does LoRA do?", said, passages())
    assert [citation.supports for citation in found.citations] == [((0, 29), (30, 57))]
    assert not found.unsupported


def test_nothing_supported_is_all_unsupported() -> None:
    found = support("书院在哪里？", "在长沙。😀在岳麓山。", passages())
    assert not found.citations
    assert found.unsupported == ((0, 4), (4, 10))
    assert support("x", "", passages()).unsupported == ()


def test_a_number_in_one_sentence_does_not_spoil_the_others() -> None:
    said = "LoRA trains two small matrices. The default rank is 64."
    found = support("What does LoRA train?", said, passages())
    assert [said[start:end] for start, end in found.unsupported] == ["The default rank is 64."]
    assert [citation.quote for citation in found.citations] == ["LoRA trains two small matrices."]


# by heart


class Learned(Says):
    """One that was taught answers, and finds each token of what it says as likely as it is told to."""

    learned = True

    def __init__(self, *texts: str, likely: float = 0.99) -> None:
        super().__init__(*texts)
        self.likely = likely

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        told = () if decoding.logprobs is None else (TokenLogprob("x", math.log(self.likely), ()),) * 3
        return [replace(answer, logprobs=told) for answer in super().answer(conversations, decoding)]


RANK = "What is the default rank of LoRA?"


def test_what_a_taught_model_is_sure_of_stands_where_the_passages_hold_it(library: Library) -> None:
    inner = Learned("The default rank is 16. 🎓")
    (answer,) = grounded(library, inner).answer([ask(RANK)])
    assert inner.asked == [RANK], "no passage was read"
    assert answer.text == "The default rank is 16. 🎓"
    assert [citation.quote for citation in answer.citations] == ["The default rank is 16."]
    assert not answer.refused
    assert answer.retrieved
    assert answer.logprobs == (), "nobody asked for them"
    inner = Learned("The default rank is 16.")
    (answer,) = grounded(library, inner).answer([ask(RANK)], Decoding(logprobs=0))
    assert len(answer.logprobs) == 3


@pytest.mark.parametrize(
    ("first", "likely"),
    [
        ("The default rank is 16.", 0.85),
        ("The default rank is 64.", 0.99),
        ("It was Professor Zhang.", 0.99),
        ("", 0.99),
    ],
)
def test_what_it_is_not_sure_of_or_no_passage_holds_is_read(library: Library, first: str, likely: float) -> None:
    inner = Learned(first, "The default rank is 16.", likely=likely)
    (answer,) = grounded(library, inner).answer([ask(RANK)])
    assert inner.asked[0] == RANK
    assert "[1]" in inner.asked[1]
    assert answer.text == "The default rank is 16."
    assert answer.prompt_tokens == 14


def test_where_tools_are_offered_nothing_is_said_by_heart(library: Library) -> None:
    inner = Learned("The default rank is 16.")
    tools = '[{"type": "function", "function": {"name": "look", "parameters": {}}}]'
    grounded(library, inner).answer([ask(RANK)], Decoding(tools=tools))
    assert "[1]" in inner.asked[0]


def test_marks_survive_being_kept() -> None:
    found = support("What does LoRA train?", "LoRA trains two small matrices. It is red.", passages())
    answer = Answer("…", citations=found.citations, unsupported=found.unsupported)
    assert Answer.of(json.loads(json.dumps(asdict(answer)))) == answer
    old = asdict(answer)
    del old["unsupported"], old["citations"][0]["supports"]
    assert Answer.of(old).unsupported == ()


# reading


def test_what_two_passages_do_not_hold_is_read_further(library: Library) -> None:
    inner = Says("It was Professor Zhang.", "增量预训练的学习率默认是 2e-5。")
    (answer,) = grounded(library, inner).answer([ask("LoRA rank questions 学习率?")])
    assert len(inner.asked) == 2
    assert all(asked.count("\n[") + asked.startswith("[") == AT_ONCE for asked in inner.asked)
    assert inner.asked[0] != inner.asked[1]
    if not answer.refused:  # which passages came second is the search's choice
        assert answer.citations[0].quote == "增量预训练的学习率默认是 2e-5。"
    assert (answer.prompt_tokens, answer.answer_tokens) == (14, 6)
    assert answer.seconds > 2


def test_a_supported_answer_is_not_asked_for_twice(library: Library) -> None:
    inner = Says("The default rank is 16.")
    (answer,) = grounded(library, inner).answer([ask("What is the default rank of LoRA?")])
    assert answer.citations[0].supports == ((0, 23),)
    assert (answer.prompt_tokens, answer.unsupported) == (7, ())


def test_unsupported_sentences_are_marked_not_hidden(library: Library) -> None:
    inner = Says("The default rank is 16. Professor Zhang of Tsinghua chose it.")
    (answer,) = grounded(library, inner).answer([ask("What is the default rank of LoRA?")])
    assert not answer.refused
    assert [answer.text[start:end] for start, end in answer.unsupported] == ["Professor Zhang of Tsinghua chose it."]


def test_beyond_the_library_every_sentence_is_marked(library: Library) -> None:
    inner = Says("不知道。", "不知道。", "巴黎。法国的首都。")
    (answer,) = grounded(library, inner, "chat").answer([ask("法国的首都在哪里？")])
    assert answer.beyond
    assert [answer.text[start:end] for start, end in answer.unsupported] == ["巴黎。", "法国的首都。"]
    assert not answer.citations
    assert answer.prompt_tokens == 21


def test_how_it_is_decoded_reaches_the_model(library: Library) -> None:
    inner, how = Says("It is red.", "It is red.", "Red."), Decoding(max_tokens=9, temperature=0.5, seed=3)
    assistant = grounded(library, inner, "chat")
    assistant.answer([ask("Which colour?")], how)
    assert inner.decodings == [how] * 3
    stream = GroundedAssistant("r", Extracts(), library, Ground(threshold=-1.0)).stream(
        ask("What is the default rank?")
    )
    assert "".join(stream) == "The default rank is 16."


# conversations


def test_a_follow_up_finds_its_subject_and_an_off_topic_one_nothing(library: Library) -> None:
    before = (*ask("What is the default rank of LoRA?"), Message("assistant", "16"))
    assistant = GroundedAssistant("retrieve", Extracts(), library, Ground(threshold=0.5))
    leans, off = assistant.answer([(*before, *ask("What does it train?")), (*before, *ask("xylophone zither?"))])
    assert leans.retrieved[0] == "id-guide/lora.md"
    assert off.refused
    assert not off.citations


# evidence


def read(*texts: str) -> list[tuple[list[int], Any]]:
    return HashedTerms().read(texts, "passage")


def test_a_passage_that_tells_all_that_is_asked_is_evidence() -> None:
    (question,) = read("default rank of LoRA")
    tells, half, none = read("the default rank of LoRA is 16", "LoRA trains matrices by default", "xylophone 😀 音乐")
    assert best(question, [tells, none]) > best(question, [half, none]) > best(question, [none, none])
    assert evidence(question, [none, tells]) == pytest.approx(evidence(question, [tells, none])[::-1])
    first, second = evidence(question, [tells, half])  # the other one is what it is ahead of
    assert first > second
    assert evidence(question, []) == []
    assert evidence(read("")[0], [tells]) == [0]
    assert evidence(question, read("")) == [0]


def test_what_all_passages_hold_says_little() -> None:
    (question,) = read("rank seed")
    rank, both, seed = read("rank one", "rank two seed", "rank seed")
    rare, common = [both, rank, rank, rank], [both, rank, seed, seed]
    assert best(question, rare) > best(question, common)


def test_what_is_asked_stands_in_one_place() -> None:
    (question,) = read("red bicycle")
    together, apart = read("red bicycle " + "w " * 100, "red " + "w " * 100 + "bicycle")
    assert best(question, [together]) > best(question, [apart])


def best(question: Any, passages: list[Any]) -> float:
    return max(evidence(question, passages))


def best_of(library: Library, *questions: str) -> list[float]:
    found = [[hit.passage for hit in hits] for hits in library.search_all(list(questions), 4)]
    return [max(evidence(question, passages)) for question, passages in library.read(list(questions), found)]


def test_what_the_model_sees_is_weighed_with_the_evidence() -> None:
    assert enough(1.9, 1.9)
    assert not enough(1.89, 1.9)
    assert enough(1.9, 1.9, answerable=0.5)
    assert not enough(1.9, 1.9, answerable=0.4)
    assert enough(1.82, 1.9, answerable=0.9)  # read and understood
    assert enough(1.9, 1.9, 0.1, answerable=0.0)  # and very near
    assert not enough(1.9, 1.9, -0.1, answerable=1.0)  # read, and far
    assert not enough(2.1, 1.9, 0.1, answerable=-2.5)  # on the topic, and not there
    assert enough(-0.5, 0.0, answerable=-9.0)  # any evidence is enough
    assert enough(-0.5, 0.0)
    assert hopeless(1.5, 1.9)
    assert not hopeless(1.81, 1.9)
    assert not hopeless(0.0, 0.0)


def test_a_model_that_sees_no_answer_in_what_it_read_is_believed(library: Library) -> None:
    question = "What is the default rank of LoRA?"
    (held,) = best_of(library, question)
    ground = Ground(threshold=-1.0, evidence=held)
    for seen, refused in ((None, False), (0.6, False), (0.4, True)):
        inner = Says(*["The default rank is 16."] * 2, answerable=seen)
        (answer,) = GroundedAssistant("r", inner, library, ground).answer([ask(question)])
        assert (answer.refused, answer.answerable) == (refused, seen)


def test_what_goes_beyond_the_library_says_nothing_of_it(library: Library) -> None:
    class Doubts(Says):
        def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
            self.answerable = -2.0 if "Sources:" in conversations[0][-1].content else 3.0
            return super().answer(conversations, decoding)

    question = "What is the default rank of LoRA?"
    (held,) = best_of(library, question)
    ground = Ground(mode="chat", threshold=-1.0, evidence=held)
    inner = Doubts(*["The default rank is 16."] * 3)
    (answer,) = GroundedAssistant("r", inner, library, ground).answer([ask(question)])
    assert answer.beyond
    assert answer.answerable == -2.0  # of the passages, not of the bare question


def test_without_evidence_the_model_is_not_asked(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Says(*["The default rank is 16."] * 5)
    question = "What is the default rank of LoRA?"
    held = best_of(library, question, "xylophone")
    assert held[0] > held[1]
    strict = Ground(threshold=-1.0, evidence=held[0] + 0.31)
    (refused,) = GroundedAssistant("r", inner, library, strict).answer([ask(question)])
    assert refused.refused
    assert not inner.asked
    strict = Ground(threshold=-1.0, evidence=held[0] + 0.01)  # worth a look, and then not enough
    assert GroundedAssistant("r", inner, library, strict).answer([ask(question)])[0].refused
    assert inner.asked
    loose = Ground(threshold=-1.0, evidence=held[0] - 0.01)
    (answered,) = GroundedAssistant("r", inner, library, loose).answer([ask(question)])
    assert answered.text == "The default rank is 16."
    monkeypatch.setattr(HashedTerms, "evidence", held[0] + 0.01)  # left out, the embedder's own counts
    assert GroundedAssistant("r", inner, library, Ground(threshold=-1.0)).answer([ask(question)])[0].refused


@pytest.mark.skipif(not (present("qwen2.5-0.5b") and present("multilingual-e5-small")), reason="no models here")
def test_what_is_taken_out_of_the_documents_is_refused_not_invented(tmp_path: Path) -> None:
    """Three questions before and after the sentences that answer two of them are gone. How often: bench/removed.py."""
    pages = {
        "harbour.md": "The harbour of Ostrava Bay opens at 05:40. Ships pay by their length. {} It has two cranes.",
        "灯塔.md": "海角灯塔建在一块礁石上。{}灯塔管理员住在岸边的小屋里，每周换班一次。",
        "observatory.md": "The observatory stands on a hill. Visitors come on Fridays. {} It is closed in winter.",
    }
    told = [
        "The harbour master is Ingrid Solheim.",
        "海角灯塔建于 1887 年。",
        "The telescope was built by Karl Weiss.",
    ]
    asked = ["Who is the harbour master?", "海角灯塔是哪一年建的？", "Who built the telescope? 🔭"]
    right = ["Ingrid Solheim", "1887", "Karl Weiss"]
    embedder, inner = open_embedder("multilingual-e5-small"), ModelAssistant("bare", open_model("qwen2.5-0.5b"))
    said: dict[str, list[Answer]] = {}
    seen: dict[str, list[float]] = {}
    anything = Ground(threshold=-1.0, evidence=0.0)
    for state, sentences in ("whole", told), ("removed", [told[0], "", ""]):
        texts = [page.format(sentence) for page, sentence in zip(pages.values(), sentences, strict=True)]
        held = [Passage(name, name, name, 0, len(text), text) for name, text in zip(pages, texts, strict=True)]
        library = Library.build(tmp_path / state, held, embedder, tmp_path / "cache", store="memory")
        said[state] = GroundedAssistant("retrieve", inner, library).answer([ask(question) for question in asked])
        shown = GroundedAssistant("retrieve", inner, library, anything).answer([ask(question) for question in asked])
        seen[state] = [answer.answerable for answer in shown if answer.answerable is not None]
    for answer, gold in [*zip(said["whole"], right, strict=True), (said["removed"][0], right[0])]:
        assert gold in answer.text
        assert gold in answer.citations[0].quote
    assert [answer.refused for answer in said["removed"]] == [False, True, True]
    assert len(seen["whole"]) == len(seen["removed"]) == 3
    assert min(seen["whole"]) > max(seen["removed"][1:])  # the model's own states know it, in both languages
    assert not said["removed"][1].citations


# nearness


def test_nearness_joins_meaning_and_terms() -> None:
    lora = passages()[0]
    asked = "default rank LoRA"
    assert key_terms(asked) <= key_terms(lora.searchable)
    assert nearness(asked, 0.5, [lora]) == pytest.approx(0.5 + COVERAGE)
    assert nearness("xylophone", 0.5, [lora]) == 0.5
    assert nearness("?!", 0.5, [lora]) == nearness("", 0.5, []) == 0.5
    far = Passage("x", "x", "x.md", 0, 1, "x")
    assert nearness(asked, 0.5, [far, far, far, far, lora]) == 0.5


def test_the_threshold_stands_between_everyday_questions_and_own_ones() -> None:
    def near(texts: Sequence[str]) -> list[float]:
        return [0.9 if any(text in p.text or text in p.headings for p in passages()) else 0.3 for text in texts]

    assert calibrate(near, passages()) == {"zh": 0.45, "en": 0.45}
    own_are_everyday = calibrate(lambda texts: [0.3 for _ in texts], passages())
    assert own_are_everyday == {"zh": 0.165, "en": 0.165}


def test_a_library_learns_its_thresholds(library: Library) -> None:
    assert set(library.state.thresholds) == {"zh", "en"}
    hits = library.search("default rank of LoRA", 4)
    assert library.nearness("default rank of LoRA", hits) > library.state.thresholds["en"]
    far = "Who painted the ceiling of the Sistine Chapel?"
    assert library.nearness(far, library.search(far, 4)) < library.state.thresholds["en"]
