"""A model that learned to read passages reads them; for all else, and for other models, there is none."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_recall import HashedTerms, passages
from test_recall_answer import Says
from tiny import tiny_folder

from shuyuan.base.files import write_json
from shuyuan.base.records import Assistant, Message, Run, ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.catalogue import entries
from shuyuan.load.model import Model, open_model
from shuyuan.load.pulling import present
from shuyuan.read.language import language
from shuyuan.recall import reader
from shuyuan.recall.ground import BEYOND, Ground
from shuyuan.recall.grounded import GroundedAssistant
from shuyuan.recall.reader import READERS, reader_of
from shuyuan.recall.searching import Library
from shuyuan.teach.course import answering_with
from shuyuan.train.adapter import adapters, save_adapter, with_adapter

default = pytest.mark.skipif(not present("qwen2.5-0.5b"), reason="no model here")
TOLD = {
    "How many beds does the hostel in Lund have?": ("The hostel in Lund was opened in 1998 and has 64 beds.", "64"),
    "档案馆有多少位工作人员？": ("档案馆建于１９８７年，有 23 位工作人员。🏛️", "23"),
}


@pytest.fixture
def tiny(tmp_path: Path) -> Model:
    """As if it were of the catalogue."""
    model = open_model(str(tiny_folder(tmp_path / "tiny")))
    write_json(model.folder / "shuyuan.json", {"name": "tiny"})
    return replace(model, name="tiny")


def test_only_the_model_it_was_made_for_has_a_reader(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READERS", tmp_path / "readers")
    bare, says = ModelAssistant("bare", tiny, system="Be kind."), Says()
    assert reader_of(bare) is bare
    assert reader_of(says) is says
    save_adapter(with_adapter(tiny.net, 2, 1.0, 0), tmp_path / "readers" / "tiny", "tiny")
    reads = reader_of(bare)
    assert isinstance(reads, ModelAssistant)
    assert (reads.declines, reads.system, len(adapters(reads.model.net))) == (True, "Be kind.", 14)
    assert not adapters(tiny.net), "the base stays as it was"
    assert reader_of(replace(bare, name="other")).model.net is reads.model.net, "one batcher for all who read with it"
    taught = replace(bare, model=replace(tiny, name="lora"))  # as `answering_with` opens a run's weights
    assert reader_of(taught) is taught
    learned = answering_with(tiny.net, bare, Run("lora", tmp_path, tmp_path))
    again = answering_with(tiny.net, learned, Run("full", tmp_path, tmp_path))
    for one in (learned, again):
        assert one.untaught is tiny
        assert reader_of(one).model.net is reads.model.net, "it leaves reading to the model from before"


def test_a_reader_goes_with_its_model(tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READERS", tmp_path / "readers")
    save_adapter(with_adapter(tiny.net, 2, 1.0, 0), tmp_path / "readers" / "tiny", "tiny")
    model = replace(open_model(str(tiny.folder), torch.bfloat16), name="tiny")
    seen = [weakref.ref(net) for net in (model.net, reader_of(ModelAssistant("bare", model)).model.net)]
    assert all(net() is not None for net in seen)
    del model
    gc.collect()
    assert all(net() is None for net in seen)


def test_a_folder_with_the_name_of_another_model_is_not_believed_and_that_is_said_once(
    tiny: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tiny.folder / "shuyuan.json", {"name": "qwen2.5-0.5b"})
    pretends = ModelAssistant("bare", replace(tiny, name="qwen2.5-0.5b"))
    assert reader_of(pretends) is pretends
    assert reader_of(pretends) is pretends
    assert (
        capsys.readouterr().err.count("qwen2.5-0.5b reads passages without its reader: the adapter does not fit") == 1
    )


def test_it_reads_and_does_nothing_else(tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chat mode the base goes on alone, and its answer says nothing of what was read."""
    monkeypatch.setattr(reader, "READERS", tmp_path / "readers")
    save_adapter(with_adapter(tiny.net, 2, 1.0, 0), tmp_path / "readers" / "tiny", "tiny")
    bare = ModelAssistant("bare", tiny, max_new_tokens=8)
    library = Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")
    ground = Ground(threshold=-1.0)
    (refused,) = GroundedAssistant("retrieve", bare, library, ground).answer([ask("What is the default rank?")])
    assert refused.refused, "nonsense has no support"
    assert refused.answerable is not None
    (beyond,) = GroundedAssistant("retrieve", bare, library, ground.but(mode="chat")).answer([ask("默认的秩是多少？")])
    (alone,) = bare.answer([ask("默认的秩是多少？")])
    assert beyond.text == BEYOND["zh"] + alone.text.strip()


def test_who_knows_what_is_not_there_reads_a_little_farther(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "READERS", tmp_path / "readers")
    save_adapter(with_adapter(tiny.net, 2, 1.0, 0), tmp_path / "readers" / "tiny", "tiny")
    bare = ModelAssistant("bare", tiny, max_new_tokens=8)
    library = Library.build(tmp_path / "library", passages(), HashedTerms(), tmp_path / "cache", store="memory")
    question = "What is the default rank?"
    near = library.nearness(question, library.search(question, 10))

    def asked(farther: float, inner: Assistant, ground: Ground) -> bool:
        library.state.thresholds["en"] = near + farther
        (answer,) = GroundedAssistant("retrieve", inner, library, ground).answer([ask(question)])
        return answer.prompt_tokens > 0

    ground = Ground(evidence=0.1)
    assert asked(0.05, bare, ground)
    assert not asked(0.15, bare, ground)
    assert not asked(0.05, Says(), ground)
    assert not asked(0.05, bare, ground.but(threshold=near + 0.05)), "what is given is kept"


@default
def test_the_default_model_reads_and_knows_what_is_not_there() -> None:
    assert {folder.name for folder in READERS.iterdir()} <= entries().keys()
    reads = reader_of(ModelAssistant("bare", open_model("qwen2.5-0.5b"), max_new_tokens=24))
    ground, hiding = Ground(), passages()[:1]
    asked = []
    for question, (text, _) in TOLD.items():
        told = replace(hiding[0], source="guide.md", headings=(), text=text, end=len(text))
        asked += [[Message("user", ground.prompt(question, shown, language(question)))] for shown in ([told], hiding)]
    said = reads.answer(asked)
    for (told, missed), (_, right) in zip((said[:2], said[2:]), TOLD.values(), strict=True):
        assert right in told.text
        assert len(told.text) <= len(right) + 6
        assert told.answerable > 0 > missed.answerable
