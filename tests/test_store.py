"""What every store must do, checked for each file on the shelf, with exact search as the answer key."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shuyuan.base.errors import Fixable
from shuyuan.base.marks import Within
from shuyuan.base.records import Passage
from shuyuan.base.shelf import choices, choose
from shuyuan.store.contract import Index, Vectors, content_hash
from shuyuan.store.lance import Lance

WIDTH = 8
TEXTS = {
    "zh": "模型过拟合时，训练损失下降而验证损失上升。",
    "mixed": "LoRA 的秩越大，可训练的参数越多。",
    "wide": "ＡＢＣ１２３ 是全角字符。",
    "en": "Retrieval answers from the sources; tuning changes the weights.",
    "emoji": "发布啦 🎉🎉 ship it 👩‍💻",
    "quotes": 'Use "exact phrase" + -minus (group) field:value and a\'b; drop table passages',
}


@pytest.fixture(params=choices("store"))
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("QDRANT_URL", ":memory:")  # the client's own server, inside this process
    return str(request.param)


def opened(store: str, folder: Path, width: int = WIDTH) -> Index:
    index: Index = choose("store", store)().open(folder, width)
    return index


def passage(name: str, text: str, document: str = "") -> Passage:
    return Passage(name, document or f"doc-{name}", f"{document or name}.md", 0, len(text), text, ("标题 Heading",), 3)


def unit(rows: int, seed: int = 0, width: int = WIDTH) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


@pytest.fixture
def texts(store: str, tmp_path: Path) -> Index:
    index = opened(store, tmp_path)
    index.upsert([passage(name, text) for name, text in TEXTS.items()], unit(len(TEXTS)))
    index.optimise()
    return index


def test_shelf_has_all() -> None:
    assert set(choices("store")) == {"lance", "memory", "qdrant", "sqlite"}


def test_dense_agrees_with_exact_search(store: str, tmp_path: Path) -> None:
    index, vectors = opened(store, tmp_path), unit(300)
    index.upsert([passage(f"p{row:03}", f"text {row}") for row in range(300)], vectors)
    for query in unit(5, seed=1):
        cosines = vectors @ query
        best = [f"p{row:03}" for row in np.argsort(-cosines)[:20]]
        found = index.dense(query, 20)
        assert [name for name, _ in found] == best
        assert np.allclose([score for _, score in found], np.sort(cosines)[::-1][:20], atol=1e-5)


def test_graph_search_is_scored_with_full_vectors(tmp_path: Path) -> None:
    index, vectors = Lance(exact_below=300).open(tmp_path, 32), unit(400, width=32)
    index.upsert([passage(f"p{row:03}", f"text {row}") for row in range(400)], vectors)
    index.optimise()
    recalled = 0
    for query in unit(10, seed=1, width=32):
        cosines = vectors @ query
        found = dict(index.dense(query, 10))
        assert all(abs(score - cosines[int(name[1:])]) < 1e-5 for name, score in found.items())
        recalled += len(found.keys() & {f"p{row:03}" for row in np.argsort(-cosines)[:10]})
    assert recalled >= 95


def test_ties_come_in_the_order_of_ids(store: str, tmp_path: Path) -> None:
    index, same = opened(store, tmp_path), np.repeat(unit(1), 40, axis=0)
    names = [f"p{row:02}" for row in np.random.default_rng(2).permutation(40)]
    index.upsert([passage(name, "同样的文字 the same words") for name in names], same)
    assert [name for name, _ in index.dense(same[0], 5)] == sorted(names)[:5]
    assert [name for name, _ in index.words("same words", 5)] == sorted(names)[:5]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("过拟合", "zh"),
        ("拟合", "zh"),
        ("LoRA 秩", "mixed"),
        ("lora的秩", "mixed"),
        ("ABC123", "wide"),
        ("ＬｏＲＡ", "mixed"),
        ("RETRIEVAL", "en"),
        ("ship 🎉", "emoji"),
        ('"exact phrase" -minus', "quotes"),
    ],
)
def test_words_find(texts: Index, query: str, expected: str) -> None:
    found = texts.words(query, 3)
    assert found
    assert found[0][0] == expected
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@given(
    query=st.text(alphabet=st.characters(), max_size=40) | st.sampled_from(['"', "a:b", "+-()[]{}^~*?\\/", "AND OR"])
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_query(texts: Index, query: str) -> None:
    assert len(texts.words(query, 3)) <= 3


def test_no_words_find_nothing(texts: Index) -> None:
    assert texts.words("", 3) == texts.words(" \n", 3) == texts.words("zzzunknown", 3) == []


def test_unindexed_rows_are_found_at_once(store: str, tmp_path: Path) -> None:
    index = opened(store, tmp_path)
    assert index.dense(unit(1)[0], 3) == []
    assert index.words("拟合", 3) == []
    index.upsert([passage("zh", TEXTS["zh"])], unit(1))
    assert [name for name, _ in index.words("拟合", 3)] == ["zh"]


def test_upsert_replaces_whole_documents(store: str, tmp_path: Path) -> None:
    index = opened(store, tmp_path)
    index.upsert([passage("a", "甲", "one"), passage("b", "乙", "one"), passage("c", "丙", "two")], unit(3))
    index.upsert([passage("b", "乙改", "one"), passage("d", "丁", "one")], unit(2, seed=3))
    assert index.count() == 3
    assert [p.text for p in index.passages(["d", "a", "c", "b"])] == ["丁", "丙", "乙改"]
    assert not index.words("甲", 3)
    assert index.dense(unit(2, seed=3)[0], 1)[0][0] == "b"


def test_delete_by_document(store: str, tmp_path: Path) -> None:
    index = opened(store, tmp_path)
    index.upsert([passage("a", "甲", "it's"), passage("b", "乙", "it's"), passage("c", "丙", "two")], unit(3))
    index.delete_document("it's")
    index.delete_document("never there")
    index.optimise()
    assert index.count() == 1
    assert [name for name, _ in index.dense(unit(1)[0], 5)] == ["c"]
    assert index.words("甲 乙", 5) == []


@pytest.mark.parametrize(
    ("within", "left"),
    [
        (None, "abcdef"),
        (Within(frozenset({"it's 一", "二 🎉"})), "abcd"),
        (Within(frozenset({"it's 一", "never there"}), but=True), "cdef"),
        (Within(frozenset()), ""),
        (Within(frozenset(), but=True), "abcdef"),
    ],
)
def test_only_some_documents_are_searched(store: str, tmp_path: Path, within: Within | None, left: str) -> None:
    """Left out before the ranking: `k` are found though those left out are the best."""
    index, vectors = opened(store, tmp_path), unit(6)
    vectors = vectors[np.argsort(-(vectors @ vectors[0]))]  # nearest to the first one first: those of "it's 一"
    of = {"it's 一": "ab", "二 🎉": "cd", "three": "ef"}
    words = {name: f"拟合 fit {'fit ' * (6 - place)}" for place, name in enumerate("abcdef")}
    there = [passage(name, words[name], document) for document, names in of.items() for name in names]
    index.upsert(there, vectors)
    index.optimise()
    for k in (2, 6):
        assert [name for name, _ in index.dense(vectors[0], k, within)] == list(left)[:k]
        assert sorted(name for name, _ in index.words("fit 拟合", 6, within)) == list(left)
        assert len(index.words("ＦＩＴ", k, within)) == min(k, len(left))
    everywhere = dict(index.words("fit", 6))
    assert all(everywhere[name] == score for name, score in index.words("fit", 6, within))


def test_the_graph_too_searches_only_some_documents(tmp_path: Path) -> None:
    index, vectors = Lance(exact_below=300).open(tmp_path, 32), unit(400, width=32)
    index.upsert([passage(f"p{row:03}", f"text {row}", f"doc{row % 40:02}") for row in range(400)], vectors)
    index.optimise()
    few = frozenset({"doc03", "doc17"})
    for query in unit(10, seed=1, width=32):
        found = [name for name, _ in index.dense(query, 10, Within(few))]
        assert len(found) == 10, "the graph is not searched first and thinned out afterwards"
        assert {int(name[1:]) % 40 for name in found} <= {3, 17}
        others = [name for name, _ in index.dense(query, 10, Within(few, but=True))]
        assert len(others) == 10
        assert not {int(name[1:]) % 40 for name in others} & {3, 17}


def test_no_byte_of_what_was_deleted_remains(store: str, tmp_path: Path) -> None:
    index, vectors = opened(store, tmp_path), unit(40, width=WIDTH)
    there = [passage(f"p{row:02}", f"一般内容 ordinary {row}", f"doc{row % 4}") for row in range(39)]
    secret = passage("zz", "绝密 Quetzalcoatl 🎉", "secret")
    index.upsert([*there, secret], vectors)
    index.optimise()
    index.upsert([replace(secret, text="绝密改 Xiuhcoatl 🎉")], vectors[39:])  # what was replaced is gone, too
    marks = [text.encode() for text in ("绝密", "quetzalcoatl", "Quetzalcoatl", "xiuhcoatl", "Xiuhcoatl", "\\u7edd")]
    marks.append(vectors[39].astype("<f4").tobytes())

    def found() -> list[bytes]:
        held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
        return [mark for mark in marks if mark in held]

    assert found() or store in {"qdrant", "memory"}, "nothing to remove proves nothing"
    index.delete_document("secret")
    index.purge()
    assert found() == []
    assert index.count() == 39
    assert [name for name, _ in index.dense(vectors[3], 1)] == ["p03"]
    assert index.words("绝密 quetzalcoatl", 3) == []
    assert len(index.words("一般", 50)) == 39
    assert opened(store, tmp_path).passages(["p07"]) == [there[7]]
    index.upsert([passage("new", "新的 new words")], unit(1, seed=9))
    assert index.words("新的", 3)[0][0] == "new"


def test_a_change_by_another_process_is_seen(store: str, tmp_path: Path) -> None:
    reader, writer = opened(store, tmp_path), opened(store, tmp_path)
    writer.upsert([passage("a", "甲"), passage("b", "乙")], unit(2))
    assert len(reader.dense(unit(1)[0], 5)) == reader.count() == 2
    writer.delete_document("doc-a")
    writer.purge()
    assert [name for name, _ in reader.dense(unit(1)[0], 5)] == ["b"]
    assert reader.words("甲", 5) == []
    assert reader.passages(["a"]) == []


def test_closed_and_opened_again(store: str, tmp_path: Path, texts: Index) -> None:
    again = opened(store, tmp_path)
    assert again.count() == len(TEXTS)
    for query in ("过拟合", "LoRA 秩"):
        assert again.words(query, 3) == texts.words(query, 3)
    assert again.dense(unit(1)[0], 6) == texts.dense(unit(1)[0], 6)
    assert again.passages(["mixed"]) == [passage("mixed", TEXTS["mixed"])]


def test_another_width_is_refused(store: str, tmp_path: Path, texts: Index) -> None:
    with pytest.raises(Fixable, match="vectors of 8 numbers"):
        opened(store, tmp_path, width=16)
    with pytest.raises(ValueError, match="width 8"):
        texts.upsert([passage("x", "x")], unit(1, width=16))
    with pytest.raises(ValueError, match="not finite"):
        texts.upsert([passage("x", "x")], np.full((1, WIDTH), np.nan, np.float32))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    opened("memory", tmp_path).upsert([passage("a", "甲")], unit(1))
    file = tmp_path / "memory.npz"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(Fixable, match=r"memory\.npz"):
        opened("memory", tmp_path)


def test_export_gives_whole_documents_in_order(store: str, tmp_path: Path) -> None:
    index, vectors = opened(store, tmp_path), unit(5_000)
    rows = np.random.default_rng(3).permutation(5_000)
    there = [passage(f"p{row:04}", f"文字 {row}", f"doc{row % 9}") for row in rows]
    index.upsert(there, vectors)
    batches = list(index.export())
    assert len(batches) == 3
    given = [p for passages, _ in batches for p in passages]
    assert given == sorted(there, key=lambda p: (p.document_id, p.id))
    row_of = {p.id: row for row, p in enumerate(there)}
    assert np.array_equal(np.concatenate([of for _, of in batches]), vectors[[row_of[p.id] for p in given]])
    documents = [{p.document_id for p in passages} for passages, _ in batches]
    assert not documents[0] & documents[1]
    assert not documents[1] & documents[2]


def test_content_hash_is_of_what_is_there(store: str, tmp_path: Path) -> None:
    texts, vectors = [passage(name, text) for name, text in TEXTS.items()], unit(len(TEXTS))
    index, key = opened(store, tmp_path / "one"), opened("memory", tmp_path / "key")
    assert content_hash(index) == content_hash(key)
    index.upsert(texts[::-1], vectors[::-1])
    key.upsert(texts, vectors)
    assert content_hash(index) == content_hash(key)
    index.upsert(texts[:1], vectors[1:2])
    assert content_hash(index) != content_hash(key)


def test_words_agree_with_exact_bm25(store: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    vocabulary = [f"word{n}" for n in range(60)]
    texts = [" ".join(rng.choice(vocabulary, 20, replace=False)) for _ in range(200)]
    there = [Passage(f"p{row:03}", f"d{row}", "", 0, len(text), text) for row, text in enumerate(texts)]
    index, key = opened(store, tmp_path / "one"), opened("memory", tmp_path / "key")
    index.upsert(there, unit(200))
    key.upsert(there, unit(200))
    for query in ("word1", "word2 word3", "word4 word5 word6 word7"):
        exact, found = dict(key.words(query, 200)), index.words(query, 10)
        assert len(found) == 10
        worst = sorted(exact.values())[-10]
        assert all(exact[name] >= 0.95 * worst for name, _ in found)  # engines differ a little in a word's rarity


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import WIDTH, opened, passage, unit
index = opened(sys.argv[2], Path(sys.argv[3]))
for number in range(100_000):
    index.upsert([passage(f"{number}-{part}", f"文字 {number} {part}", f"doc{number}") for part in range(50)], unit(50))
    print(number, flush=True)
"""


