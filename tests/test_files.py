"""Files that are written whole or not at all."""

import errno
import os

import pytest

from kwc.files import write_atomically


def test_bytes_and_text_are_written(tmp_path):
    write_atomically(tmp_path / "a", b"\0\xff")
    write_atomically(str(tmp_path / "b"), "é\n")
    assert (tmp_path / "a").read_bytes() == b"\0\xff"
    assert (tmp_path / "b").read_bytes() == "é\n".encode()
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_missing_folders_are_made(tmp_path):
    write_atomically(tmp_path / "x" / "y" / "a", b"1")
    assert (tmp_path / "x" / "y" / "a").read_bytes() == b"1"


def test_what_stood_there_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"a longer text")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_others_may_read_the_file(tmp_path):
    write_atomically(tmp_path / "a", b"1")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path, monkeypatch, step, error
):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, b"12345")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.filename == str(path)
        assert "No space left; 5 bytes were not written and nothing was changed" in str(
            caught.value
        )


def test_a_folder_in_the_way_is_an_os_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="nothing was changed"):
        write_atomically(tmp_path / "a", b"1")
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_in_the_place_of_a_folder_is_an_os_error(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(OSError, match="a"):
        write_atomically(tmp_path / "a" / "b", b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_a_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    """The new bytes are under another name until they are on the disk."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    seen = []
    fsync = os.fsync

    def look(handle):
        fsync(handle)
        seen.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"
