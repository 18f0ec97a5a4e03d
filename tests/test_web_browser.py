"""The page in a real browser: a first start to a cited answer, a teaching watched through a refresh, looks and access.

Needs Chromium from the system (`apt install chromium fonts-noto-cjk`); without one these tests are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import talk
from conftest import REPOSITORY
from serving import Served, serving, tiny_school
from test_read_picture import pdf
from test_recall_answer import Says
from test_serve_asked import Quotes
from tiny import tiny_embedder

from shuyuan.base.asked import Wording
from shuyuan.base.chinese import TABLES
from shuyuan.base.marks import Mark
from shuyuan.base.records import Answer, Citation
from shuyuan.base.shelf import HOUSE
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.prepare.adding import add
from shuyuan.recall.ground import Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.serve.app import PAGE
from shuyuan.teach.teaching import teach

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
TABS = ("ask", "questions", "library", "teach", "exam", "models", "prompts", "settings")

WIDE = "[...document.querySelectorAll('*')].filter((one) => one.getBoundingClientRect().right > innerWidth)"
WIDE += ".map((one) => one.outerHTML.slice(0, 200))"

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
sync_api = pytest.importorskip("playwright.sync_api")


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def visiting(browser: sync_api.Browser, served: Served, refused: str = "", **how) -> Iterator[sync_api.Page]:
    """A page whose console stays silent and which speaks to nobody but its server.

    The browser itself writes of every answer with a status from 400 on; those in `refused` are expected.
    """
    context = browser.new_context(**{"locale": "en-GB", "viewport": {"width": 1280, "height": 860}, **how})
    context.set_default_timeout(180_000)
    page, troubles = context.new_page(), []
    page.on("console", lambda said: troubles.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda sent: None if sent.url.startswith((served.url, "data:")) else troubles.append(sent.url))
    page.on("dialog", lambda shown: (troubles.append(shown.message), shown.dismiss()))
    yield page
    context.close()
    assert [said for said in troubles if not (refused and re.search(rf"status of ({refused})\b", said))] == []


def test_a_first_start_ends_with_a_cited_answer(browser: sync_api.Browser, tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(served.url)
        page.get_by_label("Its name").fill("school")
        page.get_by_role("button", name="Make it").click()
        page.locator("input[type=file]").first.set_input_files(str(REPOSITORY / "docs" / "teach.md"))
        page.get_by_label("Your question").fill("What rank does the LoRA adapter have?")
        page.keyboard.press("Enter")
        page.locator("button.cite").first.click()
        place = page.get_by_role("complementary", name="The cited place")
        place.locator("mark").wait_for()
        assert "16" in place.locator("mark").inner_text()
        assert "16" in page.locator(".reply .markdown").inner_text()
        page.reload()
        page.locator(".reply .markdown").wait_for()
        assert "16" in page.locator(".reply .markdown").inner_text(), "a refresh loses the conversation"
        page.goto(f"{served.url}/#/library")
        page.evaluate("window.confirm = () => true")
        page.get_by_role("button", name="Remove").click()
        page.get_by_text("Documents (0)").wait_for()
        page.goto(f"{served.url}/#/ask")
        page.get_by_label("Your question").wait_for()
        assert page.locator(".reply").count() == 0, "what was said of a document stays when it is removed"


def test_a_teaching_is_watched_through_a_refresh(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(f"{served.url}/#/teach")
        page.get_by_text("lora", exact=True).first.click()
        page.get_by_text("Settings (0 changed)").click()
        page.get_by_label("epochs").fill("1000")
        assert page.locator(".command code").inner_text() == "shuyuan teach lora --epochs 1000"
        page.get_by_role("button", name="Teach", exact=True).click()
        page.locator(".watched svg path").first.wait_for()
        page.reload()
        page.locator(".watched svg path").first.wait_for()
        page.locator(".watched").get_by_role("button", name="Pause").click()
        page.locator(".watched .tag", has_text="paused").wait_for()
        page.locator(".watched").get_by_role("button", name="Go on").click()
        page.locator(".watched .tag", has_text=re.compile("running|waiting")).wait_for()
        page.locator(".watched").get_by_role("button", name="Cancel").click()
        page.locator(".watched .tag", has_text="cancelled").wait_for()


def test_earlier_teachings_are_shown_page_by_page(browser: sync_api.Browser, tmp_path: Path) -> None:
    Workspace.create(tmp_path / "school")
    with serving(tmp_path, page=PAGE, jobs_run=False) as served, visiting(browser, served) as page:
        for number in range(45):
            served.house.queue.add("school", "teach", f"teach 书 {number} 🎓", {"name": f"n{number}"}, "local")
            served.house.queue.add("school", "exam", "exam", {}, "local")
        page.goto(f"{served.url}/#/teach")
        rows, more = page.locator("tbody tr"), page.get_by_role("button", name="Show more")
        rows.nth(19).wait_for()
        assert rows.count() == 20
        assert "书 44 🎓" in rows.first.inner_text()
        more.click()
        rows.nth(39).wait_for()
        more.click()
        rows.nth(44).wait_for()
        assert rows.count() == 45
        assert "书 0 🎓" in rows.last.inner_text()
        assert more.count() == 0


def test_answers_stand_side_by_side_and_hostile_text_stays_text(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(served.url)
        page.locator(".chip", has_text="bare").click()
        hostile = "<img src=http://203.0.113.9/x onerror=alert(1)> ![x](http://203.0.113.9/y) 书院 🎓"
        with page.expect_response("**/open") as opening:  # while the question is still being written
            page.get_by_label("Your question").fill(hostile)
        assert opening.value.status == 204
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator(".reply .foot").nth(1).wait_for()
        assert page.locator(".reply").count() == 2
        assert page.locator(".turn h2").inner_text() == hostile
        assert page.locator(".turn img").count() == 0

        page.route("**/ask", lambda route: None)  # an answer that never comes
        page.get_by_label("Your question").fill("书？")
        page.get_by_role("button", name="Ask", exact=True).click()
        page.get_by_text("Looking it up").wait_for()
        page.get_by_text("Comes next").wait_for()
        page.reload()
        page.locator(".reply .fault-said").nth(1).wait_for()
        assert page.locator(".turn").last.locator(".fault-said").all_inner_texts() == ["stopped", "stopped"]


def test_a_document_is_pinned_tagged_and_given_to_a_group(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(f"{served.url}/#/library")
        page.get_by_role("button", name="Mark 手册/书院.md").click()
        page.get_by_role("checkbox", name="Pinned").check()
        page.get_by_role("textbox", name="Tags").fill("旧，rules")
        page.get_by_role("textbox", name="Group that may see it").fill("hr")
        page.get_by_role("button", name="Keep").click()
        page.get_by_text("only hr").wait_for()
        with served.house.opened("school") as here:
            assert here.material.marks() == {"手册/书院.md": Mark(True, ("rules", "旧"), "hr")}
        page.get_by_role("button", name="Mark 手册/书院.md").click()
        page.get_by_role("checkbox", name="Pinned").uncheck()
        page.get_by_role("button", name="Keep").click()
        page.get_by_role("button", name="Keep").wait_for(state="detached")
        with served.house.opened("school") as here:
            assert here.material.marks() == {"手册/书院.md": Mark(False, ("rules", "旧"), "hr")}, "the rest stays"


def test_what_others_asked_is_found_read_and_published(browser: sync_api.Browser, tmp_path: Path) -> None:
    taught = teach(tiny_school(tmp_path), "retrieve", {"threshold": -1.0})
    assert isinstance(taught, GroundedAssistant)
    quoting = GroundedAssistant("retrieve", Quotes(), taught.library, Ground(threshold=-1.0))
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        served.house.assistant = lambda *_: quoting  # type: ignore[method-assign]
        page.goto(served.url)
        hostile = "<img src=http://203.0.113.9/x onerror=alert(1)> 🌉 Ｗho built the bridge?"
        for question in ("山长什么时候上任？", hostile, "When does the 山长 take office?"):
            page.get_by_label("Your question").fill(question)
            page.get_by_role("button", name="Ask", exact=True).click()
            page.locator(".turn", has_text=question).locator(".foot").wait_for()
        page.get_by_role("region", name="Others asked").get_by_role("link", name="山长什么时候上任？").click()
        page.get_by_role("heading", level=1, name="山长什么时候上任？").wait_for()
        assert page.locator("blockquote mark").inner_text() == "山长每年正月初八上任。"
        assert "A model wrote this answer: retrieve" in page.locator(".note").inner_text()
        page.get_by_role("button", name="Open the place").click()
        place = page.get_by_role("complementary", name="The cited place")
        place.locator("mark", has_text="山长每年正月初八上任。").wait_for()
        page.get_by_role("button", name="Publish").click()
        page.get_by_role("button", name="Take back").wait_for()
        page.get_by_role("link", name="All questions").click()
        page.locator(".list li").nth(2).wait_for()
        page.get_by_role("button", name="Unanswered").click()
        page.get_by_role("status").get_by_text("Questions: 1").wait_for()
        assert page.locator(".list h2").inner_text() == hostile
        assert page.locator("main img").count() == 0
        page.get_by_role("button", name="All", exact=True).click()
        page.get_by_label("Search questions and answers").fill("ＴＡＫＥ　office")
        page.get_by_role("status").get_by_text("Questions: 1").wait_for()
        page.reload()
        page.get_by_label("Questions from now on").select_option("off")
        page.wait_for_load_state("networkidle")
        with served.house.opened("school") as school:
            assert school.material.asked.keeping() == "off"
            assert [one.text for one in school.material.asked.find(public=True)[0]] == ["山长什么时候上任？"]


def light_school(at: Path) -> Workspace:
    """A school whose search costs next to nothing: its embedder is tiny, too."""
    return tiny_school(at, embedder=str(tiny_embedder(at / "embedder")))


def test_a_place_far_into_a_long_document_is_marked(browser: sync_api.Browser, tmp_path: Path) -> None:
    school = light_school(tmp_path)
    words = "The ９th bridge 🌉 is the last."
    text = "书院 🎓 is old.\n\n" * 15_000 + words + "\n"
    (tmp_path / "手册" / "long.txt").write_text(text, encoding="utf-8")
    add(school, [tmp_path / "手册"])
    document = school.material.document("手册/long.txt")
    assert document is not None
    start = document.text.index(words)
    assert start > 200_000
    cited = Citation(document.source, start, start + len(words), words, supports=((0, len(words)),))
    wording = Wording("", "Which bridge is the last?", "e", b"\0\0\x80?")
    name = school.material.asked.put(wording, Answer(words, (cited,)), "retrieve", 1.8e9)
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(f"{served.url}/#/questions/{name}")
        page.locator(".numbers button").click()
        page.locator(".place mark", has_text=words).wait_for()
        assert "changed since" not in page.locator(".place").inner_text()


def grave(page: sync_api.Page) -> list[tuple[str, str]]:
    """What keeps people from using the page as it is now; the page bypasses its own policy for that."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]


