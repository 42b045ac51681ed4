"""The folder: what is let in, what is pointed to, and what faults leave behind."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from potstill.artifact import load
from potstill.artifact.envelope import PROBES_KEY, open_envelope
from potstill.errors import ArtifactError, GateFailed, UserError
from potstill.versions import Repository, is_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "models")


def state(repository: Repository) -> dict[str, bytes]:
    files = [path for path in repository.folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(repository.folder)): path.read_bytes() for path in files}


def test_pushed_promoted_rolled_back(repository, make) -> None:
    first, data = repository.push(make(log_loss=0.3)), make(log_loss=0.3).read_bytes()
    assert (first.version, first.aliases, first.hash) == (1, ("champion",), hashlib.sha256(data).hexdigest())
    second = repository.push(make(log_loss=0.2), gate=["log_loss<=0.25"], alias="challenger")
    assert (second.version, second.aliases, second.gate) == (2, ("challenger",), ("log_loss<=0.25",))
    assert repository.resolve("income").read_bytes() == data
    assert repository.promote("income", "challenger").aliases == ("challenger", "champion")
    assert repository.resolve("income").read_bytes() == make(log_loss=0.2).read_bytes()
    assert repository.rollback("income").version == 1
    assert repository.resolve("income").read_bytes() == data
    assert [(each.action, each.version, each.alias) for each in repository.history("income")] == [
        ("push", 1, ""),
        ("promote", 1, "champion"),
        ("push", 2, ""),
        ("promote", 2, "challenger"),
        ("promote", 2, "champion"),
        ("rollback", 1, "champion"),
    ]
    assert (repository.names(), is_repository(repository.folder)) == (["income"], True)


def test_rolling_back_goes_on_backwards(repository, make) -> None:
    for number in (1, 2, 3):
        repository.push(make(log_loss=number / 10))
    for number in (2, 3):
        repository.promote("income", number)
    repository.promote("income", 3)  # already there: nothing to go back over
    assert [repository.rollback("income").version for _ in range(2)] == [2, 1]
    before = state(repository)
    with pytest.raises(UserError) as error:
        repository.rollback("income")
    assert error.value.message == (
        "The champion of 'income' cannot be rolled back: nothing was champion before it."
    )
    assert state(repository) == before
    repository.promote("income", 3)
    assert repository.rollback("income").version == 1


def test_a_version_is_found_by_number_alias_and_hash(repository, make) -> None:
    version = repository.push(make())
    path = repository.resolve("income")
    for ref in (1, "1", "champion", version.hash[:6], version.hash.upper(), version.hash):
        assert repository.resolve("income", ref) == path
    assert load(path, verify=True).card.content_hash == version.content_hash
    for ref in ("2", "challenger", version.hash[:5], "0" * 64, "", "../x"):
        with pytest.raises(UserError, match="'income' has no version"):
            repository.resolve("income", ref)


def test_the_same_bytes_are_one_version(repository, make) -> None:
    first = repository.push(make())
    assert repository.push(make(), alias="challenger").version == first.version
    assert [each.aliases for each in repository.versions("income")] == [("challenger", "champion")]
    assert len(list((repository.folder / "objects").rglob("*.onnx"))) == 1


def test_what_may_not_ship_leaves_nothing(repository, make, remade, tmp_path) -> None:
    repository.push(make())
    before = state(repository)
    changed = tmp_path / "changed.onnx"
    data = bytearray(make().read_bytes())
    data[len(data) // 3] ^= 1
    changed.write_bytes(data)
    with pytest.raises(ArtifactError):
        repository.push(changed, "income")
    probes = open_envelope(make().read_bytes(), source="").metadata[PROBES_KEY]
    wrong = msgspec.json.decode(probes)
    wrong["outputs"][2] = [0.125, 0.875]
    other = tmp_path / "other.onnx"
    other.write_bytes(
        remade(make().read_bytes(), lambda card: card, probes=msgspec.json.encode(wrong).decode())
    )
    with pytest.raises(ArtifactError, match="answers 1 of its 16 probe rows otherwise"):
        repository.push(other, "income")
    with pytest.raises(GateFailed):
        repository.push(make(log_loss=0.5), gate=["log_loss<=0.3"])
    with pytest.raises(UserError, match="There is no file"):
        repository.push(tmp_path / "none.onnx")
    assert state(repository) == before


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", ".hidden", "x" * 101])
def test_names_that_lead_elsewhere(repository, make, name) -> None:
    with pytest.raises(UserError, match="cannot be the name of a model"):
        repository.push(make(), name)
    with pytest.raises(UserError, match="There is no model"):
        repository.versions(name)


@pytest.mark.parametrize("alias", ["", "3", "Champion", "a/b", "x" * 33])
def test_aliases_that_are_none(repository, make, alias) -> None:
    repository.push(make())
    for call in (
        lambda: repository.push(make(), alias=alias),
        lambda: repository.promote("income", 1, alias),
    ):
        with pytest.raises(UserError, match="cannot be an alias"):
            call()


def test_a_changed_or_lost_file_is_not_served_nor_promoted(repository, make) -> None:
    for loss in (0.1, 0.2):
        repository.push(make(log_loss=loss))
    path = repository.resolve("income", 2)
    kept = path.read_bytes()
    path.write_bytes(make(log_loss=0.9).read_bytes())  # whole in itself, but another
    for call in (lambda: repository.resolve("income", 2), lambda: repository.promote("income", 2)):
        with pytest.raises(ArtifactError, match="was changed since it was pushed"):
            call()
    assert repository.versions("income")[0].aliases == ("champion",)
    path.unlink()
    with pytest.raises(ArtifactError, match="The file of version 2 is not in"):
        repository.resolve("income", 2)
    make(log_loss=0.2).write_bytes(kept)
    assert repository.push(make(log_loss=0.2)).version == 2


def test_a_manifest_cannot_lead_out_of_the_folder(repository, make) -> None:
    repository.push(make())
    manifest = repository.folder / "models" / "income.json"
    digest = repository.versions("income")[0].hash
    manifest.write_text(manifest.read_text().replace(digest, "../../../income"))
    with pytest.raises(ArtifactError, match="is not in"):
        repository.resolve("income")
    manifest.write_text("{")
    with pytest.raises(ArtifactError, match="cannot be read"):
        repository.versions("income")
    manifest.write_text('{"format_version": 2}')
    with pytest.raises(ArtifactError, match="has format 2; this potstill reads formats up to 1"):
        repository.versions("income")


def test_a_full_disk_changes_nothing(repository, make, monkeypatch) -> None:
    repository.push(make(log_loss=0.1))
    before, second = state(repository), make(log_loss=0.2)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        repository.push(second)
    assert state(repository) == before
    monkeypatch.undo()
    assert repository.push(second).version == 2


def test_a_disk_too_full_for_a_folder_is_said_in_a_sentence(repository, make, monkeypatch) -> None:
    repository.push(make(log_loss=0.1))
    before, second = state(repository), make(log_loss=0.2)

    def full(self: Path, *_: object, **__: object) -> None:
        if not self.is_dir():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(UserError, match="cannot be made: No space left on device"):
        repository.push(second)
    assert state(repository) == before


KILLED_AT = """
import os, signal, sys
from potstill.versions import Repository

