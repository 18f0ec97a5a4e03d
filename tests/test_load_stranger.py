"""A stranger's chat template is rendered in a confined process: the same text, and no harm to this one."""

from __future__ import annotations

import copy
import json
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from serving import serving
from tiny import TEMPLATE, tiny_folder, tiny_tokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Message
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model, open_tokenizer
from shuyuan.load.stranger import Apart
from shuyuan.load.vocabulary import CHATML
from shuyuan.prepare.chat import render

PLAIN = [
    Message("system", "用中文回答 😀。"),
    Message("user", "ＦＵＬＬ　ｗｉｄｔｈ 🎓👩‍🚀 <b>&\u2028"),
    Message("assistant", "好。\n"),
]
TOOL = [{"type": "function", "function": {"name": "查", "parameters": {"type": "object", "properties": {}}}}]
CALL = '[{"id": "1", "type": "function", "function": {"name": "查", "arguments": "{\\"a\\": [1, null, \\"书\\"]}"}}]'
CALLED = [*PLAIN, Message("tool", "🎉"), Message("assistant", "", tool_calls=CALL)]
TEMPLATES = {
    "plain": TEMPLATE,
    "tools": "x" + CHATML,
    "everything": (
        "{{ bos_token }}{%- set n = namespace(seen=0, last='') %}\n"
        "  {% for m in messages %}\n"
        "{%- if loop.index > 3 %}{% break %}{% endif %}\n"
        "{% generation %}{{ loop.index }} {{ m.role | upper }}: {{ m['content'] | trim | e }}{% endgeneration %}\n"
        "{% set n.seen = n.seen + 1 %}{% set n.last = m.content[:3] %}{% endfor %}\n"
        "{{ tools | tojson(indent=1) }} {{ n.seen }}{{ n.last ~ eos_token }} {{ '%s' % messages[0].role }}\n"
        "{{ strftime_now('%Y') }} {{ messages[-1].tool_calls | default([]) | map(attribute='function') | list }}"
        "{% if add_generation_prompt %}\n assistant:{% endif %}\n"
    ),
}


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def opened(folder: Path, template: str) -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return open_tokenizer(folder)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_text_is_the_one_that_transformers_renders(house: Path, tmp_path: Path, template: str) -> None:
    tokenizer = opened(tmp_path / "书 model 😀", template)
    assert isinstance(tokenizer.apply_chat_template, Apart)
    here = copy.copy(tokenizer)
    del here.apply_chat_template  # the class's own
    for turns in (PLAIN, CALLED, PLAIN[1:2]):
        for answer_next in (True, False):
            for tools in ("", json.dumps(TOOL)):
                assert render(turns, tokenizer, answer_next, tools) == render(turns, here, answer_next, tools)


def test_what_a_template_refuses_is_told_in_its_words(house: Path, tmp_path: Path) -> None:
    opened(tiny_folder(tmp_path), "{{ raise_exception('只能两轮 😀') }}")
    with pytest.raises(Fixable, match="refuses the conversation: 只能两轮 😀"):
        ModelAssistant("bare", open_model(str(tmp_path))).prompt(PLAIN[:2])


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLED = "{% set n = namespace(s='x') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}"
HARMFUL = {
    "endless": (ENDLESS, "3 seconds of processor time"),
    "power": ("{{ 9 ** (9 ** (9 * messages | length)) }}", "3 seconds of processor time"),
    "times": ("{{ ('x' * 10 ** 9) | length }}", "537 MB of memory"),
    "doubled": (DOUBLED, "537 MB of memory"),
    "width": ("{{ '%1000000000d' % 1 }}", "537 MB of memory"),
    "long": ("{{ '书' * 10 ** 6 }}", "makes 1,000,0.. characters"),
    "deep": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "breaks off at this conversation: RecursionError"),
}