REPLACER = WRITER.replace('f"doc{number}"', '"one"')


@pytest.fixture
def on_disk(store: str) -> str:
    if store == "qdrant":
        pytest.skip("what a server acknowledged is the server's to keep")
    return store


def killed(script: str, store: str, folder: Path) -> int:
    """Run a writer, kill it between two lines, and say how many upserts it had acknowledged."""
    command = [sys.executable, "-c", script, str(Path(__file__).parent), store, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "0\n"
        time.sleep(0.37)
        writer.send_signal(signal.SIGKILL)
        acknowledged = 1 + len([line for line in writer.stdout.read().split("\n") if line])
    assert writer.returncode == -signal.SIGKILL
    return acknowledged


def test_kill_while_replacing_doubles_nothing(on_disk: str, tmp_path: Path) -> None:
    acknowledged = killed(REPLACER, on_disk, tmp_path)
    index = opened(on_disk, tmp_path)
    assert index.count() == 50
    ((passages, _),) = index.export()
    assert {p.id.split("-")[0] for p in passages} in ({str(acknowledged - 1)}, {str(acknowledged)})


def test_an_upsert_cut_between_its_requests_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", ":memory:")
    index = opened("qdrant", tmp_path)
    index.upsert([passage(f"a{n}", "旧 old", "one") for n in range(3)], unit(3))
    new = [passage(f"b{n}", "新 new", "one") for n in range(600)]

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(index._client, "delete", cut)  # type: ignore[attr-defined]
        with pytest.raises(KeyboardInterrupt):
            index.upsert(new, unit(600))
    assert index.count() == 603
    again = opened("qdrant", tmp_path)
    again.upsert(new, unit(600))
    assert again.count() == 600


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    with pytest.raises(Fixable, match=r"127\.0\.0\.1:9"):
        opened("qdrant", tmp_path)


def test_kill_during_upsert_loses_nothing_acknowledged(on_disk: str, tmp_path: Path) -> None:
    acknowledged = killed(WRITER, on_disk, tmp_path)
    index = opened(on_disk, tmp_path)
    assert index.count() in (acknowledged * 50, acknowledged * 50 + 50)  # the last one whole, or not at all
    assert len(index.passages([f"{acknowledged - 1}-{part}" for part in range(50)])) == 50
    index.upsert([passage("after", "以后 afterwards", "after")], unit(1))
    index.optimise()
    assert index.words("afterwards", 1)[0][0] == "after"
