"""Bytes → text, whatever wrote them: UTF-8/16/32 with or without a mark, GBK, GB18030, Big5."""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import cache
from pathlib import Path

from shuyuan.base.errors import Fixable

_MARKS = (  # UTF-32 before UTF-16: its little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_CHINESE = ("gb18030", "big5hkscs")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1a]")  # never in text of one- and two-byte encodings
_SAMPLE = 20_000  # characters: enough to tell encodings apart
_PLAUSIBLE = 0.25
# The commonest characters of running Chinese, simplified and traditional. A wrong encoding yields rare ones.
_COMMON = frozenset(
    "的一是不了人在有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起"
    "还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声"
    "全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产"
    "入先山五太水万市眼体别处总才场师书比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王"
    "果亲界及今京务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青"
    "管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品士转量空甚众技轻程告江语英基派满式"
    "型模据档检索文件设置选项参数默认命令安装系统服务网络输出错误页章节例如版本用户配置测试训练问答料库"
    "這來個國到說們為時後會對過學裡於還發當無開經頭兩長現將進實點種聲話兒問機給幾業間東軍產門電車場師書員報馬張難數應許覺邊戰乾風"
    "體題統請愛讓認論義術結連遠資隊帶條變聯權傳領決達辦運溫區強轉眾輕語滿與樣樂處總別務製萬華親記視見關係動號類網輸錯誤頁節參預設訓練檔"
)


def decode(data: bytes, place: str | Path = "") -> str:
    """The text that `data` holds, line ends as `\\n`, without invisible controls. No text at all is a `Fixable`.

    Order: byte-order mark, UTF-8, then UTF-16/32 without a mark, GB18030 (with GBK and GB2312 inside) and Big5, of
    which the one wins whose characters are the commonest; last, what charset-normalizer finds (older Western,
    Japanese, Korean and Russian encodings).
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return tidy(data[len(mark) :].decode(encoding))
            except UnicodeDecodeError as error:
                raise _broken(data, error.start + len(mark), f"not valid {encoding.upper()}", place) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if _mostly_utf8(data):
            raise _broken(data, error.start, "not valid UTF-8", place) from None
        text = ""
    if text and not _CONTROLS.search(text):
        return tidy(text)
    found = _chinese(data)
    if found is None and len(_CONTROLS.findall(text)) * 100 < len(text) and "\x00" not in text:
        found = text  # a stray control character, as in terminal logs
    if found is None and not _BINARY.search(data):
        from charset_normalizer import from_bytes

        best = from_bytes(data).best()
        found = str(best) if best else None
    if found is None:
        first = re.search(rb"[\x00-\x08\x0e-\x1a\x7f-\xff]", data)
        raise _broken(data, first.start() if first else 0, "not text", place)
    return tidy(found)


def tidy(text: str) -> str:
    """One kind of line end; no invisible characters that could hide or reorder text (joiners inside emoji stay)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n")
    return _INVISIBLE.sub(r"\1", text)


# The tags of a flag such as Scotland's stay; other tags, which can hide a whole text, go.
_INVISIBLE = re.compile(
    r"(\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f)"
    r"|[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    r"\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def _chinese(data: bytes) -> str | None:
    """The reading of `data` in a wide or Chinese encoding whose characters are the most plausible."""
    best, best_score = None, _PLAUSIBLE
    for encoding in (*(() if _BINARY.search(data) else _CHINESE), *_WIDE):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        score = _plausibility(text[:_SAMPLE], count_ascii=encoding in _WIDE)
        if score > best_score:
            best, best_score = text, score
    return best


def _plausibility(text: str, count_ascii: bool) -> float:
    """The mean worth of the characters; ASCII says nothing where it is one byte in every candidate."""
    worths = [_worth(character) for character in text if count_ascii or character >= "\x80"]
    return sum(worths) / len(worths) if worths else 0.0


@cache
def _worth(character: str) -> float:
    if (
        character in _COMMON
        or " " <= character <= "~"
        or character in "\t\n\r，。、；：？！“”‘’（）《》「」『』【】…—·"
    ):
        return 1.0
    if "\u4e00" <= character <= "\u9fff":
        return 0.3 if _level_one(character) else -0.3
    if "\u3100" <= character <= "\u312f":  # bopomofo is where GBK punctuation lands in Big5
        return -1.0
    category = unicodedata.category(character)
    if category[0] == "C":
        return -2.0
    return 0.3 if category[0] == "L" or character > "\uff00" else 0.0


def _level_one(character: str) -> bool:
    """Whether GB 2312 or Big5 has it in its first, everyday level."""
    for encoding, low, high in (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6)):
        try:
            if low <= character.encode(encoding)[0] <= high:
                return True
        except UnicodeEncodeError:
            continue
    return False


def _mostly_utf8(data: bytes) -> bool:
    """Whether it is UTF-8 with a few broken bytes, rather than another encoding."""
    text = data.decode("utf-8", errors="replace")
    good = sum(1 for character in text if character >= "\x80" and character != "\ufffd")
    return good > 10 * text.count("\ufffd")


def _broken(data: bytes, start: int, what: str, place: str | Path) -> Fixable:
    line = data.count(b"\n", 0, start) + 1
    return Fixable(
        f"{what}: byte 0x{data[start] if start < len(data) else 0:02x} cannot be read",
        "save it again as UTF-8 text, or leave it out with --exclude",
        f"{place}:{line}" if str(place) else "",
    )
