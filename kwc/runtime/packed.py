"""Packed files: an artifact that also holds the skeleton of a `.tflite` file.

The skeleton is that file without the constants that the weights fill. `docs/format.md` says how
they are laid into it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from kwc.algorithms import Lossless
from kwc.artifact import Artifact, ArtifactError, CodedWeight, PackedWeight
from kwc.artifact.declared import checked_integer, checked_object
from kwc.artifact.errors import short
from kwc.compressor import WeightInfo
from kwc.ops import size
from kwc.runtime.layout import Layout

VERSION = 1
"""The version that is written and read."""

SKELETON = "tflite/skeleton"
FACTORS = "tflite/factors"

_KEY = "tflite"
_FLOAT = np.dtype("<f4")
_REQUIRED = {"skip", "weight"}
_OPTIONAL = {"axes", "part", "factor"}


@dataclasses.dataclass(frozen=True)
class Place:
    """A constant of the file.

    Attributes:
        start: position of its first byte.
        weight: path of the weight that fills it.
        layout: how the weight lies in it.
    """

    start: int
    weight: str
    layout: Layout

    @property
    def stop(self) -> int:
        """Position after its last byte."""
        return self.start + size(self.layout.shape) * _FLOAT.itemsize


@dataclasses.dataclass(frozen=True)
class Packed:
    """A `.tflite` file without the constants that weights fill.

    Attributes:
        skeleton: uint8 [n], what is left of the file.
        places: the constants, in the file's order.
    """

    skeleton: np.ndarray
    places: tuple[Place, ...]

    def hollow(self) -> np.ndarray:
        """Returns the bytes of the file, with zeros in the places: uint8, of the file's length."""
        stops = [0, *(place.stop for place in self.places)]
        taken = sum(place.stop - place.start for place in self.places)
        data = np.zeros(len(self.skeleton) + taken, np.uint8)
        starts = [*(place.start for place in self.places), len(data)]
        done = 0
        for stop, start in zip(stops, starts, strict=True):
            data[stop:start] = self.skeleton[done : done + start - stop]
            done += start - stop
        return data

    def filled(self, weights: Mapping[str, CodedWeight]) -> np.ndarray:
        """Returns the bytes of the file, uint8; each weight is decoded once, one at a time.

        Raises:
            ArtifactError: a weight cannot be decoded.
        """
        data = self.hollow()
        places: dict[str, list[Place]] = {}
        for place in self.places:
            places.setdefault(place.weight, []).append(place)
        for path, holders in places.items():
            value = weights[path].decompress()
            for place in holders:
                # Weights that no one trained may overflow.
                with np.errstate(all="ignore"):
                    constant = place.layout.apply(value)
                data[place.start : place.stop] = np.frombuffer(
                    constant.astype(_FLOAT, copy=False).tobytes(), np.uint8
                )
        return data


def dump(packed: Packed, weights: Sequence[str]) -> tuple[list[PackedWeight], dict[str, Any]]:
    """Returns what an artifact holds beside the weights.

    Args:
        packed: the file.
        weights: paths of the weights, in the order of the artifact.

    Returns:
        Weights to write after the others, and the metadata.
    """
    numbers = {path: number for number, path in enumerate(weights)}
    places, factors, end = [], [], 0
    for place in packed.places:
        layout = place.layout
        entry: dict[str, Any] = {"skip": place.start - end, "weight": numbers[place.weight]}
        if layout.axes != tuple(range(len(layout.axes))):
            entry["axes"] = list(layout.axes)
        if layout.part is not None:
            entry["part"] = [layout.part.start, layout.part.stop]
        if layout.factor is not None:
            entry["factor"] = [axis for axis, n in enumerate(layout.factor.shape) if n != 1]
            factors.append(layout.factor.reshape(-1))
        places.append(entry)
        end = place.stop
    extra = [_array(SKELETON, packed.skeleton)]
    if factors:
        extra.append(_array(FACTORS, np.concatenate(factors)))
    return extra, {_KEY: {"version": VERSION, "places": places}}


def _array(path: str, array: np.ndarray) -> PackedWeight:
    info = WeightInfo(path, array.shape, array.dtype.name)
    return PackedWeight(info, Lossless(), {"weight": array})


