"""Tokenizers trained on one's own texts: exact, deterministic, sized by the text, and at home in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import REPOSITORY
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer, LlamaConfig, PreTrainedTokenizerBase

from shuyuan.base.records import Example, Message
from shuyuan.load.vocabulary import LARGEST, LONGEST_TOKEN, SMALLEST, fertility, train_tokenizer, vocabulary_size
from shuyuan.prepare.chat import encode_example
from shuyuan.read.reading import walk

TEXTS = [path.read_text(encoding="utf-8") for path in walk(REPOSITORY / "docs").files]
CORNERS = "书院用LoRA微调，rank=16。ＬｏＲＡ１２３！🎓👩‍👩‍👧 don't  stop\r\n\t中文 é e\u0301 \u3000\x00<|im_end|>𠮷"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS, 2048)


def ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@given(st.text() | st.text("书院教学问答的LoRA rank，。！１２ａ🎓\n\t ", max_size=60))
@example(CORNERS)
def test_whatever_is_encoded_is_decoded_exactly(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_the_same_texts_in_any_order_give_the_same_tokenizer(tokenizer: PreTrainedTokenizerBase) -> None:
    again = train_tokenizer(reversed(TEXTS), 2048)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
    assert train_tokenizer(TEXTS[:5], 2048).get_vocab() != tokenizer.get_vocab()


def test_han_is_cut_from_latin_and_no_token_is_longer_than_five_han_characters(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    cut = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    assert [span for _, span in cut("用LoRA微调，2048维")] == [
        (0, 1),
        (1, 5),
        (5, 7),
        (7, 8),
        (8, 11),
        (11, 12),
        (12, 13),
    ]
    pieces = [tokenizer.decode([i]) for i in range(3, len(tokenizer))]
    han = [piece for piece in pieces if any("一" <= c <= "龥" for c in piece)]
    assert len(han) > 200
    assert all("一" <= c <= "龥" or c == "\ufffd" for piece in han for c in piece)
    assert max(len(token) for token, i in tokenizer.get_vocab().items() if i > 2) == LONGEST_TOKEN  # a character a byte


def test_auto_tokenizer_opens_the_folder_beside_a_llama(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    LlamaConfig().save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    for text in (CORNERS, *TEXTS[:3]):
        assert ids(opened, text) == ids(tokenizer, text)
    assert (opened.bos_token_id, opened.eos_token_id) == (0, 0)
    assert opened.chat_template == tokenizer.chat_template


def test_conversations_are_rendered_in_chatml_and_their_answers_learned(tokenizer: PreTrainedTokenizerBase) -> None:
    turns = (Message("system", "简短。"), Message("user", "秩？"), Message("assistant", "16 🎓"))
    encoded = encode_example(Example("e", turns), tokenizer)
    assert tokenizer.decode(encoded.ids) == (
        "<|im_start|>system\n简短。<|im_end|>\n<|im_start|>user\n秩？<|im_end|>\n"
        "<|im_start|>assistant\n16 🎓<|im_end|>\n"
    )
    learned = [i for i, on in zip(encoded.ids, encoded.learned, strict=True) if on]
    assert tokenizer.decode(learned) == "16 🎓<|im_end|>"


def test_tools_have_their_place_in_the_template(tokenizer: PreTrainedTokenizerBase) -> None:
    call = '[{"type": "function", "function": {"name": "find", "arguments": "{\\"text\\": \\"秩\\"}"}}]'
    tools = '[{"type": "function", "function": {"name": "find", "parameters": {}}}]'
    turns = (Message("user", "秩？"), Message("assistant", "", tool_calls=call), Message("tool", "16"))
    text = tokenizer.decode(
        encode_example(Example("e", (*turns, Message("assistant", "16。")), tools=tools), tokenizer).ids
    )
    assert '<tools>\n{"type": "function", "function": {"name": "find"' in text
    assert '<tool_call>\n{"name": "find", "arguments": {"text": "秩"}}\n</tool_call><|im_end|>' in text
    assert "<|im_start|>tool\n16<|im_end|>" in text


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 20))
def test_more_text_never_gets_a_smaller_vocabulary(size_bytes: int, more: int) -> None:
    size = vocabulary_size(size_bytes)
    assert SMALLEST <= size <= vocabulary_size(size_bytes + more) <= LARGEST
    assert size % 64 == 0


def test_a_larger_vocabulary_needs_fewer_tokens_in_both_languages(tokenizer: PreTrainedTokenizerBase) -> None:
    small = train_tokenizer(TEXTS, SMALLEST)
    for text in ("".join(TEXTS[:15]), "".join(TEXTS[15:])):
        assert fertility(tokenizer, text) < 0.75 * fertility(small, text)
    with pytest.raises(ValueError, match="no characters"):
        fertility(tokenizer, "")


def test_a_tiny_text_gives_a_smaller_vocabulary_that_still_takes_everything() -> None:
    tiny = train_tokenizer(["秩是十六。" * 3], SMALLEST)
    assert 259 <= len(tiny) < SMALLEST
    assert tiny.decode(ids(tiny, CORNERS)) == CORNERS
