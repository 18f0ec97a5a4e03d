"""Adapters against PEFT: the same files, logits and gradients; and what is refused, with a reason."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, tiny_net

from shuyuan.base.errors import Fixable
from shuyuan.load.products import product_of
from shuyuan.train.adapter import adapter_weights, load_adapter, merged, plus_rates, save_adapter, with_adapter
from shuyuan.train.fused import projected
from shuyuan.train.layers import linear_layers
from shuyuan.train.lowrank import DoraLinear, LoraLinear, principal_factors
from shuyuan.train.optimiser import AdamW
from shuyuan.train.quantise import Linear4, quantised

IDS = torch.tensor([[5, 17, 300, 41, 41, 8, 250, 99, 3, 120]])
KINDS: dict[str, dict[str, bool]] = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "pissa": {"pissa": True},
    "rslora, dora, pissa": {"rslora": True, "dora": True, "pissa": True},
}
EVERYWHERE = pytest.mark.parametrize(
    ("family", "kind"), [(family, kind) for family in FAMILIES for kind in KINDS], ids=str
)
SAVED = "adapter_model.safetensors"


def close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def shaken(weights: dict[str, torch.Tensor], seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights.values():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)


def adapted(family: str, kind: str, folder: Path | None = None) -> torch.nn.Module:
    """A model with an adapter that has learned something, saved when a folder is given."""
    options = dict(KINDS[kind])
    rslora = options.pop("rslora", False)
    net = with_adapter(tiny_net(family), 4, 8 / math.sqrt(4) if rslora else 8 / 4, 1, **options)
    shaken(adapter_weights(net))
    if folder:
        save_adapter(net, folder, "tiny", rslora=rslora)
    return net


@EVERYWHERE
def test_peft_reads_ours_and_gets_our_logits_and_gradients(family: str, kind: str, tmp_path: Path) -> None:
    ours = adapted(family, kind, tmp_path)
    theirs = peft.PeftModel.from_pretrained(tiny_net(family), tmp_path, is_trainable=True)
    said = json.loads((tmp_path / "adapter_config.json").read_text())
    assert said["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    close(ours(IDS).logits, theirs(IDS).logits)
    learned = adapter_weights(ours)
    for weight in learned.values():
        weight.requires_grad_(True)
    ours(input_ids=IDS, labels=IDS).loss.backward()
    theirs(input_ids=IDS, labels=IDS).loss.backward()
    grads = {name.replace(".default", "").removesuffix(".weight"): w.grad for name, w in theirs.named_parameters()}
    for name, weight in learned.items():
        grad = grads[f"base_model.model.{name}"]
        parts = tuple(slice(0, size) for size in weight.shape)  # what began as PiSSA has its start behind what learned
        close(weight.grad, grad[parts])
        assert weight.grad.abs().max() > 0


@EVERYWHERE
def test_what_was_saved_and_loaded_answers_alike(family: str, kind: str, tmp_path: Path) -> None:
    ours = adapted(family, kind, tmp_path)
    loaded = load_adapter(tiny_net(family), tmp_path)
    close(loaded(IDS).logits, ours(IDS).logits)
    again = tmp_path / "again"
    save_adapter(loaded, again, "tiny", rslora="rslora" in kind)
    assert (again / SAVED).read_bytes() == (tmp_path / SAVED).read_bytes()
    assert (again / "adapter_config.json").read_text() == (tmp_path / "adapter_config.json").read_text()


THEIRS: dict[str, dict[str, Any]] = {
    "all-linear": {"target_modules": "all-linear"},
    "names": {"target_modules": ["q_proj", "down_proj"]},
    "whole name": {"target_modules": ["model.layers.1.mlp.up_proj", "v_proj"], "layers_to_transform": 0},
    "expression": {"target_modules": r".*\.1\.(self_attn\.[qk]_proj|mlp\.gate_proj)"},
    "some blocks": {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "one block": {"target_modules": ["o_proj"], "layers_to_transform": 1, "layers_pattern": ["h", "layers"]},
    "without": {"target_modules": "all-linear", "exclude_modules": ["k_proj", "model.layers.0.mlp.up_proj"]},
    "without by expression": {"target_modules": ["q_proj", "k_proj"], "exclude_modules": r".*0\.self_attn\.k_proj"},
    "patterns": {
        "target_modules": "all-linear",
        "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.\w+": 7},
        "alpha_pattern": {r"0\.self_attn\.v_proj": 3, "down_proj": 20},
    },
    "rslora": {"target_modules": "all-linear", "use_rslora": True, "rank_pattern": {"q_proj": 2}},
    "dora": {"target_modules": "all-linear", "use_dora": True},
    "pissa": {"target_modules": ["q_proj", "down_proj"], "init_lora_weights": "pissa"},
    "pissa, dora": {"target_modules": ["q_proj", "up_proj"], "init_lora_weights": "pissa", "use_dora": True},
    "gaussian": {"target_modules": ["q_proj"], "init_lora_weights": "gaussian", "lora_dropout": 0.1},
}


def pefts(family: str, options: dict[str, Any], folder: Path) -> torch.nn.Module:
    torch.manual_seed(5)
    theirs = peft.get_peft_model(tiny_net(family), peft.LoraConfig(r=4, lora_alpha=6, **options)).eval()
    shaken({name: weight for name, weight in theirs.named_parameters() if weight.requires_grad})
    theirs.save_pretrained(folder)
    return theirs


@pytest.mark.parametrize(("family", "kind"), [(family, kind) for family in FAMILIES for kind in THEIRS], ids=str)
def test_we_read_pefts_and_get_its_logits(family: str, kind: str, tmp_path: Path) -> None:
    theirs = pefts(family, THEIRS[kind], tmp_path)
    ours = load_adapter(tiny_net(family), tmp_path)
    close(ours(IDS).logits, theirs(IDS).logits)
    assert not torch.allclose(ours(IDS).logits, tiny_net(family)(IDS).logits, atol=1e-3)
    save_adapter(ours, tmp_path / "ours", "tiny")
    back = peft.PeftModel.from_pretrained(tiny_net(family), tmp_path / "ours")
    close(back(IDS).logits, theirs(IDS).logits)
    ours_back, given = ({n for n, _ in net.named_parameters() if "lora_" in n} for net in (back, theirs))
    assert ours_back == given


def test_a_configuration_may_still_say_all_linear(tmp_path: Path) -> None:
    theirs = pefts("llama", {"target_modules": "all-linear"}, tmp_path)
    edit(tmp_path, target_modules="ALL-linear")
    close(load_adapter(tiny_net("llama"), tmp_path)(IDS).logits, theirs(IDS).logits)


@pytest.mark.filterwarnings("ignore:Adapter")
def test_we_read_what_peft_converted_from_pissa(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "up_proj"], init_lora_weights="pissa")
    theirs = peft.get_peft_model(tiny_net(), config).eval()
    theirs.peft_config["default"].init_lora_weights = True
    theirs.save_pretrained(tmp_path / "start")
    theirs.peft_config["default"].init_lora_weights = "pissa"
    shaken({name: weight for name, weight in theirs.named_parameters() if weight.requires_grad})
    theirs.save_pretrained(tmp_path / "plain", path_initial_model_for_weight_conversion=tmp_path / "start")
    close(load_adapter(tiny_net(), tmp_path / "plain")(IDS).logits, theirs(IDS).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_pissa_starts_and_learns_as_pefts_does(family: str) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules="all-linear", init_lora_weights="pissa")
    theirs = peft.get_peft_model(tiny_net(family), config)
    ours = with_adapter(tiny_net(family), 4, 6 / 4, 0, pissa=True)
    close(ours(IDS).logits, tiny_net(family)(IDS).logits)
    named = {n.replace(".default.weight", ""): w for n, w in theirs.named_parameters() if w.requires_grad}
    learned = adapter_weights(ours)
    for name in (name.removesuffix(".lora_A") for name in learned if name.endswith("lora_A")):
        A, B = (named[f"base_model.model.{name}.{part}"] for part in ("lora_A", "lora_B"))
        close(learned[f"{name}.lora_B"] @ learned[f"{name}.lora_A"], B @ A)
        with torch.no_grad():  # singular vectors have no sign: take theirs, then the gradients can be compared
            learned[f"{name}.lora_A"].copy_(A)
            learned[f"{name}.lora_B"].copy_(B)
    for net in (ours, theirs):
        net(input_ids=IDS, labels=IDS).loss.backward()
    for name, weight in learned.items():
        close(weight.grad, named[f"base_model.model.{name}"].grad)


@pytest.mark.parametrize("shape", [(48, 24), (24, 48), (30, 30)])
def test_principal_factors_are_the_best_approximation(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    weight = torch.randn(shape)
    A, B = principal_factors(weight, 5, scale=1.7)
    U, S, V = torch.linalg.svd(weight.double())  # in float32 it is off by more than we are, on some processors
    close(1.7 * B @ A, (U[:, :5] @ torch.diag(S[:5]) @ V[:5]).float())
    close(A.norm(dim=1), B.norm(dim=0))
    with pytest.raises(Fixable, match="PiSSA cannot start with rank 31"):
        principal_factors(weight, 31, 1.0)


def test_doras_lengths_are_worked_out_again_once_it_learns_again(tmp_path: Path) -> None:
    fresh = adapted("llama", "dora", tmp_path)
    loaded = load_adapter(tiny_net("llama"), tmp_path)
    for net in (fresh, loaded):
        net(IDS)
        learned = adapter_weights(net)
        for weight in learned.values():
            weight.requires_grad_(True)
        optimiser = AdamW(learned)
        for _ in range(3):
            net(input_ids=IDS, labels=IDS).loss.backward()
            optimiser.step(1e-2)
        net.requires_grad_(False)
    close(loaded(IDS).logits, fresh(IDS).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bfloat16_it_stays_near_float32(kind: str) -> None:
    net = adapted("qwen2", kind)
    whole = net(IDS).logits
    half = copy.deepcopy(net).bfloat16()(IDS).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - whole).abs().max() < 0.05 * whole.abs().max()


Computed = Callable[[LoraLinear, torch.Tensor], torch.Tensor]


def young(bias: bool) -> LoraLinear:
    """A layer in bfloat16 whose change is about a sixth of the digit in which its outputs are kept."""
    torch.manual_seed(0)
    base = torch.nn.Linear(96, 160, bias=bias).bfloat16().requires_grad_(False)
    return LoraLinear(base, (torch.randn(8, 96) / 10, torch.randn(160, 8) * 1e-4), 2.0)


def in_four_bits(layer: LoraLinear) -> LoraLinear:
    return LoraLinear(Linear4(layer.base, False), layer.factors, layer.scale)


def above_another(layer: LoraLinear) -> LoraLinear:
    zero = (torch.zeros(2, 96), torch.zeros(160, 2))
    return LoraLinear(LoraLinear(layer.base, zero, 1.0), layer.factors, layer.scale)


def with_lengths(layer: LoraLinear) -> LoraLinear:
    rows = torch.linalg.vector_norm(layer.base.weight.float(), dim=1)
    return DoraLinear(layer.base, layer.factors, layer.scale, magnitude=rows)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "computed",
    [
        lambda layer, x: layer(x),
        lambda layer, x: projected(x, [layer]),
        lambda layer, x: product_of([layer], copy=True)(x),
        lambda layer, x: in_four_bits(layer)(x),
        lambda layer, x: above_another(layer)(x),
        lambda layer, x: with_lengths(layer)(x),
    ],
    ids=["layer", "fused", "copied", "four bits", "above another", "DoRA"],
)
@torch.no_grad()
def test_bfloat16_keeps_a_change_smaller_than_its_digits(computed: Computed, bias: bool) -> None:
    """On average: each output moves by a digit or not at all, the more often the larger its change is."""
    layer = young(bias)
    none = LoraLinear(layer.base, (layer.lora_A, torch.zeros(160, 8)), 2.0)
    x = torch.randn(512, 96).bfloat16()
    change = 2.0 * x.float() @ layer.lora_A.T @ layer.lora_B.T
    moved = computed(layer, x).float() - computed(none, x).float()
    assert (moved * change).sum() / change.square().sum() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("four_bits", [False, True])
def test_merged_is_the_same_without_an_adapter(kind: str, four_bits: bool, tmp_path: Path) -> None:
    adapted("qwen2", kind, tmp_path)
    base = quantised(tiny_net(), double=True) if four_bits else tiny_net()
    net = load_adapter(base, tmp_path)
    plain = merged(net)
    close(plain(IDS).logits, net(IDS).logits)
    assert {type(layer) for layer in linear_layers(plain).values()} == {torch.nn.Linear}
    assert plain.state_dict().keys() == tiny_net().state_dict().keys()
    assert plain.get_input_embeddings().weight is base.get_input_embeddings().weight


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_on_an_adapter_leaves_the_lower_one_alone(kind: str, tmp_path: Path) -> None:
    adapted("llama", kind, tmp_path / "first")
    base = load_adapter(tiny_net("llama"), tmp_path / "first")
    before = copy.deepcopy(base.state_dict())
    net = with_adapter(base, 3, 2.0, 7, dora=True, pissa=True)
    close(net(IDS).logits, base(IDS).logits)
    learned = adapter_weights(net)
    assert not {id(weight) for weight in learned.values()} & {id(weight) for weight in base.parameters()}
    shaken(learned, seed=8)
    save_adapter(net, tmp_path / "second", "first")
    close(load_adapter(base, tmp_path / "second")(IDS).logits, net(IDS).logits)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(merged(base)), tmp_path / "second")
    close(theirs(IDS).logits, net(IDS).logits)
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())


def test_the_other_factor_learns_faster_by_the_ratio() -> None:
    net = with_adapter(tiny_net(), 4, 2.0, 0, dora=True)
    learned = adapter_weights(net)
    rates = plus_rates(learned, 16)
    assert plus_rates(learned, 1) == {}
    shaken(learned)  # else A has no gradient at the first step
    before = {name: weight.detach().clone() for name, weight in learned.items()}
    for weight in learned.values():
        weight.requires_grad_(True)
    net(input_ids=IDS, labels=IDS).loss.backward()
    AdamW(learned, rates=rates).step(1e-4)
    for name, weight in learned.items():  # the first step of Adam is the learning rate for every weight
        step = (weight - before[name]).abs().max().item()
        assert step == pytest.approx(1e-4 if name.endswith("lora_A") else 16e-4, rel=0.02), name


def edit(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias = all"),
        ({"lora_bias": True}, "lora_bias"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices"),
        ({"init_lora_weights": "olora"}, "init_lora_weights = olora"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4"),
        ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head"),
        ({"alora_invocation_tokens": [3]}, "alora_invocation_tokens"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
@pytest.mark.filterwarnings("ignore")
def test_what_peft_can_and_we_cannot_is_named(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    pefts("llama", {"target_modules": ["q_proj"], **options}, tmp_path)
    with pytest.raises(Fixable, match=named):
        load_adapter(tiny_net("llama"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"r": 8}, "does not fit this base model"),
        ({"r": 0}, "greater than or equal to 1"),
        ({"r": 10**15}, "less than or equal to"),
        ({"r": "四"}, "'r' of adapterconfig cannot be '四'"),
        ({"lora_alpha": float("nan")}, "finite"),
        ({"peft_type": "IA3"}, "not LoRA but IA3"),
        ({"target_modules": "("}, "not a regular expression"),
        ({"rank_pattern": {"[": 3}}, "not a regular expression"),
        ({"rank_pattern": ["q_proj"]}, "rank_pattern"),
        ({"target_modules": None}, "target_modules"),
        ({"target_modules": ["no_such_layer"]}, "none of the layers"),
        ({"target_modules": ["mlp"]}, "only the linear layers"),
        ({"target_modules": ["q_proj"]}, "has no place"),
        ({"something_new": {"a": 1}}, "something_new"),
    ],
    ids=str,
)
def test_a_wrong_configuration_is_refused(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    adapted("llama", "lora", tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(Fixable, match=said):
        load_adapter(tiny_net("llama"), tmp_path)


def break_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        tensors = load_file(folder / SAVED)
        change(tensors)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / SAVED)

    return broken


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
BROKEN: dict[str, Callable[[Path], object]] = {
    f"{FIRST} is missing": break_tensors(lambda tensors: tensors.pop(FIRST)),
    "lora_magnitude_vector is missing": lambda folder: edit(folder, use_dora=True),
    "holds what is no number": break_tensors(lambda tensors: tensors[FIRST][1].fill_(float("nan"))),
    r"lora_A.weight holds what": break_tensors(lambda tensors: tensors.update({FIRST: torch.ones(4, 48).int()})),
    r"is \[4, 40\], not \[4, 48\]": break_tensors(lambda tensors: tensors.update({FIRST: torch.ones(4, 40)})),
    r"passwd.lora_A.weight has no place": break_tensors(
        lambda tensors: tensors.update({"base_model.model.../../../etc/passwd.lora_A.weight": torch.ones(1)})
    ),
    "cannot be read": lambda folder: (folder / SAVED).write_bytes((folder / SAVED).read_bytes()[:50]),
    "cannot be read: ": lambda folder: (folder / SAVED).write_bytes(b"\xff" * 64),
    "there are no weights beside": lambda folder: (folder / SAVED).unlink(),
    "only adapter_model.bin, which may hold a program": lambda folder: (folder / SAVED).rename(
        folder / "adapter_model.bin"
    ),
    "there is no adapter in": lambda folder: (folder / "adapter_config.json").unlink(),
    "not valid JSON": lambda folder: (folder / "adapter_config.json").write_text("{"),
    "not LoRA but list": lambda folder: (folder / "adapter_config.json").write_text("[]"),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_broken_adapter_is_refused(said: str, tmp_path: Path) -> None:
    adapted("llama", "lora", tmp_path)
    BROKEN[said](tmp_path)
    base = tiny_net("llama")
    before = copy.deepcopy(base.state_dict())
    with pytest.raises(Fixable, match=said):
        load_adapter(base, tmp_path)
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    adapted("llama", "lora", tmp_path)
    other = tiny_net("llama")
    other.model.layers[1].self_attn.q_proj = torch.nn.Linear(48, 24)
    with pytest.raises(Fixable, match="does not fit this base model"):
        load_adapter(other, tmp_path)
