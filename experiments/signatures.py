"""The signatures of Model Garden's own exports of a task, over a model that is there already.

Its modules for serving decode and resize images, parse examples and name outputs, as its export
scripts have them do. Real inputs for each are made of what the task's own data gives the model.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from official.core import export_base, task_factory
from official.core.config_definitions import ExperimentConfig, TaskConfig
from official.nlp.serving import export_savedmodel
from official.nlp.tasks import translation
from official.vision.configs import image_classification, maskrcnn, retinanet, semantic_segmentation
from official.vision.serving import detection
from official.vision.serving import image_classification as classification
from official.vision.serving import semantic_segmentation as segmentation

from experiments import runner
from experiments.data import tfrecords
from kwc import task as kwc_task
from kwc.exports.errors import ExportError
from kwc.exports.signatures import SIGNATURE, Signature

AUTO = "auto"
TASK = "task"
MODEL = "model"

_IMAGES = {
    image_classification.ImageClassificationTask: classification.ClassificationModule,
    semantic_segmentation.SemanticSegmentationTask: segmentation.SegmentationModule,
    retinanet.RetinaNetTask: detection.DetectionModule,
    maskrcnn.MaskRCNNTask: detection.DetectionModule,
}
# Translation's takes text, which needs operations that loaders do not have.
_SENTENCES = {
    task: module
    for task, module in export_savedmodel.SERVING_MODULES.items()
    if task is not translation.TranslationTask
}
_IMAGE_KEYS = ("image_tensor", "image_bytes", "tf_example", "tflite")
_SENTENCE_KEYS = ("serve", "serve_examples")


def keys(config: TaskConfig) -> tuple[str, ...]:
    """Returns what Model Garden calls the inputs of its exports of a task, the default one first.

    Empty if it has no export of the task with TensorFlow's own operations alone.
    """
    if _image_module(config) is not None:
        return _IMAGE_KEYS
    return _SENTENCE_KEYS if _sentence_module(config) is not None else ()


def model_and_given(
    params: ExperimentConfig, examples: int, wanted: str = AUTO, test_path: str | None = None
) -> tuple[tf_keras.Model, dict[str, Any]]:
    """Builds the model of an experiment, and what `kwc.export` is given to serve and to prove it.

    Args:
        params: as `runner.measure` takes them.
        examples: how many examples of the first batch.
        wanted: `model` for the model's own call; `task` for the first of Model Garden's exports of
            the task, or names out of `keys`, with commas between; `auto` for `task` where there is
            such an export, else `model`.
        test_path: as `runner.measure` takes it.

    Returns:
        The model with initial weights; and `inputs`, as the task's validation step hands them over,
        or `signatures`, the first one as the default.

    Raises:
        ExportError: Model Garden has no such export.
        CompressionError: the step gives the model more than its inputs, and its call is wanted.
        FileNotFoundError: the data is not there.
    """
    if wanted == MODEL or (wanted == AUTO and not keys(params.task)):
        model, inputs = runner.model_and_inputs(params, examples, test_path)
        return model, {"inputs": inputs}
    params, strategy, task, model = runner.built(params, test_path)
    batch = next(iter(task.build_inputs(params.task.validation_data)))
    with strategy.scope():
        inputs, _ = kwc_task.call_of(task, model, batch)
    inputs = tf.nest.map_structure(lambda tensor: tensor[:examples].numpy(), inputs)
    return model, {"signatures": of(params, model, inputs, wanted)}


def of(
    params: ExperimentConfig, model: tf_keras.Model, inputs: Any, wanted: str = TASK
) -> dict[str, Signature]:
    """Returns signatures of Model Garden's exports of a task, the first one as the default.

    Args:
        params: the parameters of the experiment.
        model: its model, built; the functions read its weights when they are called or traced.
        inputs: what the task's validation step hands the model: arrays, 2 examples or more.
        wanted: as `model_and_given` takes it, but for `model`.

    Raises:
        ExportError: there is no such export.
    """
    known = keys(params.task)
    names = known[:1] if wanted in (AUTO, TASK) else wanted.split(",")
    if not known or not set(names) <= set(known):
        raise ExportError(
            f"Model Garden has no export of {type(params.task).__name__} with the signature "
            f"{wanted}{', but with ' + ', '.join(known) if known else ''}. Take the signature "
            f"{MODEL}, by which the model takes its inputs as they are."
        )
    build = _of_images if known is _IMAGE_KEYS else _of_sentences
    signatures = [build(params, model, inputs, name) for name in names]
    return dict(zip([SIGNATURE, *names[1:]], signatures, strict=True))


def _image_module(config: TaskConfig) -> type[export_base.ExportModule] | None:
    there = (module for kind, module in _IMAGES.items() if isinstance(config, kind))
    return next(there, None)


def _sentence_module(config: TaskConfig) -> type[export_base.ExportModule] | None:
    return _SENTENCES.get(task_factory.get_task_cls(type(config)))


def _of_images(
    params: ExperimentConfig, model: tf_keras.Model, images: np.ndarray, key: str
) -> Signature:
    def module() -> export_base.ExportModule:
        return _image_module(params.task)(
            params,
            batch_size=None,
            input_image_size=list(images.shape[1:-1]),
            input_type=key,
            num_channels=images.shape[-1],
            model=model,
        )

    return _signature(module, key, _image_inputs(images, key))


def _of_sentences(
    params: ExperimentConfig, model: tf_keras.Model, inputs: Any, key: str
) -> Signature:
    kind = _sentence_module(params.task)
    options = {
        "inputs_only": False,
        "parse_sequence_length": inputs["input_word_ids"].shape[1],
        "max_predictions_per_seq": np.shape(inputs.get("masked_lm_positions", [[]]))[1],
    }
    there = {field.name for field in dataclasses.fields(kind.Params)}
    serving = kind.Params(**{name: options[name] for name in options.keys() & there})
    given = inputs if key == "serve" else {key: _examples(inputs)}
    return _signature(lambda: kind(params=serving, model=model), key, given)


def _signature(module: Any, key: str, inputs: Mapping[str, np.ndarray]) -> Signature:
    """A signature of a module, which is built anew for each trace: it keeps what it has traced."""

    def trace() -> tf.types.experimental.ConcreteFunction:
        return module().get_inference_signatures({key: key})[key]

    plain = trace()
    names = [spec.name for spec in tf.nest.flatten(plain.structured_input_signature)]
    # The one input of others is called as the export chooses.
    named = inputs if key == "serve" else dict(zip(names, inputs.values(), strict=True))
    return Signature(trace, {name: named[name] for name in names}, plain)


def _image_inputs(images: np.ndarray, key: str) -> dict[str, np.ndarray]:
    """Images as the model takes them, float [batch, ...], as an export's input."""
    if key == "tflite":
        return {key: images}
    span = [images.min(), images.max()]
    pixels = np.interp(images, span, [0, 255]).astype(np.uint8)
    if key == "image_tensor":
        return {key: pixels}
    encoded = [tf.io.encode_png(image).numpy() for image in pixels]
    if key == "tf_example":
        encoded = [tfrecords.serialize({"image/encoded": image}) for image in encoded]
    return {key: np.array(encoded, object)}


def _examples(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Sequences of integers as serialized examples."""
    arrays = {name: a for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind == "i"}
    rows = [dict(zip(arrays, row, strict=True)) for row in zip(*arrays.values(), strict=True)]
    return np.array([tfrecords.serialize(row) for row in rows], object)
