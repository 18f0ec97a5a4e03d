"""The tokenizers of machine translation's BLEU, as sacrebleu defines them, so that figures can be set beside others'.

`13a` is mteval-v13a's for spaced languages; `zh` also sets Chinese characters apart. Both keep case and punctuation.
"""

from __future__ import annotations

import re

# sacrebleu writes the two ranges beyond the basic plane with \u, so they mean U+2001 to U+2A6D (quotes, dashes, arrows,
# mathematics) and U+2F81 to U+2FA1; characters beyond the basic plane are not set apart. Equal figures matter more.
_CHINESE = re.compile(
    "([\u3400-\u4db5\u4e00-\u9fbb\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\u2001-\u2a6d\u2f81-\u2fa1\uff00-\uffef"
    "\u2e80-\u2fdf\u2ff0-\u303f\u31c0-\u31ef\u3100-\u312f\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u3200-\u33ff])"
)
_MARK = re.compile(r"([!-&(-+:-@/\[-`{-~ ])")
_POINT_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def tok_13a(text: str) -> list[str]:
    """Words, with punctuation set apart except inside numbers; line ends join, hyphenated ones without the hyphen."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return _marks_apart(f" {text} ")


def tok_zh(text: str) -> list[str]:
    """Each Chinese character or full-width sign is a token; what stands between them is cut as `13a` does."""
    return _marks_apart(_CHINESE.sub(r" \1 ", text.strip()))


def _marks_apart(text: str) -> list[str]:
    text = _MARK.sub(r" \1 ", text)
    text = _POINT_AFTER_OTHER.sub(r"\1 \2 ", text)
    text = _POINT_BEFORE_OTHER.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text).split()
