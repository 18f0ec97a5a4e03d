"""The routes lora, qlora and freeze: taught on one another, opened on the right base, read by PEFT."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from tiny import tiny_folder, tiny_net

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_json
from shuyuan.base.records import Assistant, Example, Lessons, Message, Run, ask
from shuyuan.base.shelf import choose
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model
from shuyuan.train.changed import FILE, weights_mark
from shuyuan.train.layers import last_blocks, linear_layers
from shuyuan.train.lowrank import LoraLinear
from shuyuan.train.quantise import Linear4, quantised

PAIRS = [("秩是多少？", "十六。"), ("What is alpha?", "It is 32. 🎓")]
LESSONS = Lessons(
    examples=tuple(
        Example(str(n), (Message("user", q), Message("assistant", a)), place=f"faq.jsonl:{n}")
        for n, (q, a) in enumerate(PAIRS)
    )
)
SETTINGS = {
    "lora": {"rank": 4, "learning_rate": 1e-2},
    "qlora": {"rank": 4, "learning_rate": 1e-2},
    "freeze": {"blocks": 1, "learning_rate": 1e-3},
    "full": {"learning_rate": 1e-3},
}
IDS = torch.tensor([[5, 17, 200, 41, 41, 8, 250, 99, 3, 120]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelAssistant:
    folder = tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")
    return ModelAssistant("bare", open_model(str(folder)), max_new_tokens=8)


def run(name: str, folder: Path) -> Run:
    return Run(name, folder / name, folder / "cache")


def taught(route: str, on: Assistant, folder: Path, **settings: object) -> ModelAssistant:
    way = choose("teach", route)(**{"epochs": 3, "batch": 2, **SETTINGS[route], **settings})
    made = way.teach(on, LESSONS, run(route, folder))
    assert isinstance(made, ModelAssistant)
    return made


def net(assistant: ModelAssistant) -> torch.nn.Module:
    return assistant.model.net


@pytest.mark.parametrize("second", SETTINGS)
@pytest.mark.parametrize("first", ["lora", "qlora", "freeze"])
def test_one_is_taught_on_another(first: str, second: str, base: ModelAssistant, tmp_path: Path) -> None:
    lower = taught(first, base, tmp_path / "lower")
    before = {name: weight.clone() for name, weight in net(lower).state_dict().items()}
    upper = taught(second, lower, tmp_path / "upper")
    assert all(torch.equal(weight, before[name]) for name, weight in net(lower).state_dict().items())
    assert not torch.equal(net(upper)(IDS).logits, net(lower)(IDS).logits)
    again = choose("teach", second)(**SETTINGS[second]).open(lower, run(second, tmp_path / "upper"))
    assert torch.equal(net(again)(IDS).logits, net(upper)(IDS).logits)
    assert again.answer([ask("秩是多少？")])[0].text == upper.answer([ask("秩是多少？")])[0].text


@pytest.mark.parametrize("settings", [{}, {"rslora": True}, {"dora": True}, {"pissa": True}], ids=str)
def test_peft_opens_what_lora_taught(settings: dict[str, bool], base: ModelAssistant, tmp_path: Path) -> None:
    ours = taught("lora", base, tmp_path, **settings)
    theirs = peft.PeftModel.from_pretrained(net(base), tmp_path / "lora" / "weights")
    torch.testing.assert_close(net(ours)(IDS).logits, theirs(IDS).logits, rtol=1e-4, atol=1e-5)
    theirs.unload()
    written = read_json(tmp_path / "lora" / "weights" / "adapter_config.json")
    assert written["r"] == (8 if settings.get("pissa") else 4)
    assert written["base_model_name_or_path"] == base.model.name


def test_qlora_learns_on_four_bits_and_peft_reads_its_adapter(base: ModelAssistant, tmp_path: Path) -> None:
    ours = taught("qlora", base, tmp_path)
    layers = linear_layers(net(ours)).values()
    assert all(isinstance(layer, LoraLinear) and isinstance(layer.base, Linear4) for layer in layers)
    unpacked = quantised(net(base), double=True)
    for name, layer in linear_layers(unpacked).items():
        whole = torch.nn.Linear(layer.in_features, layer.out_features)
        whole.weight, whole.bias = torch.nn.Parameter(layer.weight), layer.bias
        unpacked.set_submodule(name, whole)
    theirs = peft.PeftModel.from_pretrained(unpacked, tmp_path / "qlora" / "weights")
    torch.testing.assert_close(net(ours)(IDS).logits, theirs(IDS).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("route", ["lora", "qlora", "freeze"])
def test_what_was_taught_is_lost_without_its_file(route: str, base: ModelAssistant, tmp_path: Path) -> None:
    taught(route, base, tmp_path)
    weights = next((tmp_path / route / "weights").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(Fixable, match="cannot be read"):
        choose("teach", route)(**SETTINGS[route]).open(base, run(route, tmp_path))


def test_freeze_keeps_what_it_changed_only_and_knows_its_base(base: ModelAssistant, tmp_path: Path) -> None:
    taught("freeze", base, tmp_path)
    kept = (tmp_path / "freeze" / "weights" / FILE).stat().st_size
    assert kept < 0.5 * sum(weight.nbytes for weight in net(base).parameters())
    other = ModelAssistant("other", replace(base.model, net=tiny_net(seed=1)), max_new_tokens=8)
    with pytest.raises(Fixable, match="taught on another base model"):
        choose("teach", "freeze")().open(other, run("freeze", tmp_path))


def test_a_model_is_the_same_base_in_either_precision(tmp_path: Path) -> None:
    folder = str(tiny_folder(tmp_path / "tiny"))
    marks = {weights_mark(open_model(folder, dtype).net) for dtype in (torch.float32, torch.bfloat16)}
    assert len(marks) == 1
    assert weights_mark(tiny_net(seed=1)) not in marks


def test_freeze_asks_for_what_is_there(base: ModelAssistant, tmp_path: Path) -> None:
    with pytest.raises(Fixable, match="has 2 blocks, not 3"):
        taught("freeze", base, tmp_path, blocks=3)
    with pytest.raises(Fixable, match="its embedding too"):
        taught("freeze", base, tmp_path, head=True)


def test_the_last_blocks_and_the_norm_and_the_head_when_asked() -> None:
    small = tiny_net("llama")
    names = last_blocks(small, 1, head=False)
    assert {name.split(".")[1] for name in names} == {"layers", "norm"}
    assert all(name.startswith(("model.layers.1.", "model.norm.")) for name in names)
    small.lm_head.weight = torch.nn.Parameter(small.lm_head.weight.detach().clone())
    assert set(last_blocks(small, 1, head=True)) == {*names, "lm_head.weight"}


@pytest.mark.parametrize("second", ["full", "freeze"])
@pytest.mark.parametrize("first", ["lora", "qlora"])
def test_all_weights_learn_on_with_the_adapter_in_them(
    first: str, second: str, base: ModelAssistant, tmp_path: Path
) -> None:
    lower = taught(first, base, tmp_path / "lower", dora=True)
    upper = taught(second, lower, tmp_path / "upper", learning_rate=1e-9)
    assert {type(layer) for layer in linear_layers(net(upper)).values()} == {torch.nn.Linear}
    torch.testing.assert_close(net(upper)(IDS).logits, net(lower)(IDS).logits, rtol=1e-3, atol=1e-4)
    assert (net(lower)(IDS).logits - net(base)(IDS).logits).abs().max() > 0.01


def test_qlora_lets_go_of_the_whole_base(tmp_path: Path) -> None:
    model = open_model(str(tiny_folder(tmp_path / "tiny")))
    layer = weakref.ref(linear_layers(model.net)["model.layers.0.mlp.up_proj"])
    alive = []

    class Seen(tuple[Example, ...]):
        """The examples; they note whether the base is still there when they are learned."""

        __slots__ = ()

        def __iter__(self) -> Iterator[Example]:
            gc.collect()
            alive.append(layer())
            return super().__iter__()

    given = [ModelAssistant("bare", model, max_new_tokens=8)]
    del model
    way = choose("teach", "qlora")(epochs=1, rank=2)
    way.teach(given.pop(), Lessons(examples=Seen(LESSONS.examples)), run("qlora", tmp_path))
    assert alive
    assert set(alive) == {None}
