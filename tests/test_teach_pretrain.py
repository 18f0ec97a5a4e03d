"""Pretraining from nothing, and going on pretraining with replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from tiny import tiny_folder
from transformers import AutoModelForCausalLM, AutoTokenizer

from shuyuan.base.errors import Fixable
from shuyuan.base.files import read_jsonl
from shuyuan.base.guards import Guards
from shuyuan.base.records import Assistant, Document, Example, Lessons, Message, Run, ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.model import open_model
from shuyuan.measure.bits_per_byte import bits_per_byte
from shuyuan.prepare.chat import Encoded
from shuyuan.teach.continue_ import Continue
from shuyuan.teach.pretrain import Pretrain, fresh_net
from shuyuan.teach.replay import LENGTH, TEXTS, replayed, sample
from shuyuan.teach.sizing import Shape
from shuyuan.train.supervised import Supervised

SMALL = {"layers": 1, "vocabulary": 512, "block": 192, "batch": 4}


def document(path: Path) -> Document:
    return Document(path.stem, path.name, path.stem, path.read_text(encoding="utf-8"), "", "")


@pytest.fixture(scope="module")
def handbook() -> Lessons:
    paths = [*sorted((REPOSITORY / "docs").glob("*.md"))[3:6], *sorted((REPOSITORY / "docs" / "zh").glob("*.md"))[3:6]]
    turns = (Message("user", "秩是多少？ 🎓"), Message("assistant", "十六。"))
    return Lessons(tuple(map(document, paths)), (), tuple(Example(str(n), turns) for n in range(4)))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> ModelAssistant:
    folder = tiny_folder(tmp_path_factory.mktemp("tiny") / "tiny")
    return ModelAssistant("bare", open_model(str(folder)), max_new_tokens=8)


def tensors(assistant: Assistant) -> list[torch.Tensor]:
    assert isinstance(assistant, ModelAssistant)
    return [weight.detach() for weight in assistant.model.net.parameters()]


def held_out_bits(assistant: Assistant) -> float:
    """Of two pages that are not among those taught."""
    texts = [(REPOSITORY / "docs" / page).read_text(encoding="utf-8")[:1500] for page in ("train.md", "zh/train.md")]
    return bits_per_byte(sum(assistant.nats(texts)), sum(len(text.encode()) for text in texts))


def test_a_model_from_nothing_learns_to_predict_text_it_has_not_read(
    base: ModelAssistant, handbook: Lessons, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run("pretrain", tmp_path, tmp_path / "cache")
    taught = Pretrain(**SMALL, epochs=4, learning_rate=1e-2).teach(base, handbook, run)
    said = capsys.readouterr().err
    log = read_jsonl(tmp_path / "log.jsonl")
    assert log[-1]["held_out_bits_per_byte"] < 0.8 * log[0]["held_out_bits_per_byte"]
    untaught = replace(taught.model, net=fresh_net(Shape(1, len(taught.model.tokenizer)), 192, seed=0))
    assert held_out_bits(taught) < 0.8 * held_out_bits(replace(taught, model=untaught))
    assert f"vocabulary {len(taught.model.tokenizer):,} of" in said
    assert "tokens a character (bare: " in said
    assert "layers 1: as given" in said
    assert "bytes held out: " in said


def test_transformers_opens_what_was_pretrained_and_it_ends_its_turns(
    base: ModelAssistant, handbook: Lessons, tmp_path: Path
) -> None:
    way = Pretrain(**SMALL, epochs=60, learning_rate=1e-2)
    lessons = Lessons(
        (Document("d", "d.md", "d", "The school opens at nine. 书院九点开门。\n" * 8, "", ""),), (), handbook.examples
    )
    taught = way.teach(base, lessons, Run("pretrain", tmp_path, tmp_path / "cache"))
    assert taught.answer([ask("秩是多少？ 🎓")])[0].text == "十六。"
    net = AutoModelForCausalLM.from_pretrained(tmp_path / "weights", dtype=tensors(taught)[0].dtype)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "weights")
    ids = torch.tensor([tokenizer("书院 teaches 🎓")["input_ids"]])
    assert torch.equal(net(ids).logits, taught.model.net(ids).logits)
    assert net.config.architectures == ["LlamaForCausalLM"]
    assert net.generation_config.eos_token_id == [0, 2]
    assert tokenizer.convert_ids_to_tokens([0, 2]) == ["<|endoftext|>", "<|im_end|>"]


def test_the_start_is_drawn_from_the_seed_with_the_stated_deviations() -> None:
    shape = Shape(4, 1024)
    state = torch.random.get_rng_state()
    net, same, other = (dict(fresh_net(shape, 128, seed).named_parameters()) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random numbers were used"
    for name, weight in net.items():
        assert torch.equal(weight, same[name])
        if weight.ndim == 1:
            assert torch.equal(weight, torch.ones_like(weight))
            continue
        assert not torch.equal(weight, other[name])
        wanted = 0.02 / 8**0.5 if name.endswith(("o_proj.weight", "down_proj.weight")) else 0.02
        assert abs(weight.float().std().item() / wanted - 1) < 0.02, name


@pytest.mark.parametrize("text", ["", " \n "])
def test_no_text_is_refused(text: str, base: ModelAssistant, handbook: Lessons, tmp_path: Path) -> None:
    empty = Lessons((Document("d", "d.md", "d", text, "", ""),), (), handbook.examples)
    for way in (Pretrain(), Continue()):
        with pytest.raises(Fixable, match="no documents with text"):
            way.teach(base, replace(empty, examples=()), Run("x", tmp_path, tmp_path))


def stop_after(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C after so many rows of the real loss."""
    whole, left = Supervised.loss, [rows]

    def loss(self: Supervised, net: torch.nn.Module, row: tuple[Encoded, ...]) -> torch.Tensor:
        if torch.is_grad_enabled():
            left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return whole(self, net, row)

    monkeypatch.setattr(Supervised, "loss", loss)


