"""Generation: rows that join and leave, draws, stops, pieces of text, schemas; ours against transformers' own."""

from __future__ import annotations

import copy
import gc
import json
import math
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tiny import FAMILIES, net_of_biased_keys, tiny_folder, tiny_net, tiny_tokenizer
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3Config

from shuyuan.base.errors import Fixable
from shuyuan.base.records import GREEDY, Answer, Decoding, Message, ask
from shuyuan.load import batching, engines, prefixes
from shuyuan.load.anatomy import unlike
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.batching import Ask, Batcher, batcher_of
from shuyuan.load.choosing import drawn, likely
from shuyuan.load.drafting import Drafts
from shuyuan.load.engines import TRIAL, Feed, distance, engine_of
from shuyuan.load.fallback import Generic
from shuyuan.load.fast import Forward
from shuyuan.load.generate import generate
from shuyuan.load.model import Model, open_model
from shuyuan.load.products import Narrow, Packed, Plain
from shuyuan.load.saying import Speech
from shuyuan.load.slots import Cache, Shape
from shuyuan.load.tools import calls_in
from shuyuan.load.vocabulary import train_tokenizer
from shuyuan.train.adapter import adapter_weights, with_adapter

TEXTS = (
    "What is the capital of France?",
    "什么是过拟合？",
    "Say 😀 twice.",
    "ＡＢＣ１２３ 中英 mixed?",
    "hi",
    "再说一遍 " * 30,
)
TOOLS = json.dumps([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}])
NEVER = frozenset[int]()
TRIED = tiny_tokenizer()(TRIAL)["input_ids"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Random, but with weights large enough that what stands far back decides what comes next."""
    model = open_model(str(tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")))
    with torch.no_grad():
        for name, weight in model.net.named_parameters():
            weight.mul_(8 if "layers" in name and weight.ndim == 2 else 1)
    far, near = [9, *[5] * 40], [10, *[5] * 40]
    assert reference(model.net, far, 8) != reference(model.net, near, 8)
    return model


@pytest.fixture(scope="module")
def small() -> Model:
    return open_model("smollm2-135m")


def prompts(count: int = 24, longest: int = 300) -> list[list[int]]:
    draws = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, longest, (count,), generator=draws).tolist()
    return [torch.randint(0, 256, (length,), generator=draws).tolist() for length in lengths]


def reference(net: torch.nn.Module, prompt: Sequence[int], most: int) -> list[int]:
    """transformers' own generate, greedy, to the full length."""
    ids = torch.tensor([list(prompt)])
    said = net.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, do_sample=False, eos_token_id=-1)
    return said[0, len(prompt) :].tolist()


def fresh(net: torch.nn.Module, name: str) -> Batcher:
    """A batcher that no other test knows."""
    return Batcher(net, name, TRIED)


def rows_of(batcher: Batcher, asks: Sequence[Ask]) -> list[list[int]]:
    return [row.wait().said for row in batcher.submit(asks)]


# The forward pass


def qwen3() -> torch.nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = Qwen3Config(vocab_size=320, num_key_value_heads=2, head_dim=16, max_position_embeddings=256, **sizes)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def rescaled_llama() -> torch.nn.Module:
    torch.manual_seed(0)
    rope = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={**rope, "original_max_position_embeddings": 64},
    )
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


