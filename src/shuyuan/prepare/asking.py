"""Questions written by a model from a passage, and what it has to show: answerable from the passage, not without."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from shuyuan.base.files import fingerprint
from shuyuan.base.records import Answer, Assistant, Conversation, Document, Kept, Message, Passage, ask
from shuyuan.prepare.blocks import plain
from shuyuan.prepare.making import Item
from shuyuan.prepare.question_forms import ANSWER_LINE, QUESTION_LINE
from shuyuan.read.language import language

PROMPTS = {
    "zh": (
        "根据下面的文字出一道题。问题要单独看就能懂，不说“文中”“上文”；"
        "答案是文字里的原话，一个数字、名称或短语，不超过 12 个字。只写两行：\n问：……\n答：……\n\n文字：\n{text}"
    ),
    "en": (
        "Write one question about the text below. It has to be clear on its own, without “the text” or “above”; its "
        "answer is a number, a name or a few words copied from the text. Write two lines only:\nQ: …\nA: …\n\n"
        "Text:\n{text}"
    ),
}
# Said before as earlier turns: without them a model of half a billion parameters hardly ever writes the two lines.
WORKED = {
    "zh": (
        (
            "去雾岛的渡船每天早上七点四十分从北码头开出。狗可以免费上船，自行车要另外买票。",
            "问：去雾岛的渡船每天早上从哪里开出？\n答：北码头",
        ),
        (
            "为了让密封圈保持柔软，每年用甘油擦两次。不要用机油，机油会让橡胶胀大。",
            "问：密封圈每年要擦几次才能保持柔软？\n答：两次",
        ),
    ),
    "en": (
        (
            "The ferry to Ardholm leaves at 7:40 every morning from the north pier. Dogs travel free of charge, but "
            "bicycles need a ticket of their own.",
            "Q: When does the ferry to Ardholm leave in the morning?\nA: 7:40",
        ),
        (
            "To keep the seal soft, wipe it with glycerine twice a year. Never use oil: it makes the rubber swell.",
            "Q: What should the seal be wiped with to keep it soft?\nA: glycerine",
        ),
    ),
}
GIVEN = {
    "zh": "资料：\n{text}\n\n只根据资料用几个字回答：{question}",
    "en": "Material:\n{text}\n\nAnswer in a few words, from the material only: {question}",
}
Right = Callable[[str, Item], bool]  # whether a reply holds one of the item's answers


def written(teacher: Assistant, passages: Sequence[Passage], documents: Sequence[Document]) -> tuple[list[Item], Kept]:
    """One question a passage by a model, and how many replies could not be used. The usual gates come after."""
    by_source = {document.source: document for document in documents}
    chosen = [passage for passage in passages if language(passage.text) in PROMPTS and passage.source in by_source]
    prompts = [_prompt(plain(passage.text), language(passage.text)) for passage in chosen]
    made: list[Item] = []
    dropped = Counter[str]()
    replies = teacher.answer(prompts) if prompts else []
    for passage, reply in zip(chosen, replies, strict=True):
        item = _item(by_source[passage.source], passage, reply.text)
        if isinstance(item, Item):
            made.append(item)
        else:
            dropped[item] += 1
    return made, Kept(len(chosen), len(made), dict(dropped), "questions by the model")


def _prompt(text: str, spoken: str) -> Conversation:
    """Two texts with their questions, and then the text."""
    turns = [
        turn
        for worked, reply in WORKED[spoken]
        for turn in (Message("user", PROMPTS[spoken].format(text=worked)), Message("assistant", reply))
    ]
    return (*turns, Message("user", PROMPTS[spoken].format(text=text)))


def _item(document: Document, passage: Passage, reply: str) -> Item | str:
    """The question in a model's reply, or why there is none."""
    lines = reply.strip().splitlines()
    asks = next((match for line in lines if (match := QUESTION_LINE.match(line))), None)
    tells = next((match for line in lines if (match := ANSWER_LINE.match(line))), None)
    if not asks or not tells or not tells[1].strip():
        return "not in two lines"
    question, answer = asks[1].strip(), tells[1].strip().rstrip("。.")
    spoken = language(question)
    if spoken != language(passage.text):
        return "in another language than its text"
    words = r"\s*".join(map(re.escape, answer.split()))
    found = re.search(words, document.text[passage.start : passage.end]) if words else None
    if found is None:
        return "its answer does not stand in the text"
    start, end = passage.start + found.start(), passage.start + found.end()
    return Item(
        document, "model", "", question, (plain(document.text[start:end]),), start, end,
        _sentence(document.text, start, end), question, f"model-{fingerprint(document.source, start, end)}", spoken,
    )  # fmt: skip


def judged(
    judge: Assistant, items: Sequence[Item], passages: Sequence[Passage], right: Right
) -> tuple[list[Item], Kept]:
    """The items that a model answers with its passage before it, and does not answer without.

    `right` decides whether a reply is right. A question that is answered closed-book says nothing about the documents;
    one that is not answered with its passage asks something else.
    """
    holder = {item.text: _holder(item, passages) for item in items}
    closed = _said(judge, [item.text for item in items])
    opened = _said(judge, [GIVEN[item.language].format(text=holder[item.text], question=item.text) for item in items])
    kept: list[Item] = []
    dropped = Counter[str]()
    for item, alone, given in zip(items, closed, opened, strict=True):
        if right(alone, item):
            dropped["known without the documents"] += 1
        elif not right(given, item):
            dropped["not answered from its passage"] += 1
        else:
            kept.append(item)
    return kept, Kept(len(items), len(kept), dict(dropped), "judged questions")


def _said(assistant: Assistant, prompts: Sequence[str]) -> list[str]:
    answers: list[Answer] = assistant.answer([ask(prompt) for prompt in prompts]) if prompts else []
    return [answer.text for answer in answers]


def _holder(item: Item, passages: Sequence[Passage]) -> str:
    own = [p for p in passages if p.source == item.document.source and p.start <= item.start and item.end <= p.end]
    return plain(own[0].text) if own else plain(item.evidence)


def _sentence(text: str, start: int, end: int) -> str:
    """The line, or the sentence in it, in which a span stands."""
    ends = [match.end() for match in re.finditer(r"[。！？\n]|[.!?](?=\s)", text)]
    begin = max((at for at in ends if at <= start), default=0)
    return text[begin : min((at for at in ends if at >= end), default=len(text))].strip()
