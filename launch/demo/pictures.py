"""The pictures of an artifact's task, and how its model is given their pixels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from experiments import data
from launch.errors import LaunchError

MAX_SIDE = 64  # Pixels; what a hand draws with a broad pen has no more.
_READ = 1000
_CLOSE = 1e-3  # Of normalized inputs, which are a few units large.


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Grey pictures of one size.

    Attributes:
        data: name of the data set.
        classes: one name per label.
        images: uint8 [count, height, width], the first of the test split.
        labels: int64 [count].
        scale: float64 [channels]; `scale * pixel + shift` is what the model is given.
        shift: float64 [channels].
    """

    data: str
    classes: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the model's input."""
        return (*self.images.shape[1:], len(self.scale))


def check(manifest: data.Manifest | None) -> data.Manifest:
    """Returns the data set of a trial if its pictures can be drawn.

    Raises:
        LaunchError: there is none, or it holds something else.
    """
    if manifest is None:
        raise LaunchError(
            "The trial names no prepared data set (trial.Experiment.data), of which the page takes "
            "the names of classes and pictures to try."
        )
    wrong = ""
    if manifest.kind != "image_classification":
        wrong = f"a data set for {manifest.kind}"
    elif manifest.channels != 1:
        wrong = "pictures in colour"
    elif manifest.image_size is None or max(manifest.image_size) > MAX_SIDE:
        size = "x".join(map(str, manifest.image_size or ["varying"]))
        wrong = f"pictures of {size} pixels"
    if wrong:
        raise LaunchError(
            f"{manifest.name} holds {wrong}. The page is for grey pictures of one size, up to "
            f"{MAX_SIDE}x{MAX_SIDE} pixels, which can be drawn."
        )
    return manifest


def read(manifest: data.Manifest, model: Any, inputs: Any) -> Pictures:
    """Reads the test split, and finds out what the task does to its pixels.

    Args:
        manifest: as `check` returns it.
        model: the task's.
        inputs: what the task gives it for the first pictures of the test split.

    Raises:
        LaunchError: the task does more than scale and shift pixels, as when it crops, or the model
            does not give one number for each class.
    """
    images, labels = data.read_images(manifest, "test", _READ)
    scale, shift = _affine(manifest, images, inputs)
    outputs = getattr(model(inputs, training=False), "shape", None)
    if outputs != (len(inputs), manifest.num_classes):
        raise LaunchError(
            f"The model's outputs for {len(inputs)} pictures are {outputs}, and the page needs one "
            f"number for each of the {manifest.num_classes} classes of {manifest.name}."
        )
    return Pictures(manifest.name, manifest.class_names, images[..., 0], labels, scale, shift)


def _affine(
    manifest: data.Manifest, images: np.ndarray, inputs: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Fits `scale * pixel + shift` for each channel of the inputs, and checks that it fits."""
    shape = getattr(inputs, "shape", ())
    if len(shape) == 4 and shape[1:3] == images.shape[1:3]:
        pixels = images[: shape[0], ..., 0].reshape(-1).astype(np.float64)
        terms = np.stack([pixels, np.ones_like(pixels)], axis=1)
        given = inputs.reshape(-1, shape[-1]).astype(np.float64)
        fitted, *_ = np.linalg.lstsq(terms, given, rcond=None)
        if np.abs(terms @ fitted - given).max() < _CLOSE:
            return fitted[0], fitted[1]
    raise LaunchError(
        f"The task does more to the pictures of {manifest.name} than scale and shift their pixels, "
        "as when it crops or resizes them; the page cannot do the same to a drawing."
    )
