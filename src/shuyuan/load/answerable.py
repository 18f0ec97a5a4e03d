"""Does what a model has just read hold an answer? Its states know it better than its words.

At the end of a prompt, two thirds of the way up the network, one direction tells passages that answer their question
from passages that do not (Slobodkin et al., 2023, doi:10.18653/v1/2023.emnlp-main.220). It was learned once for each
model in `answerable.safetensors`, from questions written by hand on public documents (`bench/answerable.py`), and comes
with reading the prompt: it costs nothing. It does not fit what was taught on such a model: with the base's direction,
a tuned model that answered 75 % of the handbook's questions from its library declined half of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from shuyuan.load.model import Model
from shuyuan.load.pulling import read_manifest

FILE = Path(__file__).with_suffix(".safetensors")


@dataclass(frozen=True)
class Sense:
    """A direction of D numbers and where it begins."""

    weight_D: Tensor
    bias: float

    def of(self, state_D: Tensor) -> float:
        """The log-odds that the passages before a question hold its answer, from `Row.state` after that prompt."""
        return float(level(state_D.cpu()) @ self.weight_D) + self.bias


def level(states: Tensor) -> Tensor:
    """States [..., D] brought to a mean square of 1: what they say is in their direction."""
    states = states.float()
    return states / states.square().mean(-1, keepdim=True).sqrt()


def sense_of(model: Model) -> Sense | None:
    """The direction of the catalogue's model that this one is; None where none was learned, as for a taught one."""
    name = _name(model.folder)
    sense = _senses().get(name) if model.name == name else None
    return sense if sense and len(sense.weight_D) == model.net.config.get_text_config().hidden_size else None


@cache
def _name(folder: Path) -> str:
    return str(read_manifest(folder).get("name", ""))


@cache
def _senses() -> dict[str, Sense]:
    kept = load_file(FILE)
    names = {key.rpartition("/")[0] for key in kept}
    return {name: Sense(kept[f"{name}/weight"], float(kept[f"{name}/bias"])) for name in names}
