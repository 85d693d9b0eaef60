"""The files of a page: an artifact as plain floats, compressed, and packed."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import tempfile
from typing import Any

from etils import epy

import kwc
from kwc.exports import ExportError, ExportReport

with epy.lazy_imports():
    from ai_edge_litert import schema_py_generated as schema

_DENSE, _PACKED, _INEXACT = "float32", "packed", "float16"
_EXACT = ("int8", "int4", "sparse")


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a page.

    Attributes:
        name: its name.
        route: how it holds the weights.
        bytes: its length.
        gzip: its length after gzip, as servers send it.
    """

    name: str
    route: str
    bytes: int
    gzip: int


@dataclasses.dataclass(frozen=True)
class Exporter:
    """Writes the files of one page.

    Attributes:
        model: a plain model of the artifact's architecture.
        inputs: real inputs, which prove what is written.
        folder: where to write.
    """

    model: Any
    inputs: Any
    folder: pathlib.Path

    def dense(self, artifact: pathlib.Path) -> File:
        """Writes `dense.tflite`, the weights as plain floats."""
        with tempfile.TemporaryDirectory() as scratch:
            return self._kept("dense.tflite", self._export(artifact, _DENSE, scratch))

    def compressed(self, artifact: pathlib.Path, route: str | None) -> File:
        """Writes `compressed.tflite`.

        Args:
            artifact: a `.kwc` file.
            route: name of a route to tflite; None takes the smallest file among the exact routes,
                or 16-bit floats if none of them holds a weight.
        """
        with tempfile.TemporaryDirectory() as scratch:
            if route is not None:
                report = self._export(artifact, route, scratch)
            else:
                report = self._smallest(artifact, scratch)
            return self._kept("compressed.tflite", report)

    def packed(self, artifact: pathlib.Path) -> File:
        """Writes `packed.kwc`: no browser runs it, `kwc expand` makes the dense file of it."""
        with tempfile.TemporaryDirectory() as scratch:
            return self._kept("packed.kwc", self._export(artifact, _PACKED, scratch, ".kwc"))

    def _smallest(self, artifact: pathlib.Path, scratch: str) -> ExportReport:
        reports = []
        for route in _EXACT:
            try:
                reports.append(self._export(artifact, route, scratch))
            except ExportError:
                continue
        holding = [r for r in reports if any(weight.form != _DENSE for weight in r)]
        if not holding:
            return self._export(artifact, _INEXACT, scratch)
        return min(holding, key=lambda report: report.proof.nbytes)

    def _export(
        self, artifact: pathlib.Path, route: str, scratch: str, suffix: str = ".tflite"
    ) -> ExportReport:
        path = pathlib.Path(scratch) / f"{route}{suffix}"
        return kwc.export(artifact, self.model, path, to="tflite", route=route, inputs=self.inputs)

    def _kept(self, name: str, report: ExportReport) -> File:
        data = report.path.read_bytes()
        if name.endswith(".tflite"):
            data = fix_batch(data)
        (self.folder / name).write_bytes(data)
        return File(name, report.route, len(data), len(gzip.compress(data, mtime=0)))


def fix_batch(data: bytes) -> bytes:
    """Closes the open batch axis of a `.tflite` file at one example.

    LiteRT for the web takes no other file. Beside the open shapes the file states those for one
    example, so nothing else changes.
    """
    content = bytearray(data)
    model = schema.Model.GetRootAs(content, 0)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            if tensor.ShapeSignatureLength():
                tensor.ShapeSignatureAsNumpy()[:] = tensor.ShapeAsNumpy()
    return bytes(content)
