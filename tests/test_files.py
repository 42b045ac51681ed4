"""A file is written wholly or not at all."""

from __future__ import annotations

import errno
import os

import pytest

from potstill.errors import UserError
from potstill.files import write_whole

FAILURES = {
    errno.ENOSPC: "{} cannot be written: the disk is full.\n\nhint: Free some space, or write elsewhere.",
    errno.EACCES: "{} cannot be written: Permission denied.\n\nhint: Write to a place of your own.",
}


@pytest.mark.parametrize("code", FAILURES)
def test_a_failing_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, code):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def failing(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(UserError) as error:
        write_whole(b"new", path)
    assert str(error.value) == FAILURES[code].format(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(b"new", path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.onnx"]


def test_no_folder(tmp_path):
    path = tmp_path / "none" / "m.onnx"
    with pytest.raises(UserError) as error:
        write_whole(b"new", path)
    assert str(error.value) == (
        f"{path} cannot be written: there is no folder {path.parent}.\n\nhint: Make the folder first."
    )
