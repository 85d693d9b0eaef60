"""A finished sweep with training curves, for tests of the report."""

from launch_fakes import plan, run_trial, write_files
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from launch.trials import save_table


def write_curve(folder, tag, values):
    """Writes a scalar at steps 10, 20, ..., as Model Garden's summary writer does."""
    metadata = scalar_metadata.create_summary_metadata("", "")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"events.out.tfevents.{tag.replace('/', '_')}", "wb") as file:
        records = RecordWriter(file)
        for number, value in enumerate(values, start=1):
            tensor = tensor_util.make_tensor_proto(value, dtype="float32")
            content = summary_pb2.Summary.Value(tag=tag, tensor=tensor, metadata=metadata)
            scalars = summary_pb2.Summary(value=[content])
            records.write(event_pb2.Event(step=10 * number, summary=scalars).SerializeToString())


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
