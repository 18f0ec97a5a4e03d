"""A stranger's GGUF file: whatever its bytes say, it is converted within bounds or refused with the reason."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from test_load_sources import write_gguf

from shuyuan.base.errors import Fixable
from shuyuan.base.files import sha256_of
from shuyuan.load import convert_gguf as converting
from shuyuan.load.convert_gguf import MEMORY_BYTES, convert_gguf
from shuyuan.load.header import read_header
from shuyuan.load.pulling import pull

EXTREMES = (0, 1, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
MUTATIONS = 600


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    write_gguf(file)
    return file


def mutated(data: bytes, start: int, chance: random.Random) -> bytes:
    """The file with one or two things wrong, nine times in ten in what stands before the weights at `start`."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2))):
        at = chance.randrange(4, min(start, len(made)) if chance.random() < 0.9 else len(made))
        match chance.randrange(6):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at : at + 8] = struct.pack("<Q", chance.choice(EXTREMES))
            case 2:
                made[at : at + 4] = struct.pack("<I", chance.choice(EXTREMES) & 0xFFFFFFFF)
            case 3:
                del made[at : at + chance.choice((1, 4, 8, 1000))]
            case 4:
                made[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice((1, 4, 8))))
            case _:
                del made[max(at, start // 2) :]
    return bytes(made)


def lengths_of(data: bytes, start: int) -> list[int]:
    """Where eight bytes stand in the header that are a small number: counts, lengths, dimensions and offsets."""
    return [at for at in range(8, start - 8) if 0 < struct.unpack_from("<Q", data, at)[0] < 1 << 20]


def cases(whole: Path) -> list[bytes]:
    """The mutations; a third of them strike a count or a length."""
    data, chance = whole.read_bytes(), random.Random(7)
    start = gguf.GGUFReader(whole).data_offset
    made = [mutated(data, start, chance) for _ in range(MUTATIONS * 2 // 3)]
    for at in chance.choices(lengths_of(data, start), k=MUTATIONS - len(made)):
        made.append(data[:at] + struct.pack("<Q", chance.choice(EXTREMES)) + data[at + 8 :])
    return made


FORKS = """
import os, sys, gguf, torch, json
import transformers.models.llama.modeling_llama, transformers.models.llama.tokenization_llama
from transformers import AutoModelForCausalLM, AutoTokenizer
from shuyuan.load import converting
for line in sys.stdin:
    given = json.loads(line)
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        os.dup2(os.open(given[0] + ".said", os.O_WRONLY | os.O_CREAT), 1)
        sys.argv = ["converting", *given]
        converting.main()
    _, status, used = os.wait4(pid, 0)
    print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]), flush=True)
"""


def test_hundreds_of_wrong_files_are_converted_within_bounds_or_refused(whole: Path, tmp_path: Path) -> None:
    """All are held to their headers; every tenth of the rest goes through the converting process, forked for speed."""
    good, refused, held = list[Path](), 0, 0
    for number, data in enumerate(cases(whole)):
        file = tmp_path / f"{number}.gguf"
        file.write_bytes(data)
        began = time.process_time()
        tracemalloc.start()
        try:
            weights = read_header(file).weights
            assert weights <= len(data)
            good.append(file)
        except Fixable as error:
            refused += error.place == str(file)
            file.unlink()
        finally:
            held = max(held, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert time.process_time() - began < 5
    assert held < 10_000_000
    assert refused + len(good) == MUTATIONS
    assert refused > MUTATIONS // 4
    assert len(good) > MUTATIONS // 10
    words, seconds = [sys.executable, "-c", FORKS], 30
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as forks:
        assert forks.stdin
        assert forks.stdout
        made = faults = 0
        for file in good[::10]:
            folder = file.with_suffix("")
            folder.mkdir()
            given = [str(file), str(folder), "float32", "", str(MEMORY_BYTES), str(seconds)]
            forks.stdin.write(json.dumps(given).encode() + b"\n")
            forks.stdin.flush()
            status, used, memory = json.loads(forks.stdout.readline())
            assert used < seconds + 10, file
            assert memory < MEMORY_BYTES + 2_000_000_000, file
            said = Path(f"{file}.said").read_text(encoding="utf-8").splitlines()
            told = json.loads(said[-1]) if said else {}
            assert status or said, "it ended by itself, and says how"
            made += not status and told == {}
            faults += bool(status) or "what" in told
            assert (folder / "model.safetensors").exists() or status or told, file
        forks.stdin.close()
    assert made + faults == len(good[::10])
    assert made, "an unused bit harms nothing"
    print(f"{MUTATIONS} files: {refused} refused by the header, {faults} by the conversion, {made} converted")


def changed(whole: Path, to: Path, key: str, value: int) -> Path:
    """The file with another number in one field."""
    data, mark = bytearray(whole.read_bytes()), key.encode()
    at = data.index(mark) + len(mark)
    assert struct.unpack_from("<I", data, at) == (int(gguf.GGUFValueType.UINT32),)
    struct.pack_into("<I", data, at + 4, value)
    to.write_bytes(data)
    return to


@pytest.mark.parametrize("key", ["llama.embedding_length", "llama.feed_forward_length", "llama.vocab_size"])
def test_a_file_that_promises_more_than_it_holds_is_refused(
    whole: Path, tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converting, "SECONDS", 20)
    monkeypatch.setenv("SHUYUAN_HOME", str(tmp_path / "home"))
    file = changed(whole, tmp_path / "大 😀.gguf", key, (1 << 31) - 64)
    with pytest.raises(Fixable, match="GGUF model") as caught:
        pull(str(file))
    assert caught.value.place == str(file)
    assert not [path for path in (tmp_path / "home" / "models").iterdir() if path.is_dir()]


def test_blocks_that_no_tensor_is_there_for_are_refused_by_the_header(whole: Path, tmp_path: Path) -> None:
    file = changed(whole, tmp_path / "deep.gguf", "llama.block_count", 1 << 20)
    with pytest.raises(Fixable, match="what it says at byte"):
        read_header(file)


def test_tensors_that_lie_upon_each_other_are_refused(tmp_path: Path) -> None:
    """A hundred thousand that share their bytes would make a terabyte of a few megabytes."""
    file = tmp_path / "many.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    for number in range(50):
        writer.add_tensor(f"{number}", np.zeros((1 << 10,), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert read_header(file).weights == 50 << 10
    data = bytearray(file.read_bytes())
    for number in range(50):  # after the name: dimensions, one of them, its type; then where it lies
        mark = struct.pack("<Q", len(str(number))) + str(number).encode() + struct.pack("<IQI", 1, 1 << 10, 0)
        struct.pack_into("<Q", data, data.index(mark) + len(mark), 0)
    file.write_bytes(data[: len(data) - (40 << 12)])
    with pytest.raises(Fixable, match="what it says at byte"):
        read_header(file)


def test_a_file_in_the_other_byte_order_has_the_same_header(whole: Path, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "big.gguf", "llama", endianess=gguf.GGUFEndian.BIG)
    writer.add_block_count(1)
    writer.add_tensor("书.weight", np.zeros((4, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = read_header(tmp_path / "big.gguf")
    assert (header.fields["llama.block_count"], header.weights) == (1, 32)


def test_a_conversion_writes_into_its_folder_only(whole: Path, tmp_path: Path) -> None:
    """The same weights again, and the file is as it was."""
    before = sha256_of(whole)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        convert_gguf(whole, tmp_path / name, "float32", False)
    assert sha256_of(tmp_path / "one" / "model.safetensors") == sha256_of(tmp_path / "two" / "model.safetensors")
    assert sha256_of(whole) == before
    script = (
        "import sys; from pathlib import Path; from shuyuan.read import limits\n"
        "limits.confine(lambda: None, 1 << 40, Path(sys.argv[1]), 1 << 20)\n"
        "(Path(sys.argv[1]) / 'in.txt').write_text('1')\n"
        "for out in (Path(sys.argv[1]).parent / 'out.txt', Path(sys.argv[1]) / '..' / 'out.txt'):\n"
        "    try: out.write_text('1')\n"
        "    except PermissionError: print('refused')\n"
        "try: (Path(sys.argv[1]) / 'long').write_bytes(bytes(1 << 21))\n"
        "except OSError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "one")], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["refused"] * 3, done.stderr
    assert (tmp_path / "one" / "in.txt").exists()
    assert not (tmp_path / "out.txt").exists()
    assert (tmp_path / "one" / "long").stat().st_size <= 1 << 20
