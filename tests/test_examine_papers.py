"""The papers beside knowledge: copies, changed facts, names, forms, likelihoods; and the pilot."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.material import File
from shuyuan.base.records import GREEDY, Answer, Conversation, Decoding, Document, Passage, Question
from shuyuan.base.shelf import choices
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.cli.main import main
from shuyuan.examine.calibration import Calibration
from shuyuan.examine.exam import chosen_papers, hold
from shuyuan.examine.fairness import Fairness, insulting
from shuyuan.examine.forgetting import DATA, Forgetting, general_items
from shuyuan.examine.format import CHECKS, Format, follows
from shuyuan.examine.papers import USUAL
from shuyuan.examine.perturb import CHANGES, changed
from shuyuan.examine.pilot import Pilot, Share, outcome, pilot, predictions, read_pilot
from shuyuan.examine.results import MAIN, Exam
from shuyuan.examine.robustness import Robustness
from shuyuan.examine.sitting import Candidate, Cost

EXTRA = ("own", "held-out", "robustness", "fairness", "format", "calibration")


def question(number: int, language: str = "zh", **more: object) -> Question:
    """A question on fact `number` whose evidence holds the answer once."""
    zh = (f"第{number}号窑默认烧到多少度？", f"第{number}号窑默认烧到 {1200 + number} 度。")
    en = (f"How many degrees does kiln {number} reach by default?", f"Kiln {number} reaches {1200 + number} degrees.")
    text, evidence = zh if language == "zh" else en
    plain = Question(
        f"{language}{number}",
        text,
        (f"{1200 + number}",),
        language,
        f"f{number}",
        "窑.md",
        evidence,
        place=f"q:{number}",
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def material() -> list[Question]:
    asked = [question(n, language) for n in range(6) for language in ("zh", "en")]
    wrong = [replace(question(n), id=f"c{n}", choices=("1", f"{1200 + n}", "77", "900")) for n in range(4)]
    made = [question(n, made="cloze") for n in (7, 8)]
    return [*asked, *made, *wrong, Question("none", "窑主是谁？", (), "zh", "none", place="q:99")]


class Says:
    """An assistant that answers by a rule, and finds a text as likely as another rule says."""

    def __init__(self, name: str, rule: Callable[[str], str], weigh: Callable[[str], float] = len) -> None:
        self.name, self.rule, self.weigh = name, rule, weigh
        self.asked: list[str] = []

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding = GREEDY) -> list[Answer]:
        self.asked += [conversation[-1].content for conversation in conversations]
        return [Answer(self.rule(conversation[-1].content)) for conversation in conversations]

    def nats(self, texts: Sequence[str]) -> list[float]:
        return [float(self.weigh(text)) for text in texts]


@pytest.fixture
def school(workspace: Workspace) -> Workspace:
    text = "\n".join(question(n, language).evidence for n in range(9) for language in ("zh", "en"))
    one = Document("d", "窑.md", "窑", text, "0", "zh")
    workspace.material.put_document(
        File("窑.md", "0", len(text), 0.0), one, [Passage("p", "d", "窑.md", 0, len(text), text)]
    )
    workspace.material.put_questions("q", [], material())
    return workspace


def held(school: Workspace, papers: Sequence[str], *people: Says) -> Exam:
    seated = [Candidate(one.name, one.name, lambda one=one: one, Cost()) for one in people]  # type: ignore[misc]
    return hold(school, seated, chosen_papers(school, papers, general=8), "exam")


def knows(text: str) -> str:
    """Right whenever the words are exactly those of a question; reads a number of degrees where one is given."""
    if text.startswith(("资料", "Material")):
        number = [word for word in text.replace("。", " ").replace(".", " ").split() if word.isdigit()]
        return next(word for word in number if len(word) == 4)
    return next((q.answers[0] for q in material() if q.text == text and q.answers), "我不知道。")


def test_every_paper_can_be_sat_together_and_again(school: Workspace) -> None:
    first = Says("bare", knows)
    found = held(school, [*USUAL, *EXTRA], first)
    (sheet,) = found.sheets
    papers = {name.partition("/")[0] for name in sheet.scores}
    assert papers == {*USUAL, *EXTRA} - {"held-out"}  # nothing is held out here
    assert all(score.signature and score.n for score in sheet.scores.values())
    for name, score in sheet.scores.items():
        if score.low is not None and score.high is not None:
            assert score.low <= score.value + 1e-9, name
            assert score.value - 1e-9 <= score.high, name
    assert len(first.asked) == len(set(first.asked)), "a question of two papers is asked once"
    again = Says("bare", knows)
    assert held(school, [*USUAL, *EXTRA], again).sheets == found.sheets
    assert again.asked == []
    kept = read_json(found.folder / "paper.json")
    assert set(kept["pools"]) == {"own", "held-out", "robustness", "fairness", "format", "calibration"}


def test_an_exam_without_further_papers_is_as_it_was(school: Workspace) -> None:
    one = Says("bare", knows)
    found = held(school, USUAL, one)
    assert not read_json(found.folder / "paper.json")["pools"]
    assert len(one.asked) == 15 + 8  # 14 answerable, 1 not, 8 general; those with choices are not among them
    assert list(found.settings["papers"]) == list(USUAL)


def test_knowledge_is_always_among_them_and_an_unknown_paper_is_named(school: Workspace) -> None:
    assert [type(paper).__name__ for paper in chosen_papers(school, ["format"])] == ["Knowledge", "Format"]
    with pytest.raises(Fixable, match="robustness"):
        chosen_papers(school, ["robustnes"])


def test_own_questions_are_told_from_made_ones(school: Workspace) -> None:
    (sheet,) = held(school, ["own"], Says("bare", knows)).sheets
    assert sheet.scores["own/accuracy"].n == 12
    assert sheet.scores[MAIN].n == 14


def test_held_out_documents_have_a_paper(school: Workspace) -> None:
    school.material.hold_out(["窑.md"])
    (sheet,) = held(school, ["held-out"], Says("bare", knows)).sheets
    assert sheet.scores["held-out/accuracy"].n == 14


def figures(paper: Robustness | Fairness, answers: Mapping[str, Answer], asked: Sequence[Question]) -> dict[str, float]:
    nats = {text.id: float(len(text.text)) for text in paper.weighed(())}
    found = paper.figures(asked, answers, nats)
    return {name: sum(values.values()) / len(values) for name, values in found.items() if values}


def test_robust_means_right_in_every_spelling() -> None:
    paper = Robustness(items=0)
    asked = paper.questions(material())
    kinds = {q.kind for q in asked} - {""}
    assert {"typo", "case", "traditional", "width", "told", "changed-fact"} <= kinds
    assert len({q.id for q in asked}) == len(asked)
    always = figures(paper, {q.id: Answer(q.answers[0]) for q in asked}, asked)
    assert set(always.values()) == {1.0}
    exact = figures(paper, {q.id: Answer(knows(q.text)) for q in asked}, asked)
    assert exact["plain"] == 1.0
    assert exact["invariance"] == 0.0
    assert exact["equivariance"] == 1.0, "it reads what it is given"
    deaf = figures(paper, {q.id: Answer(q.answers[0] if q.kind != "changed-fact" else "1200") for q in asked}, asked)
    assert deaf["equivariance"] == 0.0
    told = next(q for q in asked if q.kind == "told")
    other = next(q for q in asked if q.id == told.id.replace("told", "changed-fact"))
    assert other.answers != told.answers
    assert other.answers[0] in other.text
    assert told.answers[0] not in other.text


@pytest.mark.parametrize("how", CHANGES)
def test_changes_keep_the_meaning_and_are_the_same_for_a_seed(how: str) -> None:
    texts = [q.text for q in material()] + [
        "`--seed` 的默认值是 3.11 吗？",
        "What does `kiln.log` hold, version 2.5?",
        "🙂？",
        "",
    ]
    some = 0
    for text in texts:
        new = changed(text, how, "7")
        assert new == changed(text, how, "7")
        assert not new or new != text
        some += bool(new)
        if new and how not in ("width",):
            assert [c for c in new if c.isdigit()] == [c for c in text if c.isdigit()], (text, new)
            assert "`" not in text or text.split("`")[1] in new, "code is left alone"
    assert some >= 3 or how in ("traditional",)


def test_traditional_goes_by_words() -> None:
    assert changed("头发和发展的后面", "traditional", "0") == "頭髮和發展的後面"


def test_fairness_sees_who_is_treated_otherwise() -> None:
    paper = Fairness()
    asked = paper.questions(())
    assert {q.kind for q in asked} == {"male", "female", "elsewhere", "dialect", "provocation"}
    assert all("{" not in q.text for q in asked)
    same = figures(paper, {q.id: Answer(q.answers[0] if q.answers else "They differ.") for q in asked}, asked)
    assert (same["gender"], same["origin"], same["dialect"], same["worst"], same["insults"]) == (0, 0, 0, 1, 0)
    biased = figures(
        paper,
        {q.id: Answer("idiot" if not q.answers else "?" if q.kind == "female" else q.answers[0]) for q in asked},
        asked,
    )
    assert (biased["gender"], biased["origin"], biased["worst"], biased["insults"]) == (1, 0, 0, 1)


def test_a_stereotype_is_told_in_nats() -> None:
    paper = Fairness()
    weighed = paper.weighed(())
    nats = {text.id: 10.0 for text in weighed}
    assert set(paper.figures((), {}, nats)["stereotype"].values()) == {0.0}
    nats |= {text.id: 12.0 for text in weighed if text.id.endswith("-female")}
    values = list(paper.figures((), {}, nats)["stereotype"].values())
    assert sum(values) == 0.0, "who always finds one pronoun likelier ties none to a job"
    assert set(values) == {2.0, -2.0}


def test_insults_are_found_by_words_not_by_letters() -> None:
    assert insulting("You are an IDIOT!", "en")
    assert insulting("他真是个笨蛋。", "zh")
    assert not insulting("The idiotic foolscap classic assesses trashy dumbbells.", "en")
    assert not insulting("他很温和。", "zh")


GOOD = {
    "sentences": {1: "Rain is water. ", 2: "好。很好！", 3: "It is wide. It is 3.5 km deep. Waves roll."},
    "words": {1: "Paris", 2: "very large"},
    "most_words": {5: "Air scatters blue light most."},
    "han": {2: "巴黎", 4: "新年快乐"},
    "most_han": {10: "空气散射蓝光。"},
    "json_list": {3: '["red", "green", "blue"]'},
    "lines_with": {"- ": "- 苹果\n- 梨\n- 桃"},
    "numbered": {4: "1. cat\n2. dog\n3. hen\n4. cow"},
    "upper": {"": "HELLO!"},
    "digits": {"": "42"},
    "without": {",": "Trees grow slowly.", "，": "树长得很慢。"},
    "has": {"lantern": "The lantern glows.", "灯笼": "红灯笼亮了。"},
    "begins": {"First": "First boil water.", "首先": "首先烧水。"},
    "ends": {"END": "Cats sleep a lot. END", "完毕": "猫爱睡觉。完毕。"},
}


def test_each_form_is_checked_by_program() -> None:
    rows = [json.loads(line) for line in (DATA / "format.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["check"] for row in rows} == set(CHECKS)
    for row in rows:
        value = row["value"]
        if row["check"] == "json":
            good = json.dumps(dict.fromkeys(value, "x"), ensure_ascii=False)
        elif row["check"] == "one_of":
            good = f"{value[0]}。"
        else:
            good = str(value) if row["check"] == "equals" else GOOD[row["check"]][value]
        assert follows(Answer(good), row), (row, good)
        for bad in ("", f"Sure! Here it is:\n{good}\n\nGood, dear friend? 好吗，朋友", row["question"]):
            assert not follows(Answer(bad), row), (row, bad)
        assert not follows(Answer(good, refused=True), row)
        assert not follows(Answer(good, cut=True), row)
    assert len(Format().questions(())) == 40


def test_calibration_reads_likelihoods_and_asks_nobody(school: Workspace) -> None:
    golds = {q.text: q.answers[0] for q in [*material(), *Calibration(general=240).questions(())] if q.answers}

    def weigh(text: str) -> float:
        """The right choice is three times as likely as all others together."""
        asked, _, choice = text.partition("\n")
        right = golds.get(asked.partition("：" if "：" in asked else ": ")[2]) == choice[3:].strip() or (
            golds.get(asked.partition(": ")[2]) == choice.partition(": ")[2]
        )
        return 1.0 if right else 1.0 + 2.1972245773362196  # ln 9: one against three ninths

    one = Says("bare", knows, weigh)
    found = held(school, ["calibration"], one).sheets[0]
    assert found.scores["calibration/accuracy"].value == 1.0
    assert found.scores["calibration/brier"].value == pytest.approx((1 - 0.75) ** 2)
    assert found.scores["calibration/ece"].value == pytest.approx(0.25)
    assert found.scores["calibration/accuracy"].n == 4 + 40
    assert not any(text.startswith("What is") and "plus" in text for text in one.asked[:15])
    flat = held(school, ["calibration"], Says("flat", knows, lambda text: 5.0)).sheets
    score = next(sheet for sheet in flat if sheet.name == "flat").scores["calibration/accuracy"].value
    assert 0 < score < 0.6  # the first choice, which is right as often as any


def test_general_items_are_checkable_and_no_two_alike() -> None:
    everything = [*general_items(), *general_items("general.more.jsonl")]
    assert len(everything) == 240
    assert len({item.text for item in everything}) == len({item.id for item in everything}) == 240
    assert len(Forgetting().questions(())) == 80
    assert len(Forgetting(items=100).questions(())) == 100
    for item in everything:
        digits = [int(word) for word in item.text.replace("？", " ").replace("?", " ").split() if word.isdigit()]
        if " plus " in item.text or " 加 " in item.text:
            assert item.answers[0] == str(sum(digits)), item
        if " times " in item.text or " 乘以 " in item.text:
            assert item.answers[0] == str(digits[0] * digits[1]), item


def test_choices_of_general_items_have_one_right_answer() -> None:
    asked = Calibration(general=240).questions(())
    assert len(asked) > 200
    places = [q.choices.index(q.answers[0]) for q in asked]
    assert max(places.count(at) for at in range(4)) - min(places.count(at) for at in range(4)) <= 2
    assert all(sum(choice in q.answers for choice in q.choices) == 1 for q in asked)


def test_the_command_takes_papers(school: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["exam", "--papers", "knowlege", "-w", str(school.folder)]) == 1
    assert "did you mean knowledge" in capsys.readouterr().err


# the pilot


def share(value: float) -> Share:
    return Share(value, 20, max(0.0, value - 0.15), min(1.0, value + 0.15))


def measured(closed: float, opened: float | None, oracle: float, taught: float = 0.0) -> Pilot:
    return Pilot(
        share(closed), None if opened is None else share(opened), share(oracle), {"zh": 0.7}, {"zh": 1.0}, {"zh": 1.0},
        taught, 100, 50_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "retrieve", "lora", "reason"),
    [
        (measured(0.1, 0.7, 0.9), "yes", "no", "70%"),
        (measured(0.1, 0.12, 0.3), "no", "no", "stronger"),
        (measured(0.1, 0.4, 0.9), "yes", "no", "search loses"),
        (measured(0.1, None, 0.9, 0.9), "unsure", "yes", "no embedder"),
        (measured(0.1, 0.2, 0.3, 0.3), "unsure", "unsure", "20%"),
        (measured(0.95, 0.95, 1.0, 0.9), "no", "no", "95%"),
    ],
)
def test_the_rules_say_what_is_worth_it(found: Pilot, retrieve: str, lora: str, reason: str) -> None:
    by_route = {one.route: one for one in predictions(found)}
    assert (by_route["retrieve"].worth, by_route["lora"].worth) == (retrieve, lora)
    assert reason in by_route["retrieve"].why
    assert by_route["continue"].worth == "no"
    for one in by_route.values():
        assert 0 <= one.low <= one.high <= 1
        assert one.route in choices("teach")


def test_a_pilot_with_a_real_model_is_kept_and_judged_later(school: Workspace, tmp_path: Path) -> None:
    from tiny import tiny_folder

    place = Workspace.create(tmp_path / "tiny", Choices(model=str(tiny_folder(tmp_path / "model")), embedder="none"))
    text = "".join(question(n).evidence for n in range(9))
    one = Document("d", "窑.md", "窑", text, "0", "zh")
    place.material.put_document(
        File("窑.md", "0", len(text), 0.0), one, [Passage("p", "d", "窑.md", 0, len(text), text)]
    )
    with pytest.raises(Fixable, match="needs exam questions"):
        pilot(place)
    place.material.put_questions("q", [], material())
    found = pilot(place, 6)
    assert read_pilot(place) == replace(found, about=read_json(place.folder / "pilot.json")["about"])
    assert found.opened is None  # there is no such embedder
    assert found.closed.n == found.oracle.n == 6
    assert found.tokens["zh"] > 2  # a byte a token
    assert 6 < found.bits["zh"] < 12
    assert main(["pilot", "--questions", "4", "-w", str(place.folder)]) == 0


def test_what_came_of_a_prediction(school: Workspace) -> None:
    exam = held(school, USUAL, Says("bare", lambda text: "?"), Says("retrieve", knows), Says("lora", lambda text: "?"))
    taught = {"retrieve": ("retrieve",), "lora": ("lora",)}
    sheets = tuple(replace(s, cost=replace(s.cost, routes=taught.get(s.name, ()))) for s in exam.sheets)
    exam = replace(exam, sheets=sheets)
    assert outcome(school, exam) == ()
    kept = measured(0.1, 0.9, 0.9, 0.9)
    kept = replace(kept, predictions=predictions(kept))
    from dataclasses import asdict

    from shuyuan.base.files import write_json

    write_json(school.folder / "pilot.json", asdict(kept))
    found = {one.route: one for one in outcome(school, exam)}
    assert set(found) == {"retrieve", "lora"}
    assert (found["retrieve"].better, found["retrieve"].held, found["retrieve"].inside) == (True, True, True)
    assert (found["lora"].better, found["lora"].held, found["lora"].inside) == (False, False, False)
