"""kwc, Keras Weight Compression: write an algorithm once, run it on every model, ship the file.

>>> import kwc
>>> spec = kwc.Spec([(".*/kernel", kwc.algorithms.Quantization(bits=4)), (".*", None)])
>>> kwc.compress(model, spec)          # doctest: +SKIP
>>> kwc.save(model, "model.kwc")       # doctest: +SKIP
>>> kwc.load("model.kwc", into=other)  # doctest: +SKIP

Importing the package does not import TensorFlow; the verbs on models do.
"""

import importlib
import importlib.metadata
from typing import Any

__version__ = importlib.metadata.version("kwc")

_LAZY = {
    "Chain": "kwc.compressor",
    "CompressionError": "kwc.compressor",
    "Variables": "kwc.compressor",
    "WeightCompressor": "kwc.compressor",
    "WeightInfo": "kwc.compressor",
    "ArtifactError": "kwc.artifact",
    "Rule": "kwc.spec",
    "Spec": "kwc.spec",
    "SpecError": "kwc.spec",
    "compress": "kwc.model",
    "decompress": "kwc.model",
    "export": "kwc.exports",
    "ExportError": "kwc.exports",
    "load": "kwc.model",
    "save": "kwc.model",
}

_MODULES = ("algorithms", "paths", "runtime", "schedules")

__all__ = [*_LAZY, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"kwc.{name}")
    raise AttributeError(f"module 'kwc' has no attribute {name!r}")
