"""The route to a packed file: coded weights and the skeleton of a `.tflite` file.

The smallest file that runs at the speed of the plain one: weights keep their entropy codes.
"""

from __future__ import annotations

import itertools
import pathlib
import tempfile
from collections.abc import Iterable, Iterator

import numpy as np

from kwc import artifact, coding, runtime
from kwc.artifact import CodedWeight
from kwc.exports import skeleton, tflite
from kwc.exports.flatbuffer import Graph
from kwc.exports.routes import Place, Placed, Route, anything, register
from kwc.exports.source import Source
from kwc.runtime import packed


def _write(source: Source, path: pathlib.Path) -> dict[str, Placed]:
    data = skeleton.strip(tflite.convert(source))
    compressed_first = source.compressed | source.weights
    values = ((name, weight.decompress()) for name, weight in compressed_first.items())
    content, tensors = skeleton.cut(data, values)
    filling = source.compressed.keys() | {place.weight for place in content.places}
    used = {n: weight for n, weight in source.weights.items() if n in tensors and n in filling}
    extra, metadata = packed.dump(content, list(used))
    artifact.write(path, [*used.values(), *extra], metadata, _preset(used.values()))
    return {
        name: _placed(weight, tensors[name] if name in used else None)
        for name, weight in source.weights.items()
    }


def _preset(weights: Iterable[CodedWeight]) -> str:
    """As slow as the codes of the weights, so that reading the rest needs no other packages."""
    used = {array.declared.coder for weight in weights for array in weight.coded}
    fast = {coder.name for coder in coding.PRESETS["fast"]}
    return "fast" if used <= fast else artifact.DEFAULT_PRESET


def _placed(weight: CodedWeight, tensors: dict[int, packed.Layout] | None) -> Placed:
    if tensors is None:
        return Placed("float32", reason="" if weight.compressor.is_identity else _why_not(weight))
    places = tuple(Place(str(number), lies) for number, lies in tensors.items())
    return Placed("packed", tuple(weight.arrays.values()), places)


def _why_not(weight: CodedWeight) -> str:
    if not weight.decompress().any():
        return "it is all zeros, and the converter has left it out"
    return "no constant of the converted model is this weight, times a factor for each output"


class _Expanded(tflite.Converted):
    """A packed file, expanded and run by LiteRT; its tensors are called by their numbers."""

    def __init__(self, source: Source, path: pathlib.Path):
        with tempfile.TemporaryDirectory() as folder:
            expanded = pathlib.Path(folder) / "model.tflite"
            runtime.expand(path, expanded)
            super().__init__(source, expanded)
        self._content = artifact.read(path)

    def constants(self) -> Iterable[np.ndarray]:
        """The arrays of the coded weights, and what the skeleton holds plainly."""
        return itertools.chain(self._coded(), self._plain())

    def _coded(self) -> Iterator[np.ndarray]:
        for weight in self._content.weights.values():
            yield from weight.arrays.values()

    def _plain(self) -> Iterator[np.ndarray]:
        hollow = packed.parse(self._content, "The file", artifact.MAX_BYTES).hollow()
        return (array for array in Graph(hollow.tobytes()).constants() if array.any())

    def decoded(self, tensor: str) -> np.ndarray:
        return self._watch().get_tensor(int(tensor))


ROUTE = register(
    Route(
        name="packed",
        to="tflite",
        decompress="before",
        about="the entropy-coded weights and the rest of the .tflite file in one .kwc: the "
        "smallest, which kwc.runtime.expand makes a plain .tflite file of when it is loaded",
        tolerance=0.0,
        why_not=anything,
        write=_write,
        read=_Expanded,
        suffix=artifact.SUFFIX,
    )
)