def test_stopped_and_resumed_equals_straight_through_and_is_not_measured_again(
    base: ModelAssistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lessons = Lessons((Document("d", "d.md", "d", "The rank is 16. 秩是十六。\n" * 90, "", ""),))
    way = Pretrain(vocabulary=300, block=64, batch=1, epochs=6.0)
    stopped, straight = (Run("pretrain", tmp_path / name, tmp_path / "cache") for name in ("stopped", "straight"))
    with monkeypatch.context() as stopping:
        stop_after(62, stopping)
        with pytest.raises(KeyboardInterrupt):
            way.teach(base, lessons, stopped)
    assert [path.name for path in (stopped.folder / "checkpoints").glob("step-*")] == ["step-000050"]
    assert "tokens a second" in capsys.readouterr().err
    sizes = (stopped.folder / "sizes.json").read_bytes()
    straight.folder.mkdir()
    (straight.folder / "sizes.json").write_bytes(sizes)
    resumed = way.teach(base, lessons, stopped)
    said = capsys.readouterr().err
    assert "going on from step 50" in said
    assert "tokens a second" not in said
    assert (stopped.folder / "sizes.json").read_bytes() == sizes
    assert all(map(torch.equal, tensors(resumed), tensors(way.teach(base, lessons, straight))))
    losses = [[line.get("loss") for line in read_jsonl(run.folder / "log.jsonl")] for run in (stopped, straight)]
    assert losses[0] == losses[1]


# replay


def test_a_sampled_text_follows_the_models_own_probabilities_without_its_cache(base: ModelAssistant) -> None:
    draws_BT = torch.rand(6, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    texts = sample(base.model, draws_BT)
    for text, draws in zip(texts, draws_BT.tolist(), strict=True):
        assert text
        for t, token in enumerate(text):
            ids = torch.tensor([[base.model.start_token, *text[:t]]])
            with torch.no_grad():
                sums = base.model.net(ids).logits[0, -1].double().softmax(0).cumsum(0)
            assert (sums[token - 1] if token else 0.0) <= draws[t] + 1e-6
            assert draws[t] - 1e-6 < sums[token]
            assert token not in base.model.end_tokens or t == len(text) - 1


def test_texts_that_end_leave_the_others_as_they_are(base: ModelAssistant) -> None:
    draws_BT = torch.rand(8, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ends = sorted(base.model.end_tokens)[0]
    with torch.no_grad():
        sums = base.model.net(torch.tensor([[base.model.start_token]])).logits[0, -1].double().softmax(0).cumsum(0)
    draws_BT[3, 0] = ((sums[ends - 1] if ends else 0.0) + sums[ends]) / 2  # the fourth text ends at once
    together = sample(base.model, draws_BT)
    assert together[3] == [ends]
    assert together[:3] + together[4:] == sample(base.model, torch.cat([draws_BT[:3], draws_BT[4:]]))


def blocks(count: int, size: int = 100) -> tuple[Encoded, ...]:
    return tuple(Encoded(tuple(range(size)), (True,) * size, f"block {n}") for n in range(count))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_a_file_is_replayed_in_the_share_asked_for(share: float, base: ModelAssistant, tmp_path: Path) -> None:
    file = tmp_path / "general.txt"
    file.write_text("".join(f"Line {n} of other text. 别的文字🎓第{n}行。\n" for n in range(900)), encoding="utf-16")
    run = Run("continue", tmp_path / "run", tmp_path / "cache")
    chosen = replayed(base.model, blocks(40), share, str(file), run)
    tokens = sum(len(sequence.ids) for sequence in chosen)
    assert tokens / (tokens + 4000) == pytest.approx(share, abs=2e-3)
    assert max(len(sequence.ids) for sequence in chosen) <= 100
    assert chosen == replayed(base.model, blocks(40), share, str(file), run)
    assert chosen != replayed(base.model, blocks(40), share, str(file), replace(run, seed=1))
    assert len({sequence.source for sequence in chosen}) == len(chosen)
    whole = base.model.tokenizer.decode(chosen[0].ids).rstrip("\ufffd")  # its last character may be cut
    assert whole in file.read_text(encoding="utf-16")


def test_too_short_a_file_is_said_and_an_absent_or_empty_one_refused(
    base: ModelAssistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run("continue", tmp_path / "run", tmp_path / "cache")
    (tmp_path / "short.txt").write_text("Only this. 只有这些。\n", encoding="utf-8")
    assert len(replayed(base.model, blocks(40), 0.5, str(tmp_path / "short.txt"), run)) == 1
    assert "not the 50.0% asked for" in capsys.readouterr().err
    with pytest.raises(Fixable, match="no file to replay from"):
        replayed(base.model, blocks(4), 0.1, str(tmp_path / "absent.txt"), run)
    (tmp_path / "blank.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(Fixable):
        replayed(base.model, blocks(4), 0.1, str(tmp_path / "blank.txt"), run)


def test_the_models_own_text_is_bounded_made_once_and_belongs_to_its_weights(
    base: ModelAssistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run("continue", tmp_path / "run", tmp_path / "cache")
    own = replayed(base.model, blocks(900), 0.1, "", run)
    assert "writes text to replay" in capsys.readouterr().err
    assert 0 < len(own) <= TEXTS
    assert all(sequence.ids[0] == base.model.start_token for sequence in own)
    assert all(len(sequence.ids) <= LENGTH + 1 and all(sequence.learned) for sequence in own)
    assert replayed(base.model, blocks(900), 0.1, "", run) == own
    assert "writes text to replay" not in capsys.readouterr().err
    other = open_model(str(base.model.folder))
    with torch.no_grad():
        other.net.get_input_embeddings().weight[5] += 1.0
    assert replayed(other, blocks(900), 0.1, "", run) != own
    assert len(list((run.cache / "replay").iterdir())) == 2


def test_continue_reads_the_replay_and_nothing_else_changes_without_it(
    base: ModelAssistant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lessons = Lessons((Document("d", "d.md", "d", "The rank is 16. 秩是十六。\n" * 20, "", ""),))
    file = tmp_path / "general.txt"
    file.write_text("Other text. 别的文字。\n" * 90, encoding="utf-8")
    read = {}
    for name, settings in {"with": {"replay_file": str(file)}, "own": {}, "without": {"replay": 0.0}}.items():
        run = Run("continue", tmp_path / name, tmp_path / "cache")
        Continue(block=64, batch=2, epochs=1, **settings).teach(base, lessons, run)
        read[name] = sum(line["tokens"] for line in read_jsonl(run.folder / "log.jsonl"))
    assert read["with"] == read["own"] == round(read["without"] / 0.9)
    assert f"tokens of {file} beside" in capsys.readouterr().err


def test_replay_of_its_own_writing_keeps_a_model_from_forgetting(base: ModelAssistant, tmp_path: Path) -> None:
    english, chinese = (
        Lessons(tuple(document(REPOSITORY / "docs" / page) for page in pages))
        for pages in (("examine.md", "glossary.md", "index.md"), ("zh/recall.md",))
    )
    run = Run("english", tmp_path / "english", tmp_path / "cache", guards=Guards(forget_limit=0, hold_out=0))
    reader = Pretrain(**SMALL, epochs=6, learning_rate=1e-2).teach(base, english, run)
    text = (REPOSITORY / "docs" / "train.md").read_text(encoding="utf-8")[:2000]
    forgotten = []
    for share in (0.0, 0.4):
        way = Continue(block=192, epochs=4, learning_rate=3e-3, replay=share)
        after = way.teach(reader, chinese, replace(run, folder=tmp_path / str(share)))
        forgotten.append((after.nats([text])[0] - reader.nats([text])[0]) / reader.nats([text])[0])
    assert forgotten[0] > 0.05
    assert forgotten[1] < 0.6 * forgotten[0]
