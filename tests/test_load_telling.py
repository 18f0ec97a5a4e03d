"""What a model makes of a text after another one: the same as if each pair were read alone, token by token."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_folder

from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import Model, open_model
from shuyuan.load.telling import told

PAIRS = [
    ("English: What is it?\n中文：", "这是什么？"),
    ("English: Who?\n中文：", "谁 ＬｏＲＡ 😀 1×2"),
    ("English: What is it?\n中文：", "a"),
    ("English: …\n中文：", "长长的一句话。" * 12),
    ("English: " + "far " * 20 + "\n中文：", ""),
]


@pytest.fixture(scope="module", params=["tiny", "smollm2-135m"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    if request.param == "tiny":
        return open_model(str(tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")))
    return open_model(request.param)


def alone(model: Model, before: str, text: str) -> list[float]:
    """Each token's log-likelihood from one pass over everything, without batches or padding."""
    first, last = (model.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (before, text))
    ids = torch.tensor([[model.start_token, *first, *last]])
    with torch.inference_mode():
        nats_TV = model.net(input_ids=ids).logits[0].float().log_softmax(-1)
    return [float(nats_TV[at - 1, ids[0, at]]) for at in range(ids.shape[1] - len(last), ids.shape[1])]


def test_each_pair_is_told_as_if_it_were_alone(model: Model) -> None:
    for pairs in (PAIRS, PAIRS[:1], [*PAIRS, ("", "ohne Anfang")], PAIRS * 3):
        for (before, text), found in zip(pairs, told(model, pairs), strict=True):
            assert [nats for *_, nats in found] == pytest.approx(alone(model, before, text), abs=0.02, rel=0.01)
    assert told(model, []) == []


def test_places_are_those_in_the_text(model: Model) -> None:
    for (_, text), found in zip(PAIRS, told(model, PAIRS), strict=True):
        reached = {at for start, end, _ in found for at in range(start, end)}
        assert reached == set(range(len(text)))
        assert [start for start, *_ in found] == sorted(start for start, *_ in found)


def test_after_nothing_it_is_the_likelihood_of_the_text(model: Model) -> None:
    texts = ["这是什么？", "What is it? 😀"]
    nats = [-sum(value for *_, value in found) for found in told(model, [("", text) for text in texts])]
    assert nats == pytest.approx(ModelAssistant("x", model).nats(texts), rel=1e-3)
