"""A finished sweep with training curves, for tests of the report."""

from curves import write_curve
from launch_fakes import plan, run_trial, write_files

from launch.trials import save_table


def make_sweep(folder):
    """A finished sweep of two architectures, two seeds, lossless and three rates, with curves."""
    text = write_files(folder).read_text()
    both = text.replace("['archs/small.gin']", "['archs/small.gin', 'archs/large.gin']")
    (folder / "sweep.gin").write_text(both)
    trials = plan(folder / "sweep.gin")
    sweep_folder = folder / "runs" / "tiny & <b>"
    save_table(sweep_folder, trials)
    for trial in trials:
        trial_folder = sweep_folder / trial.id
        run_trial(trial_folder / "config.gin", trial_folder)
        write_curve(trial_folder / "train", "accuracy", [0.25, 0.5, 0.75])
        write_curve(trial_folder / "train", "kwc/bits_per_weight", [8, 6, 4])
        write_curve(trial_folder / "validation", "accuracy", [0.5])
    return sweep_folder, trials
