"""An assistant as a model of lm-evaluation-harness, so that it can sit that house's tasks. Needs lm-eval installed.

from lm_eval import simple_evaluate
simple_evaluate(model=AssistantLM(open_assistant(workspace, "lora")), tasks=[…])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM

from shuyuan.base.errors import Fixable
from shuyuan.base.progress import Bar
from shuyuan.base.records import Assistant, Decoding, ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.telling import likelihoods

MOST_TOKENS = 256  # of a reply where the task does not say: the harness's own default


class AssistantLM(TemplateLM):  # type: ignore[misc]
    """Any assistant. It puts its own chat template, system message and passages around what a task asks.

    Likelihoods are those of its model, with the harness's own rules for where a continuation begins; an assistant with
    a library is refused there, because they would say nothing of the library.
    """

    def __init__(self, assistant: Assistant, batch_size: int = 16) -> None:
        super().__init__()
        self.assistant, self.batch_size = assistant, batch_size

    @property
    def eot_token_id(self) -> int:
        """The token before the first one."""
        return self._model.model.start_token

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Tokens of a text; the tokenizer's own habit decides on special ones where a task does not."""
        asked = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self._model.model.tokenizer(string, **asked)["input_ids"])

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Replies in the order of the requests, ended before the first stop text."""
        replies: list[str] = []
        with Bar(f"{self.assistant.name} sits the exam", len(requests), "answers") as bar:
            at = 0
            while at < len(requests):
                how = requests[at].args[1]
                part = [r for r in requests[at : at + self.batch_size] if r.args[1] == how]
                decoding = _decoding(how)
                answers = self.assistant.answer([ask(request.args[0]) for request in part], decoding)
                replies += [_ended(answer.text, decoding.stop) for answer in answers]
                at += len(part)
                bar.advance(len(part))
        return replies

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts."""
        return [-nats for nats in self._model.nats([request.args[0] for request in requests])]

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[tuple[str, str], list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """The log-likelihood of each continuation, and whether greedy decoding would have said it."""
        model = self._model.model
        rows = [(before[-max(1, model.context + 1 - len(tokens)) :], tokens) for _, before, tokens in requests]
        return [
            (sum(each.logprob for each in found), all(each.top[0][0] == each.token for each in found))
            for found in likelihoods(model, rows)
        ]

    @property
    def _model(self) -> ModelAssistant:
        if not isinstance(self.assistant, ModelAssistant):
            raise Fixable(
                f"'{self.assistant.name}' answers from more than its model, and this task asks the model alone",
                "let the assistant inside it sit the task, or choose a task that asks for answers (generate_until)",
            )
        return self.assistant


def _decoding(how: dict[str, Any]) -> Decoding:
    until = how.get("until") or []
    drawn = float(how.get("temperature") or 0.0) if how.get("do_sample") else 0.0
    return Decoding(
        max_tokens=int(how.get("max_gen_toks") or MOST_TOKENS),
        temperature=drawn,
        stop=(until,) if isinstance(until, str) else tuple(until),
    )


def _ended(text: str, stop: Sequence[str]) -> str:
    return text[: min((at for one in stop if one and (at := text.find(one)) >= 0), default=len(text))]
