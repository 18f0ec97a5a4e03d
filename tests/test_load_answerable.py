"""Whether what a model has read holds an answer: a direction in its states, for the models that have one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import tiny_folder

from shuyuan.base.files import write_json
from shuyuan.base.records import ask
from shuyuan.load.answerable import Sense, level, sense_of
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.catalogue import entries
from shuyuan.load.model import Model, open_model
from shuyuan.load.pulling import present


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    return open_model(str(tiny_folder(tmp_path / "tiny")))


def test_the_direction_of_a_state_counts_and_not_its_length() -> None:
    sense = Sense(torch.tensor([1.0, -2.0]), 0.5)
    assert sense.of(torch.tensor([3.0, 3.0])) == pytest.approx(-0.5)
    assert sense.of(torch.tensor([300.0, 300.0], dtype=torch.bfloat16)) == pytest.approx(-0.5)
    torch.testing.assert_close(level(torch.full((2, 4), -7.0)), torch.full((2, 4), -1.0))


def test_a_model_of_no_catalogue_cannot_tell(tiny: Model) -> None:
    assert sense_of(tiny) is None
    (answer,) = ModelAssistant("tiny", tiny).answer([ask("书院 😀?")])
    assert answer.answerable is None


def test_a_folder_with_the_name_of_another_model_is_not_believed(tiny: Model, tmp_path: Path) -> None:
    write_json(tmp_path / "shuyuan.json", {"name": "qwen2.5-0.5b"})
    assert sense_of(replace(tiny, name="qwen2.5-0.5b", folder=tmp_path)) is None


@pytest.mark.skipif(not present("qwen2.5-0.5b"), reason="no model here")
def test_what_is_taught_on_a_model_has_other_states() -> None:
    base = open_model("qwen2.5-0.5b")
    sense = sense_of(base)
    assert sense is not None
    assert sense_of(replace(base, name="lora")) is None  # as `answering_with` opens a run's weights
    assert sense.weight_D.shape == (base.net.config.hidden_size,)
    assert "qwen2.5-0.5b" in entries()
