"""Train a tokenizer on texts of one's own: byte-level BPE, for Chinese and English alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT, TURN, END_OF_TURN = SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (  # with tools as Qwen2.5 and Hermes write them
    "{% if tools %}<|im_start|>system\n<tools>\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}</tools>"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}\n<tool_call>\n{{ call.function | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LONGEST_TOKEN = 15  # bytes: five Han characters, or a long English word
SMALLEST, LARGEST = 512, 32_768
BYTES_A_TOKEN = 48  # of text for each token of the vocabulary: a token of 3 bytes is then met 16 times on average

# What BPE may merge within, cut as DeepSeek-V3 does (its tokenizer.json; GGUF readers know it as `deepseek-v3`): up to
# three digits; a run of Han or kana, never glued to Latin letters; a word and the space before it; punctuation; blanks.
_PIECES = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
)


def vocabulary_size(size_bytes: int) -> int:
    """How many tokens suit so much text: one for each 48 bytes, in steps of 64, from 512 to 32,768."""
    return max(SMALLEST, min(LARGEST, size_bytes // BYTES_A_TOKEN // 64 * 64))


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """A tokenizer of at most `size` tokens (fewer when no pair is met twice), with a ChatML chat template.

    The same texts in any order give the same tokenizer. Every byte is a token, so that whatever is encoded is decoded
    exactly. `save_pretrained` writes a folder that `AutoTokenizer` opens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    cuts = [pre_tokenizers.Split(Regex(piece), "isolated") for piece in _PIECES]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    words.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_bytes])
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        max_token_length=LONGEST_TOKEN + 1,  # it makes only shorter ones
        show_progress=False,
    )
    words.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=END_OF_TEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def fertility(tokenizer: PreTrainedTokenizerBase, text: str) -> float:
    """Tokens a character: lower is shorter to read and write. Raises ValueError for an empty text."""
    if not text:
        raise ValueError("a text of no characters has no fertility")
    return len(tokenizer(text, add_special_tokens=False)["input_ids"]) / len(text)
