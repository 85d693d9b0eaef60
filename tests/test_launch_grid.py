"""Sweep files, their expansion into trials, and trial ids."""

import pytest
from launch_fakes import HEADER, identity, plan, write_files

from launch import grid
from launch.errors import LaunchError
from launch.trials import Trial, axis_label, select


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_expansion_is_the_union_of_grids_with_one_baseline_per_arch_and_seed(tmp_path):
    trials = plan(write_files(tmp_path))
    assert [(t.kind, axis_label(t.axes.get("RATE", "")), t.seed) for t in trials] == [
        ("baseline", "", 0),
        ("baseline", "", 1),
        *[("compression", rate, seed) for rate in ("", "2", "4", "8") for seed in (0, 1)],
    ]
    baselines = {t.seed: t.id for t in trials if t.kind == "baseline"}
    for trial in trials[2:]:
        assert trial.baseline == baselines[trial.seed]
        assert f"trial.Experiment.dense = '../{trial.baseline}'\n" in trial.config
        assert f"trial.Experiment.seed = {trial.seed}\n" in trial.config
    assert "dense" not in trials[0].config


def test_duplicates_of_two_grids_collapse(tmp_path):
    sweep_file = write_files(tmp_path)
    before = plan(sweep_file)
    replace(sweep_file, "'RATE': [2, 4, 8]", "'RATE': [2, 2, 4, 8]")
    assert plan(sweep_file) == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("runs/finetune.gin", "trial.Experiment.mode", "# why\n\ntrial.Experiment.mode"),
        ("runs/finetune.gin", HEADER, HEADER.replace("trial\n", "trial as trial\n")),
        ("sweep.gin", "[2, 4, 8]", "[8, 4, 2]"),
        ("sweep.gin", "'tiny'", "'renamed'"),
        ("sweep.gin", "[0, 1]", "[1, 0]"),
    ],
)
def test_ids_survive_comments_order_and_renaming(tmp_path, name, old, new):
    sweep_file = write_files(tmp_path)
    before = {trial.id for trial in plan(sweep_file)}
    replace(tmp_path / name, old, new)
    assert {trial.id for trial in plan(sweep_file)} == before


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("runs/finetune.gin", "'compress'", "'other'", 8),
        ("specs/quantization.gin", "'.*'", "'.+'", 6),
        # A changed baseline changes what every compression trial starts from.
        ("runs/baseline.gin", "'train'", "'other'", 10),
        ("sweep.gin", "[2, 4, 8]", "[2, 4, 8.0]", 2),
        ("sweep.gin", "[0, 1]", "[0, 2]", 5),
    ],
)
def test_any_changed_value_changes_the_ids_it_reaches(tmp_path, name, old, new, changed):
    sweep_file = write_files(tmp_path)
    before = {trial.id for trial in plan(sweep_file)}
    replace(tmp_path / name, old, new)
    assert len({trial.id for trial in plan(sweep_file)} - before) == changed


def test_identity_joins_the_id(tmp_path):
    sweep_file = write_files(tmp_path)
    sweep, _ = grid.load(sweep_file)
    newer = grid.expand(sweep, tmp_path, lambda config: {"kwc": "newer"})
    assert not {t.id for t in newer} & {t.id for t in plan(sweep_file)}


def test_trial_survives_its_folder(tmp_path):
    trial = plan(write_files(tmp_path))[-1]
    trial.save(tmp_path / "runs")
    assert Trial.load(tmp_path / "runs" / trial.id) == trial


def test_files_resolve_here_too(tmp_path, monkeypatch):
    sweep_file = write_files(tmp_path)
    moved = tmp_path / "elsewhere" / "sweep.gin"
    moved.parent.mkdir()
    sweep_file.rename(moved)
    monkeypatch.chdir(tmp_path)
    assert len(plan(moved)) == 10


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'tiny'", "'../tiny'", "give it a folder's name"),
        ("grid.Sweep.seeds", "grid.Sweep.seed", "is not a sweep: .*seed"),
        ("[0, 1]", "[]", "need at least one value"),
        ("[0, 1]", "['a']", "Sweep.seeds = .*write a list of int"),
        ("[2, 4, 8]", "[]", r"axis 'RATE' = \[\]: write a list of values"),
        ("[2, 4, 8]", "4", "axis 'RATE' = 4: write a list of values"),
        ("[2, 4, 8]", "[%gin.REQUIRED]", "grids is %gin.REQUIRED: give it a value"),
        (", 'RATE': [2, 4, 8]", "", "(?s)compression trial .*RATE is %gin.REQUIRED"),
        ("'RATE': [2", "'RATIO': [2", "RATE is %gin.REQUIRED"),
        ("['specs/lossless.gin']}", "['specs/lossless.gin'], 'RATE': [2]}", "has no effect"),
        ("archs/small.gin", "archs/none.gin", "no gin file 'archs/none.gin'"),
        ("['archs/small.gin'], 'a", "['archs/small.gin', 'b/small.gin'], 'a", "rename one"),
        ("'RATE':", "'a.b':", "axis 'a.b': give it a macro's name"),
    ],
)
def test_a_bad_sweep_is_one_clear_error(tmp_path, old, new, message):
    sweep_file = write_files(tmp_path)
    replace(sweep_file, old, new)
    with pytest.raises(LaunchError, match=message):
        plan(sweep_file)


def test_only_picks_by_stem_or_number_and_adds_baselines(tmp_path):
    trials = plan(write_files(tmp_path))
    picked = select(trials, ["algorithm=quantization", "RATE=4.0", "RATE=8"])
    assert [(t.kind, t.axes.get("RATE")) for t in picked] == [
        *[("baseline", None)] * 2,
        *[("compression", rate) for rate in (4, 8) for _ in range(2)],
    ]
    assert select(trials, []) == trials
    assert select(trials, ["arch=archs/small.gin"]) == trials


@pytest.mark.parametrize(
    ("only", "message"),
    [
        (["RATE"], "write AXIS=VALUE"),
        (["SPEED=3"], r"AXIS one of \['RATE', 'algorithm', 'arch'\]"),
        (["RATE=3"], r"RATE is one of \['2', '4', '8'\]"),
        (["algorithm=lossless", "RATE=2"], "no trial matches all"),
    ],
)
def test_only_that_matches_nothing_is_an_error(tmp_path, only, message):
    with pytest.raises(LaunchError, match=message):
        select(plan(write_files(tmp_path)), only)


def test_sweep_without_baseline_has_none(tmp_path):
    sweep = grid.Sweep("s", ["runs/finetune.gin"], [{"algorithm": ["specs/lossless.gin"]}])
    write_files(tmp_path)
    (trial,) = grid.expand(sweep, tmp_path, identity)
    assert trial.kind == "compression"
    assert trial.baseline is None
    assert "dense" not in trial.config