call, left, real = sys.argv[3], int(sys.argv[4]), getattr(os, sys.argv[3])

def dying(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)

setattr(os, call, dying)
Repository(sys.argv[1]).push(sys.argv[2], "income", alias="champion")
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("first", "number"), [(True, 1), (True, 2), (True, 3), (False, 1), (False, 2)], ids=str
)
def test_killed_halfway_the_old_state_stands(repository, make, call, first, number) -> None:
    """Before each time a file is put to the disk or renamed: what was there still answers; again works."""
    kept = None if first else repository.push(make(log_loss=0.1))
    path = make(log_loss=0.2)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, repository.folder, path, call, str(number)], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    again = Repository(repository.folder)
    if kept is None:
        assert again.names() == []
    else:
        assert again.versions("income") == [kept]
        assert again.resolve("income").read_bytes() == make("kept", log_loss=0.1).read_bytes()
    assert again.push(path, alias="champion").version == (1 if first else 2)
    assert again.resolve("income").read_bytes() == path.read_bytes()


def test_a_history_that_begins_with_a_rollback_is_read(repository, make) -> None:
    repository.push(make())
    manifest = repository.folder / "models" / "income.json"
    content = msgspec.json.decode(manifest.read_bytes())
    content["history"].insert(0, {"at": "", "action": "rollback", "version": 1, "alias": "champion"})
    manifest.write_bytes(msgspec.json.encode(content))
    with pytest.raises(UserError, match="nothing was champion before it"):
        repository.rollback("income")


def test_a_folder_that_may_only_be_read_still_answers(repository, make, monkeypatch) -> None:
    repository.push(make(log_loss=0.1))
    second = make(log_loss=0.2)
    before, opened = state(repository), Path.open

    def read_only(self: Path, mode: str = "r", *arguments: object, **options: object) -> object:
        if mode not in ("r", "rb"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(self, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", read_only)
    assert repository.resolve("income").is_file()
    for call in (lambda: repository.push(second), lambda: repository.rollback("income")):
        with pytest.raises(UserError, match="cannot be written to: Read-only file system"):
            call()
    assert state(repository) == before


def test_the_root_of_a_fresh_volume_is_empty(tmp_path, make) -> None:
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    assert Repository(tmp_path / "volume").push(make()).version == 1


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, make) -> None:
    path = make()
    with pytest.raises(UserError, match="holds files, and they are no model repository"):
        Repository(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        Repository(path)


def test_many_write_and_read_at_once(repository, make) -> None:
    """Readers see a whole state at any time, and no push is lost."""
    paths = [make(f"m{number}", log_loss=number / 100) for number in range(12)]
    repository.push(paths[0], "income")
    faults: list[BaseException] = []
    done = threading.Event()

    def write(mine: list[Path]) -> None:
        try:
            for path in mine:
                Repository(repository.folder).promote(
                    "income", Repository(repository.folder).push(path, "income").version
                )
        except BaseException as error:
            faults.append(error)

    def read() -> None:
        try:
            while not done.is_set():
                repository.resolve("income")
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(paths[start::3],)) for start in range(3)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert faults == []
    versions = repository.versions("income")
    assert [each.version for each in versions] == list(range(1, 13))
    assert {each.hash for each in versions} == {
        hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