@pytest.mark.parametrize(("harm", "said"), HARMFUL.values(), ids=HARMFUL)
def test_harm_that_waits_for_a_text_of_its_own_stays_apart(house: Path, tmp_path: Path, harm: str, said: str) -> None:
    template = "{% if '芝麻 🎉' in messages[-1].content %}" + harm + "{% endif %}" + TEMPLATE
    tokenizer = opened(tmp_path / "书 model 😀", template)  # the trial sees nothing
    ordinary = render(PLAIN[:2], tokenizer, True)
    used, held = time.process_time(), psutil.Process().memory_info().rss
    with pytest.raises(Fixable, match=said) as caught:
        render([Message("user", "说 芝麻 🎉 开门")], tokenizer, True)
    assert time.process_time() - used < 1
    assert psutil.Process().memory_info().rss - held < 100_000_000
    assert caught.value.what.startswith("the chat template of 书 model 😀 ")
    assert caught.value.place == str(tmp_path / "书 model 😀")
    assert render(PLAIN[:2], tokenizer, True) == ordinary, "and the next one is rendered as before"


def test_templates_of_the_house_and_of_the_catalogue_are_rendered_here(house: Path, tmp_path: Path) -> None:
    assert not isinstance(opened(tmp_path / "ours", CHATML).apply_chat_template, Apart)
    known = house / "models" / "qwen2.5-0.5b"
    known.mkdir(parents=True)
    (known / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    assert not isinstance(opened(tmp_path / "taught", TEMPLATE).apply_chat_template, Apart)
    assert isinstance(opened(tmp_path / "other", TEMPLATE + " ").apply_chat_template, Apart)


def test_a_tokenizer_whose_template_is_apart_can_be_sent_saved_and_used_from_any_thread(
    house: Path, tmp_path: Path
) -> None:
    template = TEMPLATE + "{# 🎉 #}"
    tokenizer = opened(tmp_path / "model", template)
    said: list[str] = []
    for _ in range(2):  # the process that one thread started ends with it
        thread = threading.Thread(target=lambda: said.append(render(PLAIN, tokenizer, True)))
        thread.start()
        thread.join()
        time.sleep(0.2)
    sent = pickle.loads(pickle.dumps(tokenizer))
    assert [*said, render(PLAIN, sent, True)] == [render(PLAIN, tokenizer, True)] * 3
    tokenizer.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "chat_template.jinja").read_text(encoding="utf-8") == template


def test_a_server_goes_on_while_a_template_does_harm(house: Path, tmp_path: Path) -> None:
    """One model's template never ends on a text of its own; another model's answers do not wait for it."""
    for name, harm in (("trap", "{% if '芝麻' in messages[-1].content %}" + ENDLESS + "{% endif %}"), ("good", "")):
        opened(tiny_folder(tmp_path / f"{name} model"), harm + TEMPLATE)
        Workspace.create(tmp_path / "house" / name, Choices(model=str(tmp_path / f"{name} model")))

    def asking(name: str, said: str) -> dict[str, Any]:
        return {"model": f"{name}/bare", "messages": [{"role": "user", "content": said}], "max_tokens": 4}

    with serving(tmp_path / "house", jobs_run=False) as served:
        path = "/v1/chat/completions"
        for name in ("trap", "good"):
            assert served.send("POST", path, asking(name, "你好"))[0] == 200
        trapped: list[tuple[int, Any, Any]] = []
        thread = threading.Thread(target=lambda: trapped.append(served.send("POST", path, asking("trap", "芝麻 🎉"))))
        thread.start()
        asked = 0
        while thread.is_alive() and asked < 1000:
            assert served.send("POST", path, asking("good", f"芝麻 {asked}"))[0] == 200
            asked += 1
        thread.join()
        assert asked > 2
        status, body, _ = trapped[0]
        assert (status, "seconds of processor time" in body["error"]["message"]) == (400, True), body
        assert "trap model" in body["error"]["message"]
        assert served.send("POST", path, asking("trap", "你好"))[0] == 200
