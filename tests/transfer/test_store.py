"""Shards and manifests: whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from potstill.errors import StoreError, UserError
from potstill.transfer import Store
from potstill.transfer.store import Job, answers_file, open_job
from potstill.types import Floats

ANSWERS = np.arange(12, dtype=np.float32).reshape(6, 2)


def put(job: Job, name: str, answers: Floats = ANSWERS) -> None:
    with job.landing(name, suffix=".arrow") as landing, answers_file(landing, n_outputs=2) as append:
        append(answers[:4])
        append(answers[4:])
        landing.facts["seconds"] = 1.5


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.job("k" * 64, what="a test") as job:
        assert not job.has("one")
        put(job, "one")
        job.record("0", {"fit_seconds": 2.0})
        job.finish()
    with store.job("k" * 64, what="a test") as job:
        assert job.has("one")
        assert job.manifest.complete
        assert job.manifest.facts == {"0": {"fit_seconds": 2.0}}
        assert job.manifest.shards["one"].rows == 6
        assert job.manifest.shards["one"].facts == {"seconds": 1.5}
        batches = list(job.batches("one"))
    assert [len(batch) for batch in batches] == [4, 2]
    assert np.array_equal(np.concatenate(batches), ANSWERS)
    assert not batches[0].flags.owndata


def test_failed_shard_leaves_nothing(tmp_path: Path) -> None:
    with Store(tmp_path).job("key", what="a test") as job:
        with pytest.raises(TypeError), job.landing("bad", suffix=".arrow") as landing:
            landing.path.write_bytes("half")  # type: ignore[arg-type]
        assert not job.has("bad")
        assert [path.name for path in job.directory.iterdir()] == ["lock"]


def test_changed_shard_and_leftovers_are_not_trusted(tmp_path: Path) -> None:
    with open_job(tmp_path, key="key", what="a test") as job:
        put(job, "one")
        put(job, "two")
    shard = tmp_path / "shard-one.arrow"
    content = bytearray(shard.read_bytes())
    content[200] ^= 1
    shard.write_bytes(content)
    (tmp_path / "shard-three.arrow.tmp").write_bytes(b"half")
    (tmp_path / "manifest.json.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_bytes(b"the user's own")
    with open_job(tmp_path, key="key", what="a test") as job:
        assert (job.has("one"), job.has("two")) == (False, True)
    assert [path.name for path in tmp_path.glob("*.tmp")] == ["notes.tmp"]


@pytest.mark.parametrize("text", ["{", '{"format": 0, "key": "key", "what": "old"}', "[]"])
def test_manifest_of_another_kind_starts_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with open_job(tmp_path, key="key", what="a test") as job:
        assert job.manifest.shards == {}


def test_folder_of_another_job(tmp_path: Path) -> None:
    with open_job(tmp_path, key="key", what="the answers of a") as job:
        put(job, "one")
    with pytest.raises(UserError) as raised, open_job(tmp_path, key="other", what="the answers of b"):
        pass
    assert raised.value.message == (
        f"Wanted a folder for the answers of b; {tmp_path} already holds the answers of a."
    )


@pytest.mark.parametrize("call", ["os.fsync", "pyarrow.OSFile"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with open_job(tmp_path, key="key", what="a test") as job:
        put(job, "one")
        monkeypatch.setattr(call, full)
        with pytest.raises(StoreError) as raised:
            put(job, "two")
        assert raised.value.message == f"The disk is full: no room for the teachers' answers in {tmp_path}."
        monkeypatch.undo()
        assert (job.has("one"), job.has("two")) == (True, False)
    with open_job(tmp_path, key="key", what="a test") as job:
        assert (job.has("one"), job.has("two")) == (True, False)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as raised, Store(tmp_path / "file").job("key", what="a test"):
        pass
    assert raised.value.message == (
        f"Wanted to keep the teachers' answers in {tmp_path}/file/key, which cannot be written: "
        "Not a directory."
    )


def test_lock_is_waited_for_and_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from potstill.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), on_wait=print):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    said: list[str] = []
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        threading.Timer(0.3, process.kill).start()
        assert Store(tmp_path.parent).in_use(tmp_path.name)
        with open_job(tmp_path, key="key", what="a test", on_wait=said.append):
            assert process.wait(10) != 0
    assert said == [f"waiting for process {process.pid}, which works in {tmp_path}"]
    assert not Store(tmp_path.parent).in_use(tmp_path.name)
    assert not Store(tmp_path).in_use("never begun")


def test_default_store_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path))
    assert Store.default().root == tmp_path
    monkeypatch.delenv("POTSTILL_CACHE")
    assert Store.default().root.name == "potstill"


def test_temporary_store_keeps_nothing() -> None:
    store = Store.temporary()
    with store.job("key", what="a test") as job:
        put(job, "one")
    root = store.root
    assert store.size_bytes() > 0
    array = store.array((3, 4), in_memory_bytes=0)
    del store
    assert not root.exists()
    array[:] = 1
    assert array.sum() == 12


def test_prune_removes_the_longest_unchanged_and_spares_what_is_in_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for key in ("a", "b", "c"):
        with store.job(key, what=key) as job:
            put(job, "one")
        time.sleep(0.01)
    size = store.size_bytes()
    with store.job("a", what="a"):
        assert store.prune(size * 2) == 0
        assert store.prune(size // 2) == pytest.approx(2 * size / 3, rel=0.01)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
