"""Reading event files: what TensorFlow writes, and what a killed process leaves."""

import tensorflow as tf

from experiments import events


def write(folder, values, suffix=""):
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=suffix)
    with writer.as_default():
        for step, value in values.items():
            tf.summary.scalar("loss", value, step)
            tf.summary.text("note", "not a number", step)
            tf.summary.histogram("weights", [1.0, 2.0], step)
    writer.close()


def test_scalars_of_a_run(tmp_path):
    write(tmp_path, {10: 0.5, 20: 0.25})
    assert events.scalars(tmp_path) == {"loss": [(10, 0.5), (20, 0.25)]}


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    write(tmp_path, {10: 0.5, 20: 0.25, 30: 9.0}, ".1")
    write(tmp_path, {30: 0.125, 40: 0.0}, ".2")
    first, second = sorted(tmp_path.iterdir(), key=lambda path: path.suffix)
    # The later run has the later name, whatever the second they started in.
    second.rename(tmp_path / "events.out.tfevents.9999999999")
    first.rename(tmp_path / "events.out.tfevents.0000000000")
    curve = [(10, 0.5), (20, 0.25), (30, 0.125), (40, 0.0)]
    assert events.scalars(tmp_path) == {"loss": curve}


def test_scalars_of_version_one(tmp_path):
    event = tf.compat.v1.Event(step=3)
    event.summary.value.add(tag="loss", simple_value=0.5)
    path = str(tmp_path / "events.out.tfevents.1")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(event.SerializeToString())
    assert events.scalars(tmp_path) == {"loss": [(3, 0.5)]}


def test_a_file_cut_anywhere_gives_what_is_whole(tmp_path):
    write(tmp_path / "whole", {10: 0.5, 20: 0.25})
    (path,) = (tmp_path / "whole").iterdir()
    data = path.read_bytes()
    (tmp_path / "cut").mkdir()
    seen = set()
    for length in range(0, len(data), 7):
        (tmp_path / "cut" / path.name).write_bytes(data[:length])
        curve = events.scalars(tmp_path / "cut").get("loss", [])
        assert curve == [(10, 0.5), (20, 0.25)][: len(curve)]
        seen.add(len(curve))
    assert seen == {0, 1, 2}


def test_a_damaged_file_ends_the_curve(tmp_path):
    (tmp_path / "events.out.tfevents.1").write_bytes(b"\x04" + bytes(11) + b"\xff" * 8)
    assert events.scalars(tmp_path) == {}


def test_no_folder_no_scalars(tmp_path):
    assert events.scalars(tmp_path / "nowhere") == {}
