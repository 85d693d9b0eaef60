"""A folder and its URL are brought up to date, and a lease keeps a second launcher out."""

import os
import shutil
import time

import hypothesis
import pytest
import url_folders
from hypothesis import strategies
from tensorflow.io import gfile

from launch import shared
from launch.errors import LaunchError
from launch.shared import lease


@pytest.fixture(autouse=True)
def replacing_copy(monkeypatch):
    monkeypatch.setattr(gfile, "copy", url_folders.copy)


@pytest.fixture
def sweep(tmp_path):
    return shared.Mirror(f"ram://{tmp_path.name}/runs/tiny", tmp_path / "tiny")


def test_the_report_is_at_the_url(sweep):
    shared.push_report(
        url_folders.fill(sweep, "tensorboard/run/events", "pareto.png", ".index.json")
    )
    assert {*sweep.names()} == {"tensorboard", "pareto.png"}
    (sweep.path / "tensorboard/run/events").rename(sweep.path / "tensorboard/run/newer")
    shared.push_report(sweep)
    assert (sweep / "tensorboard/run").names() == ["newer"]


def test_a_launcher_that_lost_its_lease_stops(sweep, monkeypatch):
    monkeypatch.setattr(lease, "_SECONDS_BETWEEN_RENEWALS", 0.01)
    with lease.hold(sweep) as check:
        check()
        url_folders.write_lease(sweep)
        with pytest.raises(LaunchError, match="process 1 on elsewhere"):
            _until_it_raises(check)
    assert shared.is_held(sweep)


def _until_it_raises(function):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        function()
        time.sleep(0.01)


def test_a_lease_is_renewed(sweep, monkeypatch):
    monkeypatch.setattr(lease, "_SECONDS_BETWEEN_RENEWALS", 0.01)
    with lease.hold(sweep):
        first = (sweep / lease.NAME).read()
        deadline = time.monotonic() + 30
        while (sweep / lease.NAME).read() == first:
            assert time.monotonic() < deadline
    assert not shared.is_held(sweep)


def test_a_push_in_the_middle_of_a_save_keeps_the_last_checkpoint_whole(tmp_path, monkeypatch):
    trial = url_folders.fill(
        shared.Mirror(f"ram://{tmp_path.name}", tmp_path), "ckpt-1.index", "checkpoint"
    )
    trial.push()
    (trial.path / "ckpt-1.index").rename(trial.path / "ckpt-2.index")
    (trial.path / "checkpoint").write_text("ckpt-2")

    def copy_while_saving(source, target, overwrite=False):
        (trial.path / "checkpoint").write_text("ckpt-3")
        url_folders.copy(source, target, overwrite)

    monkeypatch.setattr(gfile, "copy", copy_while_saving)
    trial.push()
    assert (trial / "checkpoint").read() == "checkpoint"
    assert {*trial.names()} == {"checkpoint", "ckpt-1.index", "ckpt-2.index"}
    trial.push()
    assert (trial / "checkpoint").read() == "ckpt-3"
    assert {*trial.names()} == {"checkpoint", "ckpt-2.index"}


NAMES = strategies.sampled_from(["log.txt", "checkpoint", "ckpt-1.index", "a b"])
TREES = strategies.dictionaries(
    strategies.tuples(strategies.sampled_from(["", "train/", "a/b/"]), NAMES).map("".join),
    strategies.binary(max_size=20),
    max_size=6,
)


@pytest.mark.parametrize("scheme", ["ram", "file"])
@hypothesis.given(TREES, TREES)
@hypothesis.settings(max_examples=20, deadline=None)
def test_a_folder_comes_back_as_it_was(tmp_path_factory, scheme, before, after):
    folder = tmp_path_factory.mktemp("tree")
    there = f"file://{folder}/there" if scheme == "file" else f"ram://{folder.name}"
    here, other = (shared.Mirror(there, folder / name) for name in ("here", "other"))
    for tree in (before, after):
        shutil.rmtree(here.path, ignore_errors=True)
        for name, content in tree.items():
            (here.path / name).parent.mkdir(parents=True, exist_ok=True)
            (here.path / name).write_bytes(content)
        here.push()
        shutil.rmtree(other.path, ignore_errors=True)
        other.pull()
        assert contents(other.path) == tree


def contents(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_only_what_has_changed_travels(tmp_path, monkeypatch):
    here = url_folders.fill(shared.Mirror(f"file://{tmp_path}/there", tmp_path / "here"), "a", "b")
    here.push()
    other = shared.Mirror(here.url, tmp_path / "other")
    other.pull()
    copied = []

    def record(source, target, overwrite=False):
        copied.append(os.path.basename(source))
        url_folders.copy(source, target, overwrite)

    monkeypatch.setattr(gfile, "copy", record)
    here.push()
    other.pull()
    assert not copied
    (here.path / "b").write_text("longer")
    here.push()
    other.pull()
    assert copied == ["b", "b"]
    assert (other.path / "b").read_text() == "longer"