NUMBERS = "all => all.map((one) => [one.parentElement.tagName, one.previousSibling.textContent.trim(), one.innerText])"
SAID = """😀 **山长每年正月初八上任。** The library ＯＰＥＮＳ at nine.
The bridge <sup class="numbers"><button data-number="1">1</button></sup> is made of glass 🌉.

| 上任 | library |
|---|---|
| 正月初八 | at nine |"""


@pytest.mark.parametrize(("locale", "scheme", "width"), [("en-GB", "light", 360), ("zh-CN", "dark", 1280)])
def test_each_sentence_shows_what_speaks_for_it(
    browser: sync_api.Browser, tmp_path: Path, locale: str, scheme: str, width: int
) -> None:
    school = light_school(tmp_path)
    (tmp_path / "手册" / "bridge.md").write_text("The bridge has nine arches.\n", encoding="utf-8")
    add(school, [tmp_path / "手册"])
    taught = teach(school, "retrieve", {"threshold": -1.0})
    assert isinstance(taught, GroundedAssistant)
    saying = GroundedAssistant("retrieve", Says(SAID.replace("\n\n", "\n")), taught.library, Ground(threshold=-1.0))
    look = {"locale": locale, "color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        served.house.assistant = lambda *_: saying  # type: ignore[method-assign]
        page.goto(served.url)
        page.locator("#question").fill("山长什么时候上任？")
        page.keyboard.press("Enter")
        page.locator(".reply .foot").wait_for()
        shown = page.locator(".numbers").evaluate_all(NUMBERS)
        assert shown == [
            ["STRONG", "山长每年正月初八上任。", "1"],
            ["P", "The library ＯＰＥＮＳ at nine.", "2"],
            ["TH", "library", "2"],
            ["TD", "at nine", "12"],
        ]
        (silent,) = page.locator(".said > p").all_inner_texts()
        assert silent.endswith("is made of glass 🌉.")
        assert grave(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.evaluate(WIDE)
        for number, cited in (("1", "山长每年正月初八上任。"), ("2", "The library opens at nine.")):
            button = page.locator(".numbers button", has_text=number).first
            button.focus()
            page.keyboard.press("Enter")
            page.locator(".place mark", has_text=cited).wait_for()
            page.keyboard.press("Escape")
            page.locator(".place").wait_for(state="detached")
            assert page.evaluate("document.activeElement.innerText") == number, "the keyboard is back where it was"
        page.goto(f"{served.url}/#/questions")
        page.locator(".list a").click()
        page.locator(".references li").nth(1).wait_for()
        assert page.locator(".numbers").evaluate_all(NUMBERS) == shown
        page.locator(".numbers button", has_text="2").first.click()
        page.locator(".place mark", has_text="The library opens at nine.").wait_for()
        assert page.locator(".references .number").all_inner_texts() == ["1", "2"]


def test_a_correction_becomes_a_row_and_the_mode_is_the_readers(browser: sync_api.Browser, tmp_path: Path) -> None:
    taught = teach(light_school(tmp_path), "retrieve", {"threshold": -1.0})
    assert isinstance(taught, GroundedAssistant)
    saying = GroundedAssistant(
        "retrieve", Says("It opens at ten.", "It opens at ten."), taught.library, Ground(threshold=-1.0)
    )
    sent: list[str] = []
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        served.house.assistant = lambda *_: saying  # type: ignore[method-assign]
        page.on("request", lambda one: sent.append(one.post_data or "") if one.url.endswith("/ask") else None)
        page.goto(served.url)
        page.get_by_text("May go beyond").click()
        page.locator("#question").fill("When does the library open? 🕘")
        page.keyboard.press("Enter")
        page.locator(".reply .foot").wait_for()
        assert json.loads(sent[0])["mode"] == "chat"
        page.get_by_role("button", name="Correct this").click()
        page.get_by_label("The right answer").fill("At nine. 九点 ＯＰＥＮ")
        with page.expect_response(lambda answer: answer.url.endswith("/documents?kind=questions")):
            page.get_by_role("button", name="Learn from it").click()
        page.get_by_text("Kept: taught next time.").wait_for()
        page.goto(f"{served.url}/#/exam")  # leaving does not stop it
        with served.house.opened("school") as here:
            for _ in range(600):
                found = [one for one in here.material.examples() if "🕘" in one.messages[0].content]
                if found:
                    break
                page.wait_for_timeout(100)
        assert [one.content for one in found[0].messages] == [
            "When does the library open? 🕘",
            "At nine. 九点 ＯＰＥＮ",
        ]


HOSTILE = """The library opens at nine. ![one](http://203.0.113.9/1.png) ![two][far] <img src="//203.0.113.9/3" onerror="alert(3)">
<style>body { background: url(http://203.0.113.9/4) }</style><script>alert(5)</script><iframe src="http://203.0.113.9/6"></iframe>
[seven](javascript:alert(7)) <a href="http://203.0.113.9/8" ping="http://203.0.113.9/9">eight</a> <svg onload="alert(10)"></svg>
<p style="background: url(http://203.0.113.9/11)" onclick="alert(12)">twelve</p> <form action="http://203.0.113.9/13"><button>go</button></form>

[far]: http://203.0.113.9/2.png"""  # noqa: E501


class Tells:
    """An assistant without a library that says one thing, in two pieces."""

    name = "tells"

    def __init__(self, text: str) -> None:
        self.text = text

    def stream(self, *_: object) -> Generator[str, None, Answer]:
        yield self.text[:100]
        yield self.text[100:]
        return Answer(self.text)


def test_an_answer_fetches_nothing_leads_nowhere_and_runs_nothing(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    look = {"bypass_csp": True}  # what the page itself lets through, without the policy that would stop it
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        served.house.assistant = lambda *_: Tells(HOSTILE)  # type: ignore[method-assign]
        page.goto(served.url)
        page.locator("#question").fill("When does the library open?")
        page.keyboard.press("Enter")
        page.locator(".reply .foot").wait_for()
        said = page.locator(".reply .markdown")
        assert "twelve" in said.inner_text(), "the words stay"
        said.get_by_text("twelve").click()
        said.get_by_text("eight").click()
        assert page.url.startswith(served.url)
        tags = set(said.evaluate("box => [...box.querySelectorAll('*')].map((one) => one.tagName)"))
        assert tags <= {"P", "BR", "SUP", "BUTTON", "EM", "STRONG"}, tags
        assert said.locator("button:not([data-number])").count() == 0
        kept = said.evaluate("box => [...box.querySelectorAll('*')].flatMap((one) => one.getAttributeNames())")
        assert set(kept) <= {"class", "type", "data-number", "title", "aria-label"}
        page.wait_for_load_state("networkidle")


def test_every_browser_forgets_what_was_said_of_a_removed_document(browser: sync_api.Browser, tmp_path: Path) -> None:
    school = light_school(tmp_path)
    for name, text in (("桥.md", "The bridge has nine arches."), ("井.md", "The well is forty feet deep.")):
        (tmp_path / "手册" / name).write_text(text, encoding="utf-8")
    add(school, [tmp_path / "手册"])
    taught = teach(school, "retrieve", {"threshold": -1.0})
    assert isinstance(taught, GroundedAssistant)
    quoting = GroundedAssistant("retrieve", Quotes(), taught.library, Ground(threshold=-1.0))

    def removed(name: str) -> None:
        path = f"/api/workspaces/school/documents?source={quote(f'手册/{name}')}"
        assert served.send("DELETE", path)[0] == 204

    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        served.house.assistant = lambda *_: quoting  # type: ignore[method-assign]
        page.goto(served.url)
        for question in ("How many arches has the bridge?", "How many feet deep is the well?", "山长什么时候上任？"):
            page.get_by_label("Your question").fill(question)
            page.keyboard.press("Enter")
            page.locator(f".turn:has(h2:text('{question}')) button.cite").wait_for()
        removed("桥.md")
        page.reload()
        page.get_by_role("status").get_by_text("is forgotten").wait_for()
        assert page.locator(".turn h2").all_inner_texts() == ["How many feet deep is the well?", "山长什么时候上任？"]
        removed("井.md")
        well = page.locator(".turn:has(h2:text('well'))")
        well.locator("button.cite").click()
        well.wait_for(state="detached")
        assert page.locator(".place").count() == 0
        page.locator(".numbers button").click()
        page.locator(".place mark", has_text="山长每年正月初八上任。").wait_for()
        assert page.locator(".turn h2").all_inner_texts() == ["山长什么时候上任？"]
        (tmp_path / "手册" / "书院.md").write_text("# 书院 🎓\n\n山长改在二月初二上任。\n", encoding="utf-8")
        add(school, [tmp_path / "手册"])
        page.reload()
        page.locator(".numbers button").click()
        page.locator(".place").get_by_text("has changed since").wait_for()
        assert page.locator(".place mark").count() == 0
        kept = page.evaluate("JSON.stringify(localStorage)")
        assert "上任" in kept
        assert "nine arches" not in kept
        assert "forty" not in kept


def test_a_passage_is_shown_on_the_picture_of_its_page(browser: sync_api.Browser, tmp_path: Path) -> None:
    school = tiny_school(tmp_path)
    folder = tmp_path / "scans 书"
    folder.mkdir()
    pdf(folder / "opening hours.pdf", [(500, "The reading room opens at seven."), (80, "Bring your own lamp.")], 2)
    add(school, [folder])
    teach(school, "retrieve", {"threshold": -1.0})
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(f"{served.url}/#/library")
        page.get_by_label("Words or a question").fill("When does the reading room open?")
        page.get_by_role("button", name="Search", exact=True).click()
        page.get_by_role("button", name="Show it on the page").first.click()
        picture = page.get_by_role("img", name="Page 1 of scans 书/opening hours.pdf")
        picture.wait_for()
        for image in page.locator(".sheet img").all():
            sync_api.expect(image).to_have_js_property("complete", True)
            assert image.evaluate("(one) => one.naturalWidth") > 1000
        sheet, box = picture.bounding_box(), page.locator(".sheet .box").first.bounding_box()
        assert sheet["x"] < box["x"] < box["x"] + box["width"] < sheet["x"] + sheet["width"]
        assert sheet["y"] < box["y"] < box["y"] + box["height"] < sheet["y"] + sheet["height"]


def planted(school: Workspace) -> str:
    """Two questions asked of a workspace, the first answered: its id."""
    (document,) = school.material.documents()
    quote = "山长每年正月初八上任。"
    start = document.text.index(quote)
    cited = Citation(document.source, start, start + len(quote), quote)
    asked, vector = school.material.asked, b"\0\0\x80?"
    name = asked.put(
        Wording("", "山长什么时候上任？🎓", "e", vector), Answer(f"{quote}😀", (cited,)), "retrieve", 1.8e9
    )
    asked.put(Wording(name, f"When does {'he' * 99} begin?", "e", vector), None, "retrieve", 1.8e9)
    asked.put(Wording("", "Who built the bridge?", "e", vector), None, "retrieve", 1.8e9)
    return name


@pytest.mark.parametrize(("locale", "scheme", "width"), [("en-GB", "light", 1280), ("zh-CN", "dark", 360)])
def test_every_room_can_be_read_and_used(
    browser: sync_api.Browser, tmp_path: Path, locale: str, scheme: str, width: int
) -> None:
    asked = planted(tiny_school(tmp_path))
    look = {"locale": locale, "color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        for tab in (*TABS, f"questions/{asked}"):
            page.goto(f"{served.url}/#/{tab}")
            page.locator(f"nav a[aria-current][href='#/{tab.partition('/')[0]}']").wait_for(state="attached")
            page.locator("h1").first.wait_for(state="attached")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (tab, page.evaluate(WIDE))
            assert page.evaluate("document.documentElement.lang") == ("zh-Hans" if locale == "zh-CN" else "en")
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            assert grave(page) == [], tab


PUT_TOGETHER = """
reading: 12 of 40 files, 3s left · 手册 Ａ🎓.pdf
阅读：12 / 40 个文件，还剩 3s · 手册 Ａ🎓.pdf
kept 1 of 4 files: 2 hidden, 1 unknown kind .xyz · 1 read, 0 unchanged, 0 forgotten
4 个文件中保留 1：2 隐藏，1 不认识的种类 .xyz · 读了 1，未变 0，忘掉 0
quiz.csv:3: unknown column 'anwser'
quiz.csv:3：不认识的列“anwser”
/srv/a: b/手册.pdf: this PDF is broken: EOF marker not found
/srv/a: b/手册.pdf：这个 PDF 坏了：EOF marker not found
verdict: over-fit: the training loss went from 3.2 to 1.0, but the held-out loss went from 3 to 4, after 2 at step 9
结论：过拟合：训练损失从 3.2 到 1.0，但留出部分的损失从 3 到 4，而第 9 步时是 2
held out  ▁▂█  3.20 → 1.10 nats a token; best 1.10 at step 12, 1.23 bits a byte
留出  ▁▂█  3.20 → 1.10 奈特，每词元；最好 1.10，在第 12 步，每字节 1.23 比特
teaching lora: 20 of 200 steps, 1m 10s left · loss 1.23
教 lora：20 / 200 步，还剩 1m 10s · 损失 1.23
qwen.gguf: 380 MB in 1m 20s
qwen.gguf：380 MB，用时 1m 20s
'rank' of lora cannot be 0: input should be greater than or equal to 1
lora 的“rank”不能是 0：应当不小于 1
width of the adapter (≥ 1, ≤ 256; default 16)
适配器的宽度（≥ 1, ≤ 256；默认 16）
the server at http://127.0.0.1:1/v1 does not answer: [Errno 111] Connection refused
服务器 http://127.0.0.1:1/v1 没有回应：连接被拒绝（错误 111）
ValueError: wrong number in 5
ValueError: wrong number in 5
reading
reading
"""


def test_every_text_of_the_server_becomes_chinese(browser: sync_api.Browser, tmp_path: Path) -> None:
    words = json.loads((HOUSE / TABLES[0]).read_text("utf-8"))
    wanted = [talk.filled(english, chinese) for english, chinese in words.items()]
    lines = PUT_TOGETHER.strip().split("\n")
    wanted += zip(lines[::2], lines[1::2], strict=True)
    wanted.append(tuple("\n".join(lines[which::2]) for which in (0, 1)))
    (chunk,) = (PAGE / "assets").glob("chinese-*.js")
    (tmp_path / "house").mkdir()
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served) as page:
        page.goto(served.url)
        told = page.evaluate(
            "async ([from, texts]) => { const { inChinese } = await import(from); return texts.map(inChinese) }",
            [f"/assets/{chunk.name}", [said for said, _ in wanted]],
        )
    assert len(told) > 700
    assert [(text, becomes) for text, (_, becomes) in zip(told, wanted, strict=True) if text != becomes] == []


def alert(page: sync_api.Page, what: str) -> str:
    """What the page says went wrong, once it holds these words."""
    said = page.get_by_role("alert").filter(has_text=what)
    said.first.wait_for()
    return said.first.inner_text()


def test_what_goes_wrong_is_said_in_chinese(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    (tmp_path / "坏🎓.pdf").write_bytes(b"%PDF-1.7\nno more")
    (tmp_path / "考题.csv").write_text("question,anwser\n山长是谁？,先生\n", encoding="utf-8")
    look = {"locale": "zh-CN", "refused": "400|404|422", "bypass_csp": True}
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        page.goto(f"{served.url}/#/library")
        page.locator("input[type=file]").first.set_input_files(str(tmp_path / "坏🎓.pdf"))
        cell = page.locator("td.file .why", has_text="坏🎓.pdf：这个 PDF 坏了")
        cell.wait_for()
        assert "提示：请重新获取" in cell.inner_text()
        assert str(tmp_path) not in cell.inner_text()
        said = alert(page, "一个文件也没能读出来")
        assert "请换成读得了的文件" in said
        assert str(tmp_path) not in said

        page.goto(f"{served.url}/#/exam")
        page.locator("input[type=file][accept]").set_input_files(str(tmp_path / "考题.csv"))
        said = alert(page, "考题.csv:1：不认识的列“anwser”")
        assert "您是不是想写 answer？" in said

        page.goto(f"{served.url}/#/teach")
        page.get_by_text("dpo", exact=True).first.click()
        page.get_by_role("button", name="先看一看").click()
        said = alert(page, "没有一好一差的回答可以用来教 dpo")
        assert "请先添加" in said
        page.get_by_role("button", name="开始教学").click()
        alert(page, "没有一好一差的回答可以用来教 dpo")
        page.get_by_text("lora", exact=True).first.click()
        page.get_by_text("设置（改动 0 项）").click()
        page.get_by_text("适配器的宽度", exact=True).wait_for()
        page.get_by_label("rank").fill("0")
        page.locator("form").evaluate("form => (form.noValidate = true)")
        page.get_by_role("button", name="先看一看").click()
        alert(page, "lora 的“rank”不能是 0：应当不小于 1")
        page.get_by_label("rank").fill("")
        page.get_by_role("button", name="先看一看").click()
        looked = page.locator(".preflight", has_text="看过了，什么也没有教")
        looked.wait_for()
        assert "On shelf" in looked.inner_text(), "the sample is the reader's own"
        page.get_by_role("button", name="English").click()
        page.locator(".preflight", has_text="looked over, nothing was taught").wait_for()
        assert grave(page) == []


def test_models_are_told_with_what_was_taught_and_what_a_text_costs_in_chinese(
    browser: sync_api.Browser, tmp_path: Path
) -> None:
    teach(tiny_school(tmp_path), "lora", {"rank": 2, "epochs": 4, "longest": 128})
    look = {"locale": "zh-CN", "viewport": {"width": 360, "height": 800}}
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        page.goto(f"{served.url}/#/models")
        row = page.get_by_role("row").filter(has_text="lora")
        row.filter(has_text=re.compile("拟合得当|欠拟合|过拟合|发散")).wait_for()
        page.get_by_label("文字", exact=True).fill("书院藏书 ９🎓")
        cost = page.locator(".cut tbody tr").first
        cost.filter(has_text=str(len("书院藏书 ９🎓".encode()))).wait_for()  # this model reads bytes
        assert "每词词元数" in page.locator(".cut thead").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, page.evaluate(WIDE)


def test_a_missing_model_and_a_wrong_key_are_said_in_chinese(browser: sync_api.Browser, tmp_path: Path) -> None:
    house = tmp_path / "house"
    Workspace.create(house / "远方", Choices(model="no-such-model"))
    look = {"locale": "zh-CN", "refused": "400|401|404", "viewport": {"width": 390, "height": 800}}
    with serving(house, page=PAGE) as served, visiting(browser, served, **look) as page:
        page.goto(f"{served.url}/#/models")
        said = alert(page, "没有叫“no-such-model”的模型")
        assert "自己的模型文件夹或 .gguf 文件也行" in said
        served.house.access.add_key("山长", admin=True)
        page.goto(f"{served.url}/#/settings")
        page.get_by_label("密钥").fill("not-a-key")
        page.get_by_role("button", name="进入").click()
        assert "请核对，或找管理员" in alert(page, "这把密钥无效")


def test_an_exam_is_sat_and_its_report_read_in_chinese(browser: sync_api.Browser, tmp_path: Path) -> None:
    tiny_school(tmp_path)
    look = {"locale": "zh-CN", "viewport": {"width": 390, "height": 800}}
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, **look) as page:
        page.goto(f"{served.url}/#/exam")
        page.get_by_label("题数上限").fill("2")
        page.get_by_label("常识题", exact=True).fill("1")
        page.get_by_label("名称").fill("期末")
        papers = page.get_by_role("group", name="考哪些卷")
        sync_api.expect(papers.get_by_role("checkbox", checked=True)).to_have_count(3)
        sync_api.expect(papers.get_by_label("knowledge"), "the verdict rests on it").to_be_disabled()
        papers.get_by_label("forgetting").uncheck()
        papers.get_by_label("own", exact=True).check()
        page.get_by_text("设置（改动 0 项）").click()
        page.get_by_text("检索召回率按这么多段落来算").wait_for()
        page.get_by_label("k", exact=True).fill("3")
        page.get_by_role("button", name="开始考试").click()
        page.get_by_role("status").filter(has_text="完成").wait_for()
        assert "报告：exams/期末" in page.get_by_role("status").filter(has_text="完成").inner_text(), (
            "the log's last line"
        )
        report = page.frame_locator("iframe[title='期末 的报告']")
        report.locator("h1").first.wait_for()
        page.get_by_role("button", name="期末").wait_for()
        with served.house.opened("school") as here:
            assert (here.exam("期末") / "report.html").exists()
            sat = json.loads((here.exam("期末") / "scores.json").read_text("utf-8"))
        marks = sat["assistants"]["bare"]["marks"]
        assert {name.partition("/")[0] for name in marks} == {"knowledge", "unanswerable", "own"}
        (job,) = served.send("GET", "/api/workspaces/school/jobs")[1]["data"]
        assert (job["kind"], job["given"]["k"]) == ("exam", 3)


COMPARED = "Compare LoRA ＡＢ and $& {x} 🎓: what do they share, how do they differ, and when would one choose each?"
COMPARED_IN_CHINESE = "比较LoRA ＡＢ和$& {x} 🎓：有哪些共同点，有哪些不同，各在什么情况下选用？"


@pytest.mark.parametrize(
    ("locale", "title", "wanted"),
    [("en-GB", "Compare two things", COMPARED), ("zh-CN", "比较两者", COMPARED_IN_CHINESE)],
)
def test_a_prompt_is_filled_in_by_the_keyboard_and_taken_along(
    browser: sync_api.Browser, tmp_path: Path, locale: str, title: str, wanted: str
) -> None:
    tiny_school(tmp_path)
    with serving(tmp_path / "house", page=PAGE) as served, visiting(browser, served, locale=locale) as page:
        page.goto(f"{served.url}/#/prompts")
        page.get_by_role("searchbox").fill(title)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator("form textarea").first.wait_for()
        page.keyboard.type("LoRA ＡＢ")
        page.keyboard.press("Enter")  # a hole is still empty: that is where it goes on
        page.locator("label:nth-of-type(2) textarea:focus").wait_for()
        page.keyboard.type("$& {x} 🎓")
        assert page.locator("article .text").inner_text() == wanted
        page.keyboard.press("Enter")
        page.locator("#question:focus").wait_for()
        assert page.locator("#question").input_value() == wanted
