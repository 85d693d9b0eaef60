"""The small data sets of images and videos."""

import json

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from official.vision.dataloaders import tf_example_decoder

from experiments.coverage.records import prepared, vision


def test_the_same_bytes_every_time_and_only_once(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        vision.write(folder)
    content = {path.name: path.read_bytes() for path in first.iterdir()}
    assert content == {path.name: path.read_bytes() for path in second.iterdir()}

    kept = first / "video.tfrecord"
    kept.write_bytes(b"of someone else")
    (first / "detection.tfrecord").unlink()
    vision.write(first)
    assert kept.read_bytes() == b"of someone else"
    assert (first / "detection.tfrecord").read_bytes() == content["detection.tfrecord"]


def test_boxes_masks_and_annotations_agree(tmp_path):
    vision.write(tmp_path)
    decoder = tf_example_decoder.TfExampleDecoder(include_mask=True)
    images = [
        decoder.decode(record)
        for record in tf.data.TFRecordDataset(str(tmp_path / "detection.tfrecord"))
    ]
    assert [int(image["source_id"].numpy()) for image in images] == [1, 2, 3, 4, 5, 6, 7, 8]
    for image in images:
        boxes = np.round(image["groundtruth_boxes"] * vision.SIZE).astype(int)
        masks = image["groundtruth_instance_masks"].numpy()
        for (top, left, bottom, right), mask in zip(boxes, masks, strict=True):
            assert mask[top:bottom, left:right].all()
            assert mask.sum() == (bottom - top) * (right - left)

    annotations = json.loads((tmp_path / "detection.json").read_text())["annotations"]
    assert len(annotations) == 2 * vision.EXAMPLES
    areas = np.concatenate([image["groundtruth_area"] for image in images])
    assert [annotation["area"] for annotation in annotations] == areas.tolist()


def test_tensorflow_datasets_reads_the_boxes_of_the_records(tmp_path):
    vision.write(tmp_path)
    prepared.write(tmp_path)
    decoder = tf_example_decoder.TfExampleDecoder()
    records = tf.data.TFRecordDataset(str(tmp_path / "detection.tfrecord"))
    wanted = {
        int(image["source_id"].numpy()): (
            image["groundtruth_boxes"].numpy().round(5).tolist(),
            (image["groundtruth_classes"].numpy() - 1).tolist(),
        )
        for image in map(decoder.decode, records)
    }
    builder = tfds.builder("coco/2017", data_dir=tmp_path / "tfds")
    for split in ("train", "validation"):
        found = {
            int(example["image/id"].numpy()): (
                example["objects"]["bbox"].numpy().round(5).tolist(),
                example["objects"]["label"].numpy().tolist(),
            )
            for example in builder.as_dataset(split=split)
        }
        assert found == wanted
