"""Planted leaks are found and named; honest paraphrases and equal answers pass."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.records import Example, Message, Question
from shuyuan.base.workspace import Workspace, home
from shuyuan.load.pulling import present
from shuyuan.prepare.forms import Forms, other_answers
from shuyuan.prepare.leak import Hit, check_leaks, near_duplicates, refuse
from shuyuan.prepare.likeness import Read, likeness, other_names
from shuyuan.prepare.meaning import Said, alike, said
from shuyuan.prepare.normal import normal, units
from shuyuan.prepare.questions import exam_questions, examples, read_questions
from shuyuan.prepare.split import Split
from shuyuan.read.language import language
from shuyuan.recall.leaks import find_leaks, refuse_leaks


def example(*contents: str) -> Example:
    """An example whose turns alternate, from line 12 of learn.jsonl."""
    messages = tuple(Message("assistant" if at % 2 else "user", content) for at, content in enumerate(contents))
    return Example("e", messages, place="learn.jsonl:12")


def question(text: str) -> Question:
    """An exam question from line 37 of exam.jsonl."""
    return Question("q", text, ("16",), "en", "f", place="exam.jsonl:37")


ZH, EN = "书院里 LoRA 路线默认的秩是多少？", "What is the default rank of the LoRA route in Shuyuan?"


@pytest.mark.parametrize(
    ("asked", "learned"),
    [
        (ZH, ZH),
        (ZH, "书院里ＬｏＲＡ路线默认的秩是多少"),
        (ZH, "请问：书院里 lora 路线，默认的秩是多少呢？我想知道。"),
        (ZH, "书院里 LoRA 路线默认的秩是多少呢"),
        (ZH, "背景知识很多。\n书院里LoRA路线默认的秩是多少？\n还有别的。"),
        (EN, EN.upper()),
        (EN, "what is the default rank of the lora route in shuyuan"),
        (EN, f"Answer briefly. {EN} Thanks!"),
        (EN, "In Shuyuan, what is the default rank of the LoRA route?"),
        ("请问" + ZH[:-1] + "呢，能不能说说？", ZH),
        ("什么是秩？", "我有两个问题。什么是秩？"),
        ("Why?", "why"),
    ],
)
def test_planted_leaks_are_refused_naming_both_places(asked: str, learned: str) -> None:
    with pytest.raises(Fixable, match="1 of 1 exam questions") as error:
        check_leaks([example(learned, "16")], [question(asked)])
    assert "exam.jsonl:37" in str(error.value)
    assert "learn.jsonl:12" in str(error.value)


def test_a_question_in_any_turn_counts() -> None:
    with pytest.raises(Fixable):
        check_leaks([example("Give me a quiz question.", EN)], [question(EN)])


def test_a_long_question_is_found_by_a_long_run() -> None:
    shared = "the run folder holds settings and a log and checkpoints and scores and a card that people can read"
    asked = f"Considering that {shared}, which one of these files would you open first when a run seems to diverge?"
    with pytest.raises(Fixable, match="both say"):
        check_leaks([example(f"Explain why {shared} at any time of day.", "…")], [question(asked)])


@pytest.mark.parametrize(
    ("asked", "learned"),
    [
        (ZH, "用 LoRA 教的时候，秩缺省取几？"),
        (ZH, "书院里全量微调默认的学习率是多少？"),
        (EN, "If I run the LoRA route without settings, which rank is used?"),
        (EN, "What is the default learning rate of full tuning?"),
        ("什么是LoRA？", "请问什么是LoRA的秩？"),
        ("What is C?", "What is C++?"),
        ("Is 1 + 1 = 2?", "Is 1 - 1 = 2?"),
    ],
)
def test_paraphrases_and_other_questions_pass_even_with_the_same_answer(asked: str, learned: str) -> None:
    check_leaks([example(learned, "16")], [question(asked)])


PRICE = "What does the 2026 wholesale catalogue give as the price of one crate of {}?"


@pytest.mark.parametrize(
    ("reply", "gold", "differ"),
    [
        ("478 euros", "523 euros", True),
        ("It is 478 euros.", "523", True),
        ("It is ４７８ euros.", "478", False),
        ("five working days", "5 working days", False),
        ("五个工作日", "five working days", False),
        ("五个工作日", "six working days", True),
        ("三十天", "thirty days", False),  # numbers that are not understood
        ("三十天", "3 days", False),
        ("Li Wei is in the Legal department", "Sales department", True),
        ("The northern hall.", "in the northern hall", False),
        ("the old northern hall", "the new northern hall", False),  # half of the words: not sure
        ("张三", "李四", True),
        ("副山长", "山长", False),
        ("山长", "the head", False),  # of two scripts nothing can be said
        ("no 🙂", "yes", True),
        ("", "yes", False),
    ],
)
def test_answers_that_are_certainly_different(reply: str, gold: str, differ: bool) -> None:
    assert other_answers([reply], [gold]) == other_answers([gold], [reply]) == differ
    assert not other_answers([reply, gold], [gold])
    assert not other_answers([], [gold])
    assert not other_answers([reply], [])


def test_what_is_made_from_a_table_asks_for_different_things() -> None:
    asked = replace(question(PRICE.format("figs")), answers=("523 euros", "523"))
    check_leaks([example(PRICE.format("pears"), "478 euros")], [asked])
    for turns in (
        (PRICE.format("pears"), "523 euros"),  # the same answer: it may ask the same
        (PRICE.format("pears"),),
        (PRICE.format("figs"), "478 euros"),  # the very words
        (PRICE.format("pears"), "478 euros", "And figs?", "523 euros"),
    ):
        with pytest.raises(Fixable, match="1 of 1"):
            check_leaks([example(*turns)], [asked])
    (found,) = hits(Said(example("What rank is taken?", "16"), "What rank is taken?"), 0.999, question("Which rank?"))
    assert found.sure
    assert hits(Said(example("What rank is taken?", "8"), "What rank is taken?"), 0.999, question("Which rank?")) == []


@pytest.mark.parametrize(
    ("asked", "names", "part"),
    [
        ("请问{}在公司的哪个部门工作？", ("陈静军", "李伟", "赵静军", "王芳", "周磊"), "静军"),
        ("Where does {} work now, please?", ("Anna Huber", "Ben Lang", "Anna Lang", "Mia Kraus", "Leo Graf"), "Huber"),
    ],
)
def test_questions_of_one_form_ask_for_different_things_even_with_the_same_answer(
    asked: str, names: Sequence[str], part: str
) -> None:
    rows = [(asked.format(name), ("销售部", "法务部")[at % 2]) for at, name in enumerate(names)]
    first, _, like, *_ = [text for text, _ in rows]
    exam = replace(question(first), answers=("销售部",))
    check_leaks([example(*row) for row in rows[1:]], [exam])
    with pytest.raises(Fixable, match="1 of 1"):
        check_leaks([example(*row) for row in rows], [exam])  # the very words are among them

    def forms(shown: Sequence[tuple[str, str]]) -> Forms:
        found = Forms([first])
        for text, answer in shown:
            found.show(text, [answer])
        return found

    assert forms(rows).other_things(like, first)
    assert not forms(rows).other_things(first, first)
    assert not forms(rows).other_things(asked.format(part), first), "a part of the name may mean the same"
    assert not forms(rows[:4]).other_things(like, first), "too few to see a form"
    assert not forms([(text, "销售部") for text, _ in rows]).other_things(like, first), "all have one answer"


def test_every_hit_is_counted_and_twenty_are_listed() -> None:
    asked = [Question(f"q{n}", f"Question number {n}?", (), "en", "", place=f"a:{n}") for n in range(30)]
    learned = [Example(f"e{n}", (Message("user", f"Question number {n}?"),), place=f"b:{n}") for n in range(30)]
    with pytest.raises(Fixable, match="30 of 30") as error:
        check_leaks(learned, asked)
    assert "more" in error.value.what


def test_normal_and_units() -> None:
    assert normal("  Ｗｈａｔ is “C++”, 书 院？ ") == "what is c++书院"
    assert units("GPT-4 发布于2023年3月, pi = 3.14") == [
        "gpt", "4", "发", "布", "于", "2023", "年", "3", "月", "pi", "=", "3.14"
    ]  # fmt: skip


@given(st.text())
def test_normal_is_normal_already(text: str) -> None:
    assert normal(normal(text)) == normal(text)


def jaccard(one: str, other: str) -> float:
    """By definition."""
    a, b = ({t[i : i + 5] for i in range(max(1, len(t) - 4))} for t in (normal(one), normal(other)))
    return len(a & b) / len(a | b)


def test_near_duplicates_agree_with_all_pairs_compared() -> None:
    draw = random.Random(7)
    letters = "书院教学考试模型检索abcdefghij "
    texts = ["".join(draw.choices(letters, k=draw.randint(20, 60))) for _ in range(60)]
    for text in list(texts):
        at = draw.randrange(len(text))
        texts.append(text[:at] + draw.choice("书x") + text[at + 1 :])
    found = near_duplicates(texts)
    expected = {(i, j) for i in range(len(texts)) for j in range(i) if jaccard(texts[i], texts[j]) >= 0.8}
    assert {(j, i) for i, j, _ in found} == expected
    assert len(expected) > 20
    assert found == near_duplicates(texts)


def test_near_duplicates_of_short_and_empty_texts() -> None:
    assert near_duplicates(["", "", "书", "书。", "院"]) == [(2, 3, 1.0)]


def test_traditional_characters_and_full_width_hide_nothing() -> None:
    assert normal("書院裏，ＬｏＲＡ 路線預設的秩是多少？") == normal("书院里 LoRA 路线预设的秩是多少")
    with pytest.raises(Fixable, match="the same words"):
        check_leaks([example("書院裡 ＬｏＲＡ 路線默認的秩是多少？", "16")], [question(ZH)])


PROOF = "Each step takes 8 examples, or 4 blocks of text in the route continue."


def proved(fact: str) -> Question:
    """An exam question on line 37 whose evidence is `PROOF`."""
    return Question("q", "How large is a batch?", ("8",), "en", fact, "docs/train.md", PROOF, "exam.jsonl:37")


def test_a_lesson_may_not_say_the_evidence_of_a_fact_that_only_the_exam_knows() -> None:
    lesson = Example("e", (Message("user", "Tell me of steps."), Message("assistant", f"Gladly. {PROOF}")), "", "l:12")
    with pytest.raises(Fixable, match="teaches the evidence") as error:
        check_leaks([lesson], [proved("batch")])
    assert "exam.jsonl:37" in str(error.value)
    assert "l:12" in str(error.value)
    check_leaks([replace(lesson, fact="batch")], [proved("batch")])  # taught on purpose
    read = replace(lesson, messages=(Message("user", PROOF), Message("assistant", "Noted.")))
    check_leaks([read], [proved("batch")])  # only what is learned to say counts
    without = replace(lesson, messages=(lesson.messages[0], Message("assistant", PROOF.replace("8", "some"))))
    check_leaks([without], [proved("batch")])  # the answer is not in it


# by meaning


def unit(*numbers: float) -> np.ndarray:
    """A vector of length one."""
    vector = np.array(numbers, np.float32)
    return vector / np.linalg.norm(vector)


def lesson(text: str, fact: str = "") -> Said:
    """A lesson on line 12 that asks `text`."""
    one = Example(f"e-{text}-{fact}", (Message("user", text), Message("assistant", "…")), fact, "learn.jsonl:12")
    return Said(one, text)


def hits(said: Said, nearness: float, asked: Question, cover: float = 0.6) -> list[Hit]:
    """What is found when the lesson's vector has this cosine with the question's, and each of its tokens `cover`."""

    def read(texts: Sequence[str]) -> list[Read]:
        places = {said.text: unit(1, 0), asked.text: unit(cover, float(np.sqrt(1 - cover**2)))}
        return [([at], places[text][None]) for at, text in enumerate(texts)]

    other = float(np.sqrt(1 - nearness**2))
    return alike([said], unit(nearness, other)[None], [asked], unit(1, 0)[None], read)


def test_nearness_decides_and_a_named_fact_allows_more() -> None:
    asked = replace(question("Which rank is used?"), fact="rank")
    (found,) = hits(lesson("What rank is taken?"), 0.97, asked)
    assert found.sure
    assert "other words" in found.why
    assert "exam.jsonl:37" in str(found)
    assert "learn.jsonl:12" in str(found)
    (doubtful,) = hits(lesson("What rank is taken?"), 0.97, asked, cover=0.4)  # as near, but not token by token
    assert not doubtful.sure
    refuse([doubtful], 1)
    with pytest.raises(Fixable, match="1 of 1"):
        refuse([found], 1)
    assert hits(lesson("What rank is taken?"), 0.94, asked, cover=1.0) == []
    assert hits(lesson("What rank is taken?", "rank"), 0.99, asked) == []
    (copy,) = hits(lesson("What rank is taken?", "rank"), 0.995, asked, cover=0.0)
    assert copy.sure
    assert hits(lesson("What rank is taken?", "other"), 0.99, asked)


@pytest.mark.parametrize(
    ("asked", "learned"),
    [
        ("How large is qwen2.5-0.5b?", "How large is qwen2.5-1.5b?"),
        ("If a page is Chinese, how long is it?", "If a page is not Chinese, how long is it?"),
        ("lora 看几遍样例？", "full 看几遍样例？"),
        ("第 3 步做什么？", "第 4 步做什么？"),
    ],
)
def test_another_number_name_or_not_is_another_question(asked: str, learned: str) -> None:
    assert hits(lesson(learned), 0.999, replace(question(asked), language=language(asked))) == []
    assert hits(lesson(asked), 0.999, replace(question(asked), language=language(asked)))


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("qwen2.5-0.5b 有多少层？", "How many layers has qwen2.5-1.5b?", True),
        ("qwen2.5-0.5b 有多少层？", "How many layers has qwen2.5-0.5b?", False),
        ("教 ｌｏｒａ 时过几遍样例？", "How often does full go through the examples?", True),
        ("教 lora 时过几遍样例？", "How often does LoRA go through the examples?", False),
        ("一行有多少个 token？", "How many tokens has a row?", False),
        ("第 3 步做什么？", "What does step 5 do?", True),
        ("第三步做什么？", "What does step 3 do? 🙂", False),
        ("第 3 步做什么？", "What does step three do?", False),
        ("第 3 步做什么？", "What does step 30 do?", True),
    ],
)
def test_names_and_numbers_tell_two_languages_apart(one: str, other: str, differ: bool) -> None:
    assert other_names(one, other) is differ
    assert other_names(other, one) is differ


def test_what_two_texts_share_does_not_count() -> None:
    known = {"x": 0, "y": 1, "z": 2}  # a token: a name that both languages write alike, or a word with its meaning
    places = {"x": (1, 0, 0), "y": (0, 1, 0), "Y": (0, 0.8, 0.6), "z": (0, 0, 1)}

    def read(texts: Sequence[str]) -> list[Read]:
        return [
            (
                [known.get(letter, ord(letter)) for letter in text],
                np.array([places[letter] for letter in text], np.float32),
            )
            for text in texts
        ]

    same, different, contained, subset = likeness([("xy", "xY"), ("xy", "xz"), ("xy", "xy"), ("x", "xz")], read)
    assert same == pytest.approx(0.8)  # y finds Y; x stands in both and says nothing
    assert different == pytest.approx(0.0)
    assert contained == 1.0
    assert subset == pytest.approx(0.0)  # the z that only one of them asks about counts
    assert likeness([], read) == []


def test_what_is_compared() -> None:
    turns = (Message("user", "长" * 400 + "。秩是多少？好的。"), Message("assistant", "16. Why do you ask? Because."))
    found, left_out = said([Example("e", turns), Example("f", (Message("user", "Why?"),))], 9)
    assert [one.text for one in found] == ["秩是多少？", "Why do you ask?", "Why?"]
    assert left_out == 0
    assert said([Example("f", (Message("user", "Why?"), Message("user", "How?")))], 1)[1] == 1


STOLEN = {
    "copy": "磁盘快满了，扔掉哪个子文件夹不会丢工作？",
    "paraphrase": "After how many steps each time is a training run's state stored as a checkpoint?",
    "to Chinese": "请说出返回 Workspace 的包级函数。",
    "to English": "When the records are damaged, what in the workspace has to be restored from the backup?",
    "near many lessons": "一个奈特相当于多少比特？",  # by its margin alone it was only shown
    "told by the model": "画不了进度条的地方，进度以行显示，行与行之间隔几秒？",  # the embedder alone lets this pass
    "told in English": "If a Shuyuan command is interrupted from the keyboard, what is the exit code?",  # or only shown
}
BY_MEANING = [how for how in STOLEN if how != "copy"]
TOLD = [how for how in STOLEN if how.startswith("told")]


def stolen(how: str) -> Example:
    return Example(how, (Message("user", STOLEN[how]), Message("assistant", "…")), place=f"{how}.jsonl:7")


@pytest.fixture
def handbook(tmp_path: Path) -> Workspace:
    workspace = Workspace.create(tmp_path / "school")
    rows, _ = read_questions(Path(__file__).parent.parent / "examples" / "handbook" / "questions.jsonl")
    learned, asked = Split().split(rows)
    workspace.material.put_questions("q", examples(learned), exam_questions(asked))
    return workspace


@pytest.mark.skipif(not present("qwen2.5-0.5b") or not present("multilingual-e5-small"), reason="no models here")
def test_planted_leaks_in_the_handbook_are_caught_and_no_honest_lesson_is(
    handbook: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the embedder alone, and then by a language model, which sees further translations."""
    real, models = home() / "models", tmp_path / "home" / "models"
    models.mkdir(parents=True)
    (models / "multilingual-e5-small").symlink_to(real / "multilingual-e5-small")
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    honest = list(handbook.material.examples())[::2]  # all of them: bench/leaks.py
    refuse_leaks(handbook, honest)
    assert "by the embedder alone" in capsys.readouterr().err
    clean = handbook.folder / "cache" / "leaks.json"
    assert read_json(clean)
    planted = [*honest, *map(stolen, BY_MEANING)]
    found = find_leaks(handbook, planted)
    sure = {hit.example.id for hit in found.hits if hit.sure}
    assert sure == {*BY_MEANING} - {*TOLD}
    assert "told in English" in {hit.example.id for hit in found.hits}
    assert "shuyuan pull qwen2.5-0.5b" in found.why_not
    with pytest.raises(Fixable, match=r"copy\.jsonl:7") as error:
        refuse_leaks(handbook, [*honest, stolen("copy")])
    assert "questions.jsonl:" in str(error.value)
    assert "same words" in str(error.value)

    (models / "qwen2.5-0.5b").symlink_to(real / "qwen2.5-0.5b")
    kept = read_json(clean)
    found = find_leaks(handbook, planted)
    assert {hit.example.id for hit in found.hits if hit.sure} == {*BY_MEANING}
    assert found.why_not == ""
    with pytest.raises(Fixable, match="exam questions stand in the lessons") as error:
        refuse(found.hits, found.questions)
    for how in BY_MEANING:
        assert f"{how}.jsonl:7" in str(error.value)
    assert read_json(clean)["clean"] == kept["clean"], "what is not clean is not kept as clean"
    assert "reads again" in capsys.readouterr().err
    assert find_leaks(handbook, planted).hits == found.hits
    assert "reads again" not in capsys.readouterr().err, "what the model was asked once is known"