def parse(content: Artifact, name: str, max_bytes: int) -> Packed:
    """Reads and checks what `dump` made; `name` is what errors call the file.

    Raises:
        ArtifactError: the artifact is not packed, is forged, or its `.tflite` file would take more
            than `max_bytes`.
    """
    plan = content.metadata.get(_KEY)
    if not isinstance(plan, dict):
        raise ArtifactError(
            f"{name} holds no .tflite file: it is an artifact of weights alone. Pass one that "
            "`kwc export --to=tflite --route=packed` wrote."
        )
    if plan.get("version") != VERSION:
        raise ArtifactError(
            f"{name} is packed in version {short(plan.get('version'))}; this kwc reads version "
            f"{VERSION}. Install a newer kwc."
        )
    try:
        return _Parser(content.weights, max_bytes).packed(plan)
    except ValueError as error:
        raise ArtifactError(
            f"{name} is forged: its .tflite file cannot be: {error}. Do not use it."
        ) from error


class _Parser:
    """Reads the places in their order; all are checked before the file is made."""

    def __init__(self, weights: Mapping[str, CodedWeight], max_bytes: int):
        self._weights = weights
        self._paths = list(weights)
        self._skeleton = self._flat(SKELETON, "uint8")
        self._factors = self._flat(FACTORS, "float32") if FACTORS in weights else np.zeros(0)
        self._room = max_bytes - len(self._skeleton)

    def packed(self, plan: Mapping[str, Any]) -> Packed:
        entries = plan.get("places")
        if not isinstance(entries, list) or plan.keys() != {"version", "places"}:
            raise ValueError("it has a version and a list of places, and nothing else")
        places = tuple(self._places(entries))
        if len(self._factors):
            raise ValueError(f"{len(self._factors)} factors belong to no place")
        return Packed(self._skeleton, places)

    def _flat(self, path: str, dtype: str) -> np.ndarray:
        weight = self._weights.get(path)
        if weight is None or weight.info.dtype != dtype or len(weight.info.shape) != 1:
            raise ValueError(f"there is no {path} of one axis of {dtype}")
        return weight.decompress()

    def _places(self, entries: list[Any]) -> Iterator[Place]:
        end, left = 0, len(self._skeleton)
        for entry in entries:
            if not _REQUIRED <= checked_object(entry).keys() <= _REQUIRED | _OPTIONAL:
                raise ValueError(f"{short(entry)} is no place")
            skip = checked_integer(entry["skip"], left + 1)
            path = self._paths[checked_integer(entry["weight"], len(self._paths))]
            place = Place(end + skip, path, self._layout(entry, self._weights[path].info))
            end, left = place.stop, left - skip
            self._room -= place.stop - place.start
            if self._room < 0:
                raise ValueError("it would take more than max_bytes")
            yield place

    def _layout(self, entry: Mapping[str, Any], info: WeightInfo) -> Layout:
        if info.dtype != "float32" or {"part", "factor"} <= entry.keys():
            raise ValueError(f"{info.path} cannot be laid so: it is {info.dtype}, {short(entry)}")
        rank = len(info.shape)
        axes = _axes(entry.get("axes", list(range(rank))), rank)
        if sorted(axes) != list(range(rank)):
            raise ValueError(f"{axes} is no order of the {rank} axes of {info.path}")
        shape, part, factor = info.shape, None, None
        if "part" in entry:
            start, *stops = _axes(entry["part"], shape[-1] + 1 if shape else 0) or (0,)
            if len(stops) != 1 or start >= stops[0]:
                raise ValueError(f"{short(entry['part'])} is no part of {info.path}")
            stop = stops[0]
            part, shape = slice(start, stop), (*shape[:-1], stop - start)
        if "factor" in entry:
            factor = self._factor(info, _axes(entry["factor"], rank))
        return Layout(axes, (size(shape),), factor, part)

    def _factor(self, info: WeightInfo, axes: tuple[int, ...]) -> np.ndarray:
        shape = [n if axis in axes else 1 for axis, n in enumerate(info.shape)]
        if size(shape) > len(self._factors):
            raise ValueError(
                f"there are {len(self._factors)} factors left, and {info.path} takes {size(shape)}"
            )
        taken, self._factors = np.split(self._factors, [size(shape)])
        return taken.reshape(shape)


def _axes(value: Any, stop: int) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{short(value)} stands where a list belongs")
    return tuple(checked_integer(axis, stop) for axis in value)