NETS = {
    **{family: lambda family=family: tiny_net(family) for family in FAMILIES},
    "qwen3": qwen3,
    "llama3": rescaled_llama,
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("pack", [False, True])
def test_logits_are_those_of_transformers_however_the_rows_are_read(name: str, pack: bool) -> None:
    net = NETS[name]()
    first, second = prompts(2, 250)
    first, second = (first * 9)[:200], (second * 9)[:61]
    with torch.inference_mode():
        right_1, right_2 = (net(torch.tensor([tokens])).logits[0] for tokens in (first, second))
    forward = Forward(net, pack)
    one, two = forward.open(256), forward.open(300)
    read = forward.read([Feed(one, first[:70], 0), Feed(two, second[:50], 3)])
    close(read, right_2[47:50])
    read = forward.read([Feed(two, [1, 2, 3], 3), Feed(one, first[70:199], 1)])  # read in vain and taken back
    close(read[3:], right_1[198:199])
    two.length = 50
    read = forward.read([Feed(one, first[199:], 1), Feed(two, second[50:], 11)])
    close(read, torch.cat([right_1[199:], right_2[50:]]))


def test_what_all_keys_have_in_common_costs_no_digits() -> None:
    net = net_of_biased_keys()
    (prompt,) = prompts(1, 200)
    with torch.inference_mode():
        right = net(torch.tensor([prompt])).logits[0]
        theirs = net.bfloat16()(torch.tensor([prompt])).logits[0].float()
    engine = Forward(net, False)
    ours = engine.read([Feed(engine.open(len(prompt)), prompt, len(prompt))]).float()
    off, most = ((logits - right).norm() / right.norm() for logits in (ours, theirs))
    assert 0 < off < 1.15 * most


def close(ours: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(ours, right, atol=2e-5, rtol=1e-4)


def test_a_network_of_another_kind_is_answered_by_transformers_and_that_is_said(capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=2, n_positions=512))
    engine = engine_of(net.eval(), "other", TRIED)
    assert isinstance(engine, Generic)
    assert "other answers at the speed of transformers" in capsys.readouterr().err
    asked = prompts(6)
    batcher = fresh(net, "other")
    found = rows_of(batcher, [Ask(prompt, 6 + number, NEVER) for number, prompt in enumerate(asked)])
    assert found == [reference(net, prompt, 6 + number) for number, prompt in enumerate(asked)]


def test_a_network_that_looks_alike_and_computes_otherwise_is_found_out(capsys: pytest.CaptureFixture) -> None:
    net = tiny_net("llama")
    net.model.layers[1].mlp.act_fn = torch.nn.GELU()
    assert isinstance(engine_of(net, "odd", TRIED), Generic)
    assert "logits would be" in capsys.readouterr().err
    assert distance(Forward(tiny_net("llama"), True), tiny_net("llama"), TRIED) < 1e-5


def test_what_a_short_trial_would_not_show_is_seen_in_the_configuration() -> None:
    assert unlike(tiny_net("llama")) == ""
    for changed in (
        {"sliding_window": 64},
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        {"hidden_act": "gelu"},
    ):
        net = tiny_net("llama")
        for name, value in changed.items():
            setattr(net.config, name, value)
        assert unlike(net), changed


def test_adapters_share_the_copied_base_and_change_the_logits_as_they_should() -> None:
    net = tiny_net()
    adapted = with_adapter(net, 4, 2.0, seed=0)
    for weight in adapter_weights(adapted).values():
        weight.data.normal_(std=0.05)
    plain, changed = Forward(net, True), Forward(adapted, True)
    for ours, theirs in zip(plain.parts.blocks, changed.parts.blocks, strict=True):
        assert theirs.gate_up.inner.copy is ours.gate_up.copy
        assert theirs.qkv.inner.copy is ours.qkv.copy
    assert distance(changed, adapted, TRIED) < 1e-5
    assert distance(changed, net, TRIED) > 1e-2
    with torch.no_grad():
        net.model.layers[0].mlp.gate_proj.weight.mul_(1.5)
    assert distance(Forward(net, True), net, TRIED) < 1e-5  # what was copied before it changed is not used


def test_a_second_copy_is_made_only_where_memory_holds_it(capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(engines, "free_bytes", lambda _: 1000)
    net = tiny_net("llama")
    small = engine_of(net, "large", TRIED)
    assert isinstance(small.parts.head, Plain)
    assert "large answers at half the speed" in capsys.readouterr().err
    kept = Forward(net, True)
    assert engine_of(net, "large", TRIED).parts.head.copy is kept.parts.head.copy  # it is there already


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("unit", ["AVX2", "AVX512"])
def test_few_rows_are_the_same_however_the_weights_are_kept(unit: str, rounded: bool, monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: unit)
    net = tiny_net()
    if rounded:
        net = net.bfloat16().float()
    adapted = with_adapter(net, 4, 2.0, seed=0)
    for weight in adapter_weights(adapted).values():
        weight.data.normal_(std=0.05)
    forward = Forward(adapted, True)
    assert isinstance(forward.parts.blocks[0].qkv.inner.copy, Narrow if rounded and unit == "AVX2" else Packed)
    assert distance(forward, adapted, TRIED) < 1e-5  # its last steps read three tokens and one


# Rows


def test_every_row_says_what_it_would_say_alone_and_what_transformers_says(tiny: Model, monkeypatch) -> None:
    monkeypatch.setattr(batching, "CHUNK", 64)
    monkeypatch.setattr(batching, "MOST_ROWS", 7)
    asked = prompts()
    together = generate(tiny, asked, 20)
    assert together == [reference(tiny.net, prompt, 20) for prompt in asked]
    assert together[3:5] == [generate(tiny, [prompt], 20)[0] for prompt in asked[3:5]]
    halves: dict[int, list[list[int]]] = {}
    threads = [
        threading.Thread(target=lambda part=part: halves.update({part: generate(tiny, asked[part::2], 20)}))
        for part in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (halves[0], halves[1]) == (together[::2], together[1::2])


def test_a_drafted_answer_is_the_undrafted_one(tiny: Model, monkeypatch) -> None:
    asked = [prompt * 3 for prompt in prompts(6, 40)]
    drafted = generate(tiny, asked, 60)
    monkeypatch.setattr(Drafts, "draft", lambda *_: [])
    assert generate(tiny, asked, 60) == drafted


class _Watch:
    """Notes the thread and keeps a row from ending by itself until it may."""

    def __init__(self) -> None:
        self.heard, self.may_end = threading.Event(), threading.Event()
        self.tokens = 0

    def hear(self, token: int) -> bool:
        self.heard.set()
        self.tokens += 1
        return self.may_end.is_set()

    def end(self) -> None: ...


def test_a_row_joins_while_another_goes_on_and_a_cancelled_one_leaves(tiny: Model) -> None:
    batcher, watch = batcher_of(tiny), _Watch()
    (long,) = batcher.submit([Ask([5, 6, 7], 1_000_000, NEVER, listener=watch)])
    assert watch.heard.wait(10)
    (short,) = batcher.submit([Ask([8, 9], 3, NEVER)])
    assert len(short.wait().said) == 3  # the long one is still going
    assert not long.cut
    long.cancel()
    long.wait()
    assert 0 < watch.tokens < 1_000_000
    watch.may_end.set()
    (last,) = batcher.submit([Ask([5], 9, NEVER, listener=watch)])
    assert len(last.wait().said) == 1


def test_the_thread_and_all_memory_go_with_the_last_row() -> None:
    net = tiny_net()
    batcher = batcher_of(Model("gone", net, tiny_tokenizer(), Path()))
    rows_of(batcher, [Ask(prompt, 4, NEVER) for prompt in prompts(5)])
    for _ in range(100):
        alive = [thread for thread in threading.enumerate() if thread.name == "answers of gone"]
        if not alive:
            break
        time.sleep(0.05)
    assert not alive
    assert batcher._engine.cache._tables == {}
    known = weakref.ref(batcher)
    del batcher, net
    gc.collect()
    assert known() is None


def test_what_goes_wrong_is_raised_for_every_row_and_the_next_ones_go_on(tiny: Model) -> None:
    class Broken(_Watch):
        def hear(self, token: int) -> bool:
            raise RuntimeError("no ears")

    batcher = fresh(tiny.net, "broken")
    rows = batcher.submit([Ask([1, 2], 5, NEVER, listener=Broken()), Ask([3], 500, NEVER)])
    for row in rows:
        with pytest.raises(RuntimeError, match="no ears"):
            row.wait()
    assert rows_of(batcher, [Ask([1, 2], 5, NEVER)]) == [reference(tiny.net, [1, 2], 5)]


def test_rows_wait_for_memory_and_a_row_too_large_for_it_goes_alone(tiny: Model) -> None:
    batcher = fresh(tiny.net, "narrow")
    asked = prompts(8, 40)
    rows_of(batcher, [Ask(asked[0], 2, NEVER)])
    batcher._engine.cache.most_tokens = 600
    sizes: list[int] = []
    step = batcher._step
    batcher._step = lambda engine: (sizes.append(len(batcher._going)), step(engine))[1]
    found = rows_of(batcher, [*(Ask(prompt, 10, NEVER) for prompt in asked), Ask(asked[0], 1000, NEVER)])
    assert found[:8] == [reference(tiny.net, prompt, 10) for prompt in asked]
    assert len(found[8]) == 1000
    assert max(sizes) == 2


def test_a_beginning_is_read_once_and_changes_nothing(tiny: Model, monkeypatch) -> None:
    monkeypatch.setattr(batching, "CHUNK", 64)
    batcher, head = fresh(tiny.net, "prefix"), prompts(1)[0][:1] * 100
    asked = [[*head, *rest] for rest in prompts(5, 30)]
    right = [reference(tiny.net, prompt, 8) for prompt in asked]
    assert rows_of(batcher, [Ask(prompt, 8, NEVER) for prompt in asked]) == right
    read: list[int] = []
    engine = batcher._engine
    reads = engine.read
    engine.read = lambda feeds: (read.append(sum(len(feed.tokens) for feed in feeds)), reads(feeds))[1]
    talk = [[*prompt, *said, 7, 8, 9] for prompt, said in zip(asked, right, strict=True)]  # the conversation goes on
    assert rows_of(batcher, [Ask(prompt, 1, NEVER) for prompt in talk]) == [reference(tiny.net, p, 1) for p in talk]
    assert sum(read) == 5 * 4  # the last token said was never read
    assert rows_of(batcher, [Ask(asked[0], 8, NEVER)]) == [right[0]]


def test_what_was_drafted_wrongly_is_not_kept(tiny: Model, monkeypatch) -> None:
    batcher, asked = fresh(tiny.net, "wrong"), prompts(4, 60)
    right = [reference(tiny.net, prompt, 6) for prompt in asked]
    monkeypatch.setattr(Drafts, "draft", lambda self, tokens, most: [3, 1, 2][: max(0, most)])
    for most in (1, 2, 6):  # rows that are stopped end with drafted tokens left over
        said = rows_of(batcher, [Ask(prompt, 9, NEVER, listener=_Enough(most)) for prompt in asked])
        assert said == [answer[:most] for answer in right]
        talk = [[*prompt, *answer, 7, 8, 9] for prompt, answer in zip(asked, said, strict=True)]
        assert rows_of(batcher, [Ask(prompt, 3, NEVER) for prompt in talk]) == [
            reference(tiny.net, prompt, 3) for prompt in talk
        ]


class _Enough(_Watch):
    """Ends a row after so many tokens."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.most = tokens

    def hear(self, token: int) -> bool:
        super().hear(token)
        return self.tokens == self.most


def test_kept_beginnings_are_bounded(tiny: Model, monkeypatch) -> None:
    monkeypatch.setattr(prefixes, "MOST", 300)
    batcher = fresh(tiny.net, "bounded")
    rows_of(batcher, [Ask(prompt, 4, NEVER) for prompt in prompts()])
    kept = batcher._engine._prefixes._kept
    assert 0 < sum(len(tokens) for tokens, _ in kept) <= 300
    assert all(place.length == len(tokens) for tokens, place in kept)


def test_memory_of_ended_rows_goes_at_once_and_not_when_python_looks_for_circles(tiny: Model, monkeypatch) -> None:
    monkeypatch.setattr(prefixes, "MOST", 60)
    batcher = fresh(tiny.net, "let go of")
    rows_of(batcher, [Ask([8] * 40, 4, NEVER)])
    cache, beginnings = batcher._engine.cache, batcher._engine._prefixes
    gc.collect()
    gc.disable()
    try:
        known = [weakref.ref(place.table) for _, place in beginnings._kept]
        known += [weakref.ref(place.table) for place in [cache.open(20) for _ in range(3)]]
        while 256 in cache._tables:
            cache.close(cache._tables[256].places[0])
        rows_of(batcher, [Ask([9] * 70, 4, NEVER)])  # too long to be kept, and what was kept goes
        assert len(known) == 4
        assert [table for table in known if table()] == []
    finally:
        gc.enable()


def test_slots_move_together_and_keep_what_is_in_them() -> None:
    cache = Cache(Shape(2, 1, 4, torch.float32, torch.device("cpu")))
    places = [cache.open(20) for _ in range(5)]
    table = places[0].table
    for number, place in enumerate(places):
        place.length = 3
        for layer in (0, 1):
            table.keys[layer][place.slot, :, :, :3] = number
            table.values[layer][place.slot, :, :3] = number
    cache.close(places[1])
    cache.close(places[4])
    assert sorted(place.slot for place in (places[0], places[2], places[3])) == [0, 1, 2]
    for number in (0, 2, 3):
        assert (table.keys[1][places[number].slot, :, :, :3] == number).all()
        assert (table.values[0][places[number].slot, :, :3] == number).all()


# Choosing


def test_draws_follow_the_distribution_and_top_p_keeps_the_smallest_set() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    draws = [drawn(logits, 1.0, 1.0, 7, position) for position in range(4000)]
    shares = [draws.count(token) / 4000 for token in range(4)]
    assert shares == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert {drawn(logits, 1.0, 0.75, 7, position) for position in range(500)} == {0, 1}
    assert {drawn(logits, 1.0, 0.81, 7, position) for position in range(500)} == {0, 1, 2}
    assert {drawn(logits, 1e-5, 1.0, 7, position) for position in range(50)} == {0}
    flat = torch.zeros(5000)
    assert len({drawn(flat, 1.0, 0.9, 1, position) for position in range(3000)}) > 1500  # more than the first look
    told = likely(logits, 2, 2)
    assert told.logprob == pytest.approx(math.log(0.15), abs=1e-5)
    assert [token for token, _ in told.top] == [0, 1]


def test_a_drawn_answer_depends_on_its_seed_and_not_on_its_company(tiny: Model) -> None:
    asked = prompts(5, 60)
    asks = [Ask(prompt, 30, NEVER, temperature=1.0, top_p=0.95, seed=number) for number, prompt in enumerate(asked)]
    together = rows_of(batcher_of(tiny), asks)
    assert together == [rows_of(batcher_of(tiny), [one])[0] for one in asks]
    other = rows_of(batcher_of(tiny), [Ask(asked[0], 30, NEVER, temperature=1.0, seed=99)])
    assert other[0] != together[0]


@pytest.mark.parametrize("decoding", [Decoding(temperature=-1), Decoding(top_p=0), Decoding(top_p=1.5)])
def test_what_cannot_be_drawn_is_refused(tiny: Model, decoding: Decoding) -> None:
    with pytest.raises(Fixable, match="temperature"):
        ModelAssistant("bare", tiny).answer([ask("hi")], decoding)


def test_log_probabilities_are_those_of_the_reference(small: Model) -> None:
    assistant = ModelAssistant("bare", small)
    (answer,) = assistant.answer([ask(TEXTS[0])], Decoding(max_tokens=6, logprobs=3))
    prompt = assistant.prompt(ask(TEXTS[0]))
    tokens = generate(small, [prompt], 6)[0]
    with torch.inference_mode():
        nats = small.net(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert len(answer.logprobs) == answer.answer_tokens == 6
    assert answer.cut
    for said, token, nats_V in zip(answer.logprobs, tokens, nats, strict=True):
        assert said.token == small.tokenizer.decode([token])
        assert said.logprob == pytest.approx(nats_V[token].item(), abs=1e-3)
        assert said.top[0] == (said.token, pytest.approx(said.logprob))
        assert len(said.top) == 3


# Text


def streamed(assistant: ModelAssistant, text: str, decoding: Decoding = GREEDY) -> tuple[list[str], Answer]:
    pieces, stream = [], assistant.stream(ask(text), decoding)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as ended:
            return pieces, ended.value


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_joined_are_the_answer(small: Model, text: str) -> None:
    assistant = ModelAssistant("bare", small, max_new_tokens=24)
    (whole,) = assistant.answer([ask(text)])
    pieces, answer = streamed(assistant, text)
    assert "".join(pieces) == answer.text == whole.text
    assert answer.answer_tokens == whole.answer_tokens
    assert len(pieces) > 1 or not whole.text


SAID = (
    "你好，世界！书院😀好",
    "family 👨‍👩‍👧‍👦 and flag 🇨🇳🇫🇷!",
    "👍🏽👍 trois ❤️‍🔥!",
    "  blank  \n\n end \n",
    "a\ufffdb",
    "한국어 ＡＢＣ",
)


@pytest.mark.parametrize("said", SAID)
def test_no_piece_holds_half_a_sign(said: str) -> None:
    """One token a byte: the hardest vocabulary to stream."""
    import regex

    tokenizer = tiny_tokenizer()
    speech = Speech(tokenizer)
    pieces = [speech.hear(token) for token in tokenizer(said)["input_ids"]]
    pieces.append(speech.end(cut=False))
    assert "".join(pieces) == speech.text == said.strip()
    signs = regex.findall(r"\X", said.strip())
    ends = {sum(map(len, signs[:number])) for number in range(len(signs) + 1)}
    at = 0
    for piece in pieces:
        at += len(piece)
        assert at in ends


def test_half_a_character_at_a_cut_is_dropped_and_broken_bytes_are_not_waited_for() -> None:
    tokenizer = tiny_tokenizer()
    speech = Speech(tokenizer)
    for token in tokenizer("书院")["input_ids"][:-1]:
        speech.hear(token)
    speech.end(cut=True)
    assert speech.text == "书"
    broken = Speech(tokenizer)
    lead = tokenizer("书")["input_ids"][0]
    heard = "".join(broken.hear(lead) for _ in range(40))
    assert len(heard) > 20


@pytest.mark.parametrize(
    ("said", "stops", "text"),
    [
        ("one two three", ("two",), "one"),
        ("one two three", ("four",), "one two three"),
        ("answer\n\nmore", ("\n\n",), "answer"),
        ("\n\nmore", ("\n\n",), ""),
        ("甲乙丙丁", ("丙丁", "乙"), "甲"),
        ("aab", ("ab",), "a"),
        ("好😀完", ("😀",), "好"),
        ("END of", ("END of it",), "END of"),
    ],
)
def test_an_answer_ends_before_a_stop(said: str, stops: tuple[str, ...], text: str) -> None:
    tokenizer = tiny_tokenizer()
    speech, heard = Speech(tokenizer, stops), ""
    for token in tokenizer(said)["input_ids"]:
        heard += speech.hear(token)
        assert text.startswith(heard)
        if speech.stopped:
            break
    heard += speech.end(cut=False)
    assert heard == speech.text == text


def test_a_stop_ends_the_row_and_is_not_a_cut(small: Model) -> None:
    assistant = ModelAssistant("bare", small, max_new_tokens=24)
    (whole,) = assistant.answer([ask(TEXTS[0])])
    stop = whole.text[8:12]
    decoding = Decoding(stop=(stop,), logprobs=0)
    (answer,) = assistant.answer([ask(TEXTS[0])], decoding)
    assert answer.text == whole.text.partition(stop)[0].strip()
    assert 0 < answer.answer_tokens < whole.answer_tokens
    assert not answer.cut
    assert 0 < len(answer.logprobs) <= answer.answer_tokens
    assert streamed(assistant, TEXTS[0], decoding)[1].text == answer.text


def test_a_closed_stream_ends_the_work(tiny: Model) -> None:
    assistant = ModelAssistant("bare", tiny, max_new_tokens=1500)
    stream = assistant.stream(ask("hello"), Decoding(temperature=1.0))
    next(stream)
    batcher = batcher_of(tiny)
    assert batcher._going
    stream.close()
    for _ in range(200):
        if not batcher._going:
            break
        time.sleep(0.02)
    assert not batcher._going


# Schemas and tools


def test_an_answer_keeps_to_a_schema(small: Model) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "巴黎"]}, "size": {"type": "integer", "maximum": 99}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    assistant = ModelAssistant("bare", small)
    for extra in ({}, {"temperature": 1.5, "seed": 3}):
        (answer,) = assistant.answer([ask("Tell me of Paris.")], Decoding(schema=json.dumps(schema), **extra))
        found = json.loads(answer.text)
        assert found["city"] in ("Paris", "巴黎")
        assert found["size"] <= 99
        assert not answer.cut
    assert streamed(assistant, "Tell me of Paris.", Decoding(schema=json.dumps(schema)))[1].text.startswith("{")
    for broken in ("[]", "{", '{"type": "nothing"}'):
        with pytest.raises(Fixable, match="schema"):
            assistant.answer([ask("hi")], Decoding(schema=broken))


def test_tools_are_offered_by_the_template_and_calls_are_found_again(tmp_path: Path, tiny: Model, small: Model) -> None:
    chatml = copy.copy(tiny)
    object.__setattr__(chatml, "tokenizer", train_tokenizer(["some text to learn from 一些文字"] * 9, 512))
    prompt = chatml.tokenizer.decode(ModelAssistant("bare", chatml).prompt(ask("Rain?"), TOOLS))
    assert '"name": "weather"' in prompt
    with pytest.raises(Fixable, match="no place for tools"):
        ModelAssistant("bare", tiny).prompt(ask("Rain?"), TOOLS)
    said = 'Let me look.\n<tool_call>\n{"name": "weather", "arguments": {"place": "北京"}}\n</tool_call>'
    beside, calls = calls_in(said)
    assert beside == "Let me look."
    (call,) = json.loads(calls)
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"place": "北京"}
    assert calls_in(beside) == (beside, "")
    for broken in ("<tool_call>{</tool_call>", '<tool_call>{"arguments": {}}</tool_call>', "<tool_call>5"):
        assert calls_in(f"so {broken}") == (f"so {broken}", "")
    back = Message("assistant", beside, tool_calls=calls)
    turns = [Message("user", "Rain?"), back, Message("tool", "sunny"), Message("user", "thanks")]
    assert "北京" in chatml.tokenizer.decode(ModelAssistant("bare", chatml).prompt(turns, TOOLS))


def test_who_would_say_nothing_speaks_and_how_near_it_was_is_told(tiny: Model) -> None:
    """With the likeliest token as an end, the answer begins with the likeliest of the others."""
    prompt = [5, 6, 7]
    with torch.inference_mode():
        logits_V = tiny.net(input_ids=torch.tensor([prompt])).logits[0, -1].double()
    first, second = logits_V.topk(2).indices.tolist()
    share = logits_V.softmax(-1)[first]
    silent, speaking = fresh(tiny.net, "speaks").submit(
        [Ask(prompt, 4, frozenset([first]), speaks=speaks) for speaks in (False, True)]
    )
    assert silent.wait().said == []
    assert speaking.wait().said[0] == second
    assert speaking.silence == pytest.approx(float(torch.log(share / (1 - share))), abs=1e-4)
    drawn_ones = fresh(tiny.net, "drawn").submit(
        [Ask(prompt, 1, frozenset([first]), temperature=5.0, seed=seed, speaks=True) for seed in range(40)]
    )
    assert all(row.wait().said for row in drawn_ones)
    declines = ModelAssistant("declines", tiny, declines=True)
    (answer,) = declines.answer([ask("书院 😀?")])
    assert answer.text
    assert answer.answerable is not None
    assert ModelAssistant("plain", tiny).answer([ask("书院 😀?")])[0].answerable is None
