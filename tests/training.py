"""Training by Model Garden's own drivers, with `--gin_file` alone, and what it leaves behind."""

import math

import model_garden

from experiments import events

STEPS, MORE = 20, 24


def train_and_resume(driver, experiment, config, folder, spec="quantization"):
    """Trains an experiment for 20 steps, and then with the same command, but for the steps, 24."""
    for steps in (STEPS, MORE):
        trainer = {
            "train_steps": steps,
            "steps_per_loop": 10,
            "summary_interval": 10,
            "checkpoint_interval": 10,
            "validation_interval": STEPS,
            "validation_steps": -1,
        }
        arguments = model_garden.flags(
            experiment, "train_and_eval", folder, {}, trainer, spec, config_file=config
        )
        code, output = model_garden.run(driver, arguments)
        assert code == 0, output
        assert ("restored from checkpoint" in output) == (steps == MORE)
        assert (folder / f"ckpt-{steps}.index").exists()


def check_curves(folder, metric):
    """Checks that the loss and a metric of the evaluation were written, once a step, and finite."""
    losses = events.scalars(folder / "train")["training_loss"]
    assert [step for step, _ in losses] == [10, STEPS, MORE]
    values = events.scalars(folder / "validation")[metric]
    assert [step for step, _ in values] == [STEPS, MORE]
    assert all(math.isfinite(value) for _, value in [*losses, *values])
