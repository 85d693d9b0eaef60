"""What a trial's id covers beside its config, and why a changed one is a new trial."""

import dataclasses
import json
import textwrap

import pytest
from launch_fakes import HEADER, run_trial, write_files

from launch import changes, grid
from launch.defaults import Defaults
from launch.errors import LaunchError
from launch.gin_merge import Source, merge
from launch.identity import Identity
from launch.trials import read_statuses, save_table

ALGORITHM = '''
"""An algorithm of somebody else."""
import dataclasses
raise RuntimeError("imported")  # Reading defaults must not get here.

_LEVELS = 8
_UNUSED = 1

@dataclasses.dataclass
class Shared:
    scale: float = 0.5

@dataclasses.dataclass
class Rounding(Shared):
    """Rounds."""
    bits: int = 8
    clip: bool = True

    def project(self, weight, margin=0.1):
        # Rounds to levels.
        return helper(weight) * _LEVELS

def helper(weight, power=2):
    """Helps."""
    return weight**power
'''


def write_package(folder, algorithm=ALGORITHM):
    package = folder / "elsewhere"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("from .rounding import Rounding as Shown\n")
    (package / "rounding.py").write_text(algorithm)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package `elsewhere` that re-exports `elsewhere.rounding.Rounding` as `Shown`."""
    monkeypatch.syspath_prepend(tmp_path)
    write_package(tmp_path)
    return tmp_path


def read(*bound):
    return Defaults().of(["elsewhere.Shown"], [("elsewhere.Shown", name) for name in bound])


def test_defaults_constants_and_bases_are_found_without_an_import(package):
    assert read() == {
        "elsewhere.rounding.Rounding.bits": "8",
        "elsewhere.rounding.Rounding.clip": "True",
        "elsewhere.rounding.Rounding.project.margin": "0.1",
        "elsewhere.rounding.Shared.scale": "0.5",
        "elsewhere.rounding._LEVELS": "8",
        "elsewhere.rounding.helper.power": "2",
    }


def test_a_default_that_the_config_replaces_does_not_count(package):
    assert "elsewhere.rounding.Rounding.bits" not in read("bits")


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("bits: int = 8", "bits: int = 4", "Rounding.bits"),
        ("scale: float = 0.5", "scale: float = 0.25", "Shared.scale"),
        ("power=2", "power=3", "helper.power"),
        ("_LEVELS = 8", "_LEVELS = 16", "_LEVELS"),
        ("clip: bool = True\n", "clip: bool = True\n    new: int = 0\n", "Rounding.new"),
    ],
)
def test_a_changed_default_changes_one_value(package, old, new, name):
    before = read()
    write_package(package, ALGORITHM.replace(old, new))
    changed = dict(read().items() ^ before.items())
    assert list(changed) == [f"elsewhere.rounding.{name}"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# Rounds to levels.", "# Rounds."),
        ('"""Rounds."""', '"""Rounds better."""'),
        ("bits: int = 8", "bits: int =   (8)"),
        ("_UNUSED = 1", "_UNUSED = 2"),
        ("weight**power", "weight ** power + 0"),
    ],
)
def test_comments_docstrings_layout_and_bodies_do_not_count(package, old, new):
    before = read()
    assert old in ALGORITHM
    write_package(package, ALGORITHM.replace(old, new))
    assert read() == before


def test_bases_of_other_modules_count_in_the_same_package_and_in_kwc(package):
    (package / "elsewhere" / "finer.py").write_text(
        textwrap.dedent(
            """
            from enum import Enum
            from elsewhere.rounding import Shared
            from kwc import schedules
            class Finer(Shared, schedules.Polynomial, Enum):
                pass
            """
        )
    )
    found = Defaults().of(["elsewhere.finer.Finer"])
    assert found["elsewhere.rounding.Shared.scale"] == "0.5"
    assert found["kwc.schedules.Polynomial.power"] == "3.0"
    assert not [name for name in found if name.startswith("enum")]


def test_what_is_not_in_source_has_no_defaults():
    assert Defaults().of(["math.sqrt", "nowhere.at.all", "kwc.no_such_name", "E"]) == {}
    assert Defaults(["kwc"]).of(["kwc.algorithms.Clustering"]) == {}


def test_names_that_import_each_other_end():
    assert Defaults().of(["elsewhere.Shown"]) == {}


def test_a_long_value_is_kept_by_its_digest(package):
    long = f"_LEVELS = {list(range(100))}"
    write_package(package, ALGORITHM.replace("_LEVELS = 8", long))
    first = read()["elsewhere.rounding._LEVELS"]
    write_package(package, ALGORITHM.replace("_LEVELS = 8", long.replace("99", "98")))
    assert len(first) < 130
    assert read()["elsewhere.rounding._LEVELS"] != first


def test_a_module_that_is_no_python_is_one_clear_error(package):
    write_package(package, "class Rounding(:")
    with pytest.raises(LaunchError, match=r"rounding\.py:1: invalid syntax"):
        read()


def test_the_code_of_an_experiment_is_its_defaults(package):
    code = '''
from official.core import exp_factory
UNITS = 3

@exp_factory.register_config_factory("tiny_images")
def tiny():
    """An experiment."""
    return params(steps=100)

def params(steps, units=UNITS):
    return steps, units
'''
    (package / "tiny.py").write_text(code)
    before = Defaults().of_experiment("tiny_images", ["tiny"])
    assert {name for name, value in before.items() if value.startswith("code ")} == {
        "tiny.tiny",
        "tiny.params",
    }
    assert before["tiny.UNITS"] == "3"
    (package / "tiny.py").write_text(code.replace("An experiment", "An old experiment"))
    assert Defaults().of_experiment("tiny_images", ["tiny"]) == before
    (package / "tiny.py").write_text(code.replace("100", "200"))
    after = Defaults().of_experiment("tiny_images", ["tiny"])
    assert {name for name in before if before[name] != after[name]} == {"tiny.tiny"}
    assert Defaults().of_experiment("another", ["tiny"]) == {}


def test_the_lenets_are_found():
    source = Defaults(["official"])
    modules = source.imported_by("experiments.registry_imports")
    found = source.of_experiment("lenet5_mnist", modules)
    assert found["experiments.lenet.LeNet5Caffe.units"] == "500"


@pytest.fixture
def versions(monkeypatch):
    versions = {"kwc": "1.2", "tf-models-official": "2.20"}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    return versions


def test_identity_covers_versions_data_and_defaults(tmp_path, versions):
    text = f"{HEADER}trial.Experiment.data = 'mnist'\ntrial.Experiment.data_dir = '{tmp_path}'"
    config = merge([Source("text", text)])
    identify = Identity()
    first = identify(config)
    assert first | {"defaults": ...} == {**versions, "data_checksum": None, "defaults": ...}
    assert first["defaults"]["experiments.trial.Experiment.mode"] == "'train_and_eval'"
    assert f"prepare_data --dataset=mnist --data_dir={tmp_path}" in identify.mend()

    manifest = tmp_path / "mnist" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_text(json.dumps({"checksum": "123"}))
    identify = Identity()
    assert identify(config)["data_checksum"] == "123"
    assert not identify.unprepared

    manifest.write_text("{")
    with pytest.raises(LaunchError, match=r"manifest.json is not a manifest; run .*--force"):
        Identity()(config)


SPEC = """
from __gin__ import dynamic_registration
import elsewhere
from experiments import trial
RATE = 2
trial.Experiment.spec = [('.*', @elsewhere.Shown())]
elsewhere.Shown.clip = %RATE
"""


@pytest.fixture
def sweep(package, versions):
    """A finished sweep of 10 trials whose algorithm is `elsewhere.Shown`."""
    sweep_file = write_files(package)
    (package / "specs/quantization.gin").write_text(SPEC)
    finish(sweep_file)
    return sweep_file


def expand(sweep_file):
    sweep, _ = grid.load(sweep_file)
    return grid.expand(sweep, sweep_file.parent, Identity())


def finish(sweep_file):
    folder = sweep_file.parent / "runs"
    trials = expand(sweep_file)
    save_table(folder, trials)
    for trial in trials:
        run_trial(folder / trial.id / "config.gin", folder / trial.id)


def explain(sweep_file):
    folder, trials = sweep_file.parent / "runs", expand(sweep_file)
    return changes.find(folder, trials, read_statuses(folder, trials))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_nothing_has_changed(sweep):
    assert explain(sweep) == []
    edit(sweep, "[0, 1]", "[0, 1, 2]")
    assert explain(sweep) == []


def test_a_changed_default_is_told(sweep):
    edit(sweep.parent / "elsewhere/rounding.py", "bits: int = 8", "bits: int = 4")
    assert explain(sweep) == [
        "6 finished trials are not used any more: "
        "default elsewhere.rounding.Rounding.bits is 4, was 8"
    ]


def test_a_default_that_the_config_sets_may_change(sweep):
    edit(sweep.parent / "elsewhere/rounding.py", "clip: bool = True", "clip: bool = False")
    assert explain(sweep) == []


def test_a_changed_version_is_told(sweep, versions):
    versions["kwc"] = "1.3"
    assert explain(sweep) == ["10 finished trials are not used any more: kwc is 1.3, was 1.2"]


def test_a_changed_baseline_is_told_once_for_all_that_start_from_it(sweep):
    base = sweep.parent / "runs/baseline.gin"
    base.write_text(base.read_text() + "\ntrial.Experiment.trainer = {'a': {'steps': 1, 'b': 2}}")
    assert explain(sweep) == [
        "10 finished trials are not used any more: "
        "trial.Experiment.trainer = {'a': {'steps': 1, 'b': 2}} is new"
    ]
    finish(sweep)
    edit(base, "'steps': 1", "'steps': 100")
    assert explain(sweep) == [
        "10 finished trials are not used any more: trial.Experiment.trainer.a.steps is 100, was 1"
    ]


def test_different_causes_have_a_line_each(sweep):
    edit(sweep.parent / "specs/lossless.gin", "None", "0")
    edit(sweep.parent / "specs/quantization.gin", "elsewhere.Shown.clip = %RATE\n", "")
    edit(sweep.parent / "specs/quantization.gin", "('.*', @", "('.*', %RATE), ('.*', @")
    assert explain(sweep) == [
        "6 finished trials are not used any more: "
        "trial.Experiment.spec is [('.*', %RATE), ('.*', @elsewhere.Shown())], "
        "was [('.*', @elsewhere.Shown())]; elsewhere.Shown.clip = %RATE is gone",
        "2 finished trials are not used any more: "
        "trial.Experiment.spec is [('.*', 0)], was [('.*', None)]",
    ]


def test_the_latest_of_several_finished_trials_is_compared(sweep, versions):
    for versions["kwc"] in ("1.3", "1.4"):
        finish(sweep)
    versions["kwc"] = "2.0"
    assert explain(sweep) == ["10 finished trials are not used any more: kwc is 2.0, was 1.4"]


def test_many_changes_are_counted(sweep, versions):
    versions |= {"kwc": "2.0", "tf-models-official": "3.0"}
    edit(sweep.parent / "specs/lossless.gin", "None", "0")
    edit(sweep.parent / "runs/finetune.gin", "'compress'", "'other'")
    text = (sweep.parent / "specs/quantization.gin").read_text()
    (sweep.parent / "specs/quantization.gin").write_text(text + f"X = '{'x' * 100}'")
    assert explain(sweep) == [
        "6 finished trials are not used any more: "
        f"X = '{'x' * 59}... is new; trial.Experiment.mode is 'other', was 'compress'; "
        "kwc is 2.0, was 1.2; and 1 more",
        "2 finished trials are not used any more: kwc is 2.0, was 1.2; "
        "tf-models-official is 3.0, was 2.20",
        "2 finished trials are not used any more: "
        "trial.Experiment.mode is 'other', was 'compress'; "
        "trial.Experiment.spec is [('.*', 0)], was [('.*', None)]; "
        "kwc is 2.0, was 1.2; and 1 more",
    ]


def test_trials_of_a_kwc_whose_ids_covered_less(sweep):
    folder, trials = sweep.parent / "runs", expand(sweep)
    for trial in trials:
        older = dataclasses.replace(trial, id=f"older{trial.id}", identity={"kwc": "1.2"})
        older.save(folder)
        run_trial(folder / older.id / "config.gin", folder / older.id)
        (folder / trial.id / "result.json").unlink()
    assert changes.find(folder, trials, read_statuses(folder, trials)) == [
        "10 finished trials are not used any more: tf-models-official is now a part of the id; "
        "defaults is now a part of the id"
    ]
