"""Loss masks and packing: what is learned is exactly what would be generated."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Message
from shuyuan.load.model import open_tokenizer
from shuyuan.load.pulling import present, pull
from shuyuan.prepare.chat import Encoded, encode_documents, encode_example, encode_examples, render
from shuyuan.prepare.pack import Pack, tokens_of

TURNS = st.lists(st.text(min_size=1, max_size=40).map(str.strip).filter(bool), min_size=2, max_size=6)


def conversation(*turns: str) -> Example:
    roles = ("user", "assistant")
    return Example("x", tuple(Message(roles[i % 2], text) for i, text in enumerate(turns)), place="faq.jsonl:3")


def learned_text(encoded: Encoded, tokenizer: object) -> str:
    return tokenizer.decode([i for i, on in zip(encoded.ids, encoded.learned, strict=True) if on])


@pytest.mark.parametrize("name", ["smollm2-135m"])
@pytest.mark.parametrize(
    "turns",
    [
        ("What is the rank?", "It is 16."),
        ("秩是多少？", "是 16。🎓"),
        ("ＬｏＲＡ？", "ｒ＝１６", "And alpha? 👩‍🎓", "It is 32，没错。"),
    ],
)
def test_the_answers_and_their_ends_are_learned_and_nothing_else(name: str, turns: tuple[str, ...]) -> None:
    tokenizer = open_tokenizer(pull(name))
    encoded = encode_example(conversation(*turns), tokenizer)
    assert learned_text(encoded, tokenizer) == "".join(f"{answer}<|im_end|>" for answer in turns[1::2])
    whole = render(conversation(*turns).messages, tokenizer, answer_next=False)
    assert list(encoded.ids) == tokenizer(whole, add_special_tokens=False)["input_ids"]


@given(TURNS)
def test_masks_hold_for_any_text(turns: list[str]) -> None:
    tokenizer = tiny_tokenizer()
    encoded = encode_example(conversation(*turns), tokenizer)
    assert learned_text(encoded, tokenizer) == "".join(f"{answer}<|end|>" for answer in turns[1::2])


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content if loop.last else m.content[:1] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(Fixable, match="renders earlier turns differently") as refused:
        encode_example(conversation("hello", "first answer", "again", "second"), tokenizer)
    assert refused.value.place == "faq.jsonl:3"


def test_turns_that_are_only_read_are_not_learned() -> None:
    tokenizer = tiny_tokenizer()
    turns = conversation("q", "first 🎓", "r", "第二").messages
    quiet = Example("x", (turns[0], replace(turns[1], learned=False), *turns[2:]))
    assert learned_text(encode_example(quiet, tokenizer), tokenizer) == "第二<|end|>"
    assert encode_example(quiet, tokenizer).ids == encode_example(Example("x", turns), tokenizer).ids


TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "description": "天气", "parameters": {}}}])
CALLS = json.dumps([{"type": "function", "function": {"name": "weather", "arguments": '{"city": "北京 🏙"}'}}])
WITH_TOOLS = Example(
    "t",
    (
        Message("system", "简短。"),
        Message("user", "北京天气？"),
        Message("assistant", "我查一下。", tool_calls=CALLS),
        Message("tool", '{"sky": "晴"}'),
        Message("tool", "20 ℃"),
        Message("assistant", "晴，20 ℃。"),
    ),
    place="faq.jsonl:3",
    tools=TOOLS,
)
TOOL_TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.city }}]{% endfor %}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def test_calls_of_tools_are_learned_and_their_results_are_not() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TOOL_TEMPLATE
    encoded = encode_example(WITH_TOOLS, tokenizer)
    assert learned_text(encoded, tokenizer) == "我查一下。[weather 北京 🏙]<|end|>晴，20 ℃。<|end|>"
    assert tokenizer.decode(encoded.ids).startswith('tools: [{"type": "function"')


@pytest.mark.skipif(not present("qwen2.5-0.5b"), reason="the model is not here")
def test_a_real_template_with_tools() -> None:
    tokenizer = open_tokenizer(pull("qwen2.5-0.5b"))
    encoded = encode_example(WITH_TOOLS, tokenizer)
    assert learned_text(encoded, tokenizer) == (
        '我查一下。\n<tool_call>\n{"name": "weather", "arguments": {"city": "北京 🏙"}}\n</tool_call><|im_end|>'
        "晴，20 ℃。<|im_end|>"
    )
    whole = tokenizer.decode(encoded.ids)
    assert "<tools>" in whole
    assert '<tool_response>\n{"sky": "晴"}\n</tool_response>\n<tool_response>\n20 ℃' in whole
    bare = encode_example(conversation("你好", "好", "再见", "见"), tokenizer)
    assert "You are Qwen" in tokenizer.decode(bare.ids), "the template's own system prompt is read"
    assert learned_text(bare, tokenizer) == "好<|im_end|>见<|im_end|>"


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (TOOL_TEMPLATE.replace("{% if tools %}tools: {{ tools | tojson }}<|end|>{% endif %}", ""), "for the tools"),
        (TOOL_TEMPLATE.replace("m.tool_calls or []", "[]"), "calls of tools"),
        (TOOL_TEMPLATE.replace("messages %}", "messages if m.role != 'tool' %}", 1), "results of tools"),
    ],
)
def test_a_template_without_a_place_for_tools_is_refused(template: str, what: str) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(Fixable, match=what) as refused:
        encode_example(WITH_TOOLS, tokenizer)
    assert refused.value.place == "faq.jsonl:3"


def test_what_a_template_refuses_is_said_with_its_place() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(Fixable, match="refuses the conversation: System role not supported") as refused:
        encode_example(conversation("a", "b"), tokenizer)
    assert refused.value.place == "faq.jsonl:3"


def test_long_examples_are_cut_and_counted() -> None:
    tokenizer = tiny_tokenizer()
    examples = [conversation("a", "b"), conversation("a", "b" * 50), conversation("a" * 60, "b")]
    encoded, kept = encode_examples(examples, tokenizer, longest=32)
    assert [len(e.ids) for e in encoded][1] == 32
    assert str(kept) == "kept 2 of 3 examples (1 cut at 32 tokens): 1 with nothing to learn"


def test_blocks_of_text_learn_every_token_once() -> None:
    tokenizer = tiny_tokenizer()
    text = "书院 teaches 🎓. " * 20
    document = Document("d", "a.md", "a", text, "", "zh")
    whole = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    for block in (16, 33, 4096):
        blocks = encode_documents([document], tokenizer, block)
        assert all(len(b.ids) <= block for b in blocks)
        assert [i for b in blocks for i in b.ids[1:]] == whole[1:]
        assert sum(b.targets for b in blocks) == len(whole) - 1


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.sampled_from([64, 128, 1024]))
def test_packing_keeps_every_sequence_and_fills_rows(lengths: list[int], row_tokens: int) -> None:
    sequences = [Encoded((number,) * size, (True,) * size) for number, size in enumerate(lengths)]
    rows = Pack(row_tokens=row_tokens).pack(sequences)
    assert sorted(s.ids for row in rows for s in row) == sorted(s.ids for s in sequences)
    assert tokens_of(rows) == sum(lengths)
    assert all(tokens_of([row]) <= row_tokens or len(row) == 1 for row in rows)
    assert rows == Pack(row_tokens=row_tokens).pack(reversed(sequences))
    half_full = [row for row in rows if tokens_of([row]) <= row_tokens / 2]
    assert len(half_full) <= 1
