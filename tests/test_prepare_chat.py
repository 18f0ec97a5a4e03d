"""Loss masks and packing: what is learned is exactly what would be generated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.records import Document, Example, Message
from shuyuan.load.model import open_tokenizer
from shuyuan.load.pulling import pull
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
