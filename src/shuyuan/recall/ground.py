"""Answer from passages: what is asked of the model, and when to say that the library holds no answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from shuyuan.base.records import Passage
from shuyuan.base.settings import Settings
from shuyuan.measure.refusal import says_no
from shuyuan.store.words import CJK

# Not told that it may decline: a small model then declines a third of what it could answer, and invents the rest all
# the same. What the passages do not hold is found by the check of support.
_PROMPT = {
    "zh": (
        "资料：\n\n{passages}\n\n根据上面的资料回答问题。只写答案本身，字数尽量少，不要重复问题。\n\n问题：{question}"
    ),
    "en": (
        "Sources:\n\n{passages}\n\nAnswer the question from the sources above. Write only the answer itself, in as few "
        "words as it takes, without repeating the question.\n\nQuestion: {question}"
    ),
}
REFUSAL = {"zh": "资料库中没有这个问题的答案。", "en": "The library holds no answer to this question."}
BEYOND = {
    "zh": "资料库中没有这个问题的答案，以下内容超出资料库，来自模型自身：\n",
    "en": "The library holds no answer to this question. What follows goes beyond it, from the model itself:\n",
}
_LABEL = re.compile(
    r"^\s*(?:(?:回答|答案|答|answer)\s*[:：]\s*|根据(?:上面|以上)?的?资料\s*[,，:：]\s*"
    r"|(?:according to|based on) the sources(?: above)?\s*[,:]\s*)|\s*[\[【]\d+[\]】]",
    re.IGNORECASE,
)
_CJK = re.compile(rf"[{CJK}]")


class Ground(Settings):
    """Ask the model with passages in front of the question, and trust only what they support."""

    mode: Annotated[
        Literal["query", "chat"],
        Field(
            description="query: answer only from the library; chat: go beyond it when it holds no answer, and say so"
        ),
    ] = "query"
    passages: Annotated[int, Field(ge=1, le=50, description="passages shown to the model")] = 4
    prompt_tokens: Annotated[
        int,
        Field(ge=100, le=100_000, description="most tokens of passages in the prompt, about; what is over is left out"),
    ] = 1400
    threshold: Annotated[
        float | None,
        Field(ge=-1, le=2, description="nearness below which nothing was found; left out: learned for each library"),
    ] = None
    evidence: Annotated[
        float | None,
        Field(
            ge=0,
            le=4,
            description="evidence that is enough if the model has no doubts; left out: the embedder's own",
        ),
    ] = None
    support: Annotated[
        float, Field(ge=0, le=1, description="share of the answer's key terms that the cited sentences must hold")
    ] = 0.5
    diversity: Annotated[
        float,
        Field(ge=0, le=1, description="how much a passage unlike those before it counts beside a higher place; 0: not"),
    ] = 0.3
    queries: Annotated[
        Literal["one", "several", "steps"],
        Field(description="look up the question; also other wordings of it; or the steps to its answer, one by one"),
    ] = "one"

    def prompt(self, question: str, passages: Sequence[Passage], language: str) -> str:
        """The user's turn: numbered passages with source and headings, then what to do, then the question."""
        language = spoken(language)
        numbered = "\n\n".join(
            f"[{number}] {' > '.join((passage.source, *passage.headings))}\n{passage.text.strip()}"
            for number, passage in enumerate(passages, 1)
        )
        return _PROMPT[language].format(passages=numbered, question=question.strip())


def about_tokens(text: str) -> float:
    """Roughly how many tokens a text is: 0.7 for a CJK character, a quarter for any other."""
    cjk = len(_CJK.findall(text))
    return 0.7 * cjk + 0.25 * (len(text) - cjk)


def cleaned(said: str) -> str:
    """The answer without labels, passage numbers and anything after its first paragraph."""
    return _LABEL.sub("", said.strip()).strip().partition("\n\n")[0].strip()


def holds_none(said: str) -> bool:
    """Whether the model itself says that the passages hold no answer."""
    return not said or says_no(said)


def spoken(language: str) -> str:
    """The language we speak to a person of `language`."""
    return language if language in _PROMPT else "en"
