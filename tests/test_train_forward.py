"""Our own forward pass against transformers': the loss and every gradient, whatever learns; and when it is not used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_train import sequences
from tiny import FAMILIES, net_of_biased_keys, tiny_net
from transformers import AutoModelForCausalLM, GraniteConfig, Qwen3Config

from shuyuan.train import forward
from shuyuan.train.adapter import adapter_weights, with_adapter
from shuyuan.train.attention import layout_of
from shuyuan.train.loop import prepared
from shuyuan.train.quantise import quantised
from shuyuan.train.supervised import Supervised

ROW = tuple(sorted(sequences(9, longest=60), key=lambda s: -len(s.ids)))
SIZES = {
    "vocab_size": 320,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def qwen3(_: str) -> torch.nn.Module:
    """With norms of queries and keys, and heads wider than their share of the model."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(Qwen3Config(**SIZES, head_dim=16), dtype=torch.float32).eval()


NETS: dict[str, Callable[[str], torch.nn.Module]] = {**dict.fromkeys(FAMILIES, tiny_net), "qwen3": qwen3}
TAUGHT: dict[str, Callable[[torch.nn.Module], torch.nn.Module]] = {
    "all": lambda net: net,
    "lora": lambda net: with_adapter(net, 4, 1.7, 0),
    "dora": lambda net: with_adapter(net, 4, 2.0, 0, dora=True),
    "pissa": lambda net: with_adapter(net, 4, 2.0, 0, pissa=True),
    "lora on four bits": lambda net: with_adapter(quantised(net, double=True), 4, 2.0, 0),
    "lora on lora": lambda net: with_adapter(with_adapter(net, 2, 2.0, 1), 4, 2.0, 0),
}


def gradients(net: torch.nn.Module, learned: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    with prepared(net, learned):
        loss = Supervised().loss(net, ROW)
        loss.backward()
    found = {name: weight.grad.to_dense() for name, weight in learned.items()}
    for weight in learned.values():
        weight.grad = None
    return {"loss": loss.detach(), **found}


@pytest.mark.parametrize("taught", TAUGHT)
@pytest.mark.parametrize("family", NETS)
def test_loss_and_gradients_equal_those_of_transformers(
    family: str, taught: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = TAUGHT[taught](NETS[family](family))
    learned = dict(net.named_parameters()) if taught == "all" else adapter_weights(net)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in learned.values():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    ours = gradients(net, learned)
    assert forward._ours[net]
    monkeypatch.setitem(forward._ours, net, False)
    theirs = gradients(net, learned)
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=2e-5, msg=name)
        assert expected.abs().max() > 0, name


def test_a_network_that_does_more_learns_through_transformers_and_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    config = GraniteConfig(**SIZES, residual_multiplier=0.3)  # its parts are a Llama's; what it does with them is not
    net = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with prepared(net, {}), torch.no_grad():
        loss = Supervised().loss(net, ROW[:1])
    right = net(input_ids=torch.tensor([ROW[0].ids])).logits[0, :-1].log_softmax(-1)
    targets = [(at, i) for at, (i, on) in enumerate(zip(ROW[0].ids[1:], ROW[0].learned[1:], strict=True)) if on]
    torch.testing.assert_close(loss, -sum(right[at, i] for at, i in targets), rtol=1e-4, atol=1e-4)
    assert "learns at the speed of transformers" in capsys.readouterr().err


def test_what_all_keys_have_in_common_costs_no_digits() -> None:
    net = net_of_biased_keys()
    ids_T = torch.tensor([token for sequence in ROW for token in sequence.ids])
    lengths = [len(sequence.ids) for sequence in ROW]
    with torch.no_grad():
        right = forward._theirs(net, ids_T, layout_of(lengths, ids_T.device, torch.float32))
        with prepared(net.bfloat16(), {}):
            layout = layout_of(lengths, ids_T.device, torch.bfloat16)
            packed = forward._own(net, ids_T, layout)
        alone = torch.cat([net.model(input_ids=ids[None]).last_hidden_state[0] for ids in ids_T.split(lengths)])
    off, most = ((states.float() - right).norm() / right.norm() for states in (packed, alone))
    assert 0 < off < 1.15 * most
