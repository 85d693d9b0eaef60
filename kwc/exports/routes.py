"""What a route is: one way to hold a compressed model in a file that others run."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from kwc import artifact
from kwc.artifact import CodedWeight
from kwc.exports.errors import ExportError
from kwc.exports.layout import Layout
from kwc.exports.signatures import SIGNATURE
from kwc.exports.source import Source
from kwc.report import describe

TARGETS = ("tflite", "saved_model", "keras")
TIMES = ("before", "during")
AUTO = "auto"
_DENSE = {"tflite": "float32", "saved_model": "float32", "keras": "keras"}
# Keras can save more models as a folder than as a file.
_SUFFIXES = {"tflite": ".tflite", "saved_model": "", "keras": ""}
_TELLING = {
    ".tflite": "tflite",
    ".keras": "keras",
    ".h5": "keras",
    artifact.SUFFIX: "a packed file",
}
"""What a suffix promises: a target, or an artifact that also holds one."""


@dataclasses.dataclass(frozen=True)
class Place:
    """One tensor of a written file that has a weight's decoded value when the file is run.

    Attributes:
        tensor: what the file calls it; `WrittenModel.decoded` takes this name.
        layout: how the value lies in it.
    """

    tensor: str
    layout: Layout


@dataclasses.dataclass(frozen=True)
class Placed:
    """How a written file holds one weight.

    Attributes:
        form: the kind of constant, such as `int8`; `float32` for a plain one.
        arrays: what must be among the file's constants, in any shape: the compressed arrays.
        places: where the decoded value can be read when the file is run.
        reason: why a compressed weight is held as plain floats; empty if it is not.
    """

    form: str
    arrays: tuple[np.ndarray, ...] = ()
    places: tuple[Place, ...] = ()
    reason: str = ""

    @property
    def is_compressed(self) -> bool:
        """Whether the file holds compressed arrays in the place of the weight."""
        return bool(self.arrays)


class WrittenModel(Protocol):
    """A written file, read back as its users do."""

    def __call__(
        self, inputs: Mapping[str, np.ndarray], signature: str = SIGNATURE
    ) -> dict[str, np.ndarray]:
        """Runs one of its signatures: named inputs to named outputs, with a batch of any size."""

    def constants(self) -> Iterable[np.ndarray]:
        """Every array that the file holds."""

    def decoded(self, tensor: str) -> np.ndarray:
        """The value of the named tensor while the file is run."""


@dataclasses.dataclass(frozen=True)
class Route:
    """One way to export.

    Attributes:
        name: what `--route` calls it; unique among the routes to its target.
        to: the target: `tflite`, `saved_model` or `keras`.
        decompress: `before` if weights are decoded once, when the file is loaded, `during` if in
            every inference.
        about: one line for people: what it does and when it pays.
        tolerance: largest difference of outputs that it may cause, relative to the largest output;
            0 where decoded weights and kernels are those of the plain model.
        why_not: says why it cannot hold a compressed weight; returns "" if it can.
        write: writes the file or folder, and returns how each weight of the source is held.
        read: reads it back; of the source it may need how the model takes its inputs.
        suffix: what the name of its file must end with; empty where any does but that of artifacts.
    """

    name: str
    to: str
    decompress: str
    about: str
    tolerance: float
    why_not: Callable[[CodedWeight], str]
    write: Callable[[Source, pathlib.Path], dict[str, Placed]]
    read: Callable[[Source, pathlib.Path], WrittenModel]
    suffix: str = ""

    @property
    def default_name(self) -> str:
        """What its file is called where nobody has named it."""
        return f"model{self.suffix or _SUFFIXES[self.to]}"

    def check_name(self, path: pathlib.Path) -> None:
        """Raises `ExportError` if its file cannot have that name."""
        if self.suffix and path.suffix != self.suffix:
            name = path.with_suffix(self.suffix).name
            raise ExportError(
                f"The route {self.name} writes a {self.suffix} file; call it {name}, not "
                f"{path.name}."
            )
        if not self.suffix and _TELLING.get(path.suffix, self.to) != self.to:
            raise ExportError(
                f"The route {self.name} to {self.to} writes no {path.suffix} file, which "
                f"{path.name} would be; give it another suffix."
            )

    def check_holds_any(self, source: Source) -> None:
        """Raises `ExportError` if no compressed weight of the source can be held."""
        reasons = {}
        for path, weight in source.compressed.items():
            reasons[path] = self.why_not(weight)
            if not reasons[path]:
                return
        if reasons:
            path, reason = next(iter(reasons.items()))
            algorithm = describe(source.weights[path].compressor)
            raise ExportError(
                f"The route {self.name} cannot hold {path}, {algorithm}: {reason}. It holds none "
                f"of the {len(reasons)} compressed weights."
            )


def anything(weight: CodedWeight) -> str:
    """The `why_not` of routes that hold every weight."""
    return ""


_registry: dict[tuple[str, str], Route] = {}


def register(route: Route) -> Route:
    """Adds a route; the earlier of those that apply is the one to take without measuring."""
    key = (route.to, route.name)
    if route.to not in TARGETS or route.decompress not in TIMES or key in _registry:
        raise ValueError(f"{key} is taken, or no route to {TARGETS} that decompresses {TIMES}.")
    _registry[key] = route
    return route


def registered() -> list[Route]:
    """Every route, in the order of registration."""
    return list(_registry.values())


def dense(to: str) -> Route:
    """The route to a target that holds all weights plainly, which others are compared with."""
    return _registry[to, _DENSE[to]]


def asked_for(to: str, decompress: str, name: str = AUTO) -> list[Route]:
    """Returns the routes that a request allows: the named one, or all for `auto`.

    Raises:
        ExportError: there is none; the message lists those that there are.
    """
    if to not in TARGETS or decompress not in TIMES:
        raise ExportError(
            f"There is no export to {to!r} that decompresses {decompress!r}: to is one of "
            f"{', '.join(TARGETS)}, decompress one of {', '.join(TIMES)}."
        )
    fitting = [r for r in registered() if (r.to, r.decompress) == (to, decompress)]
    if name == AUTO and fitting:
        return fitting
    chosen = [route for route in fitting if route.name == name]
    if not chosen:
        known = ", ".join(f"{r.name} (to={r.to}, decompress={r.decompress})" for r in registered())
        raise ExportError(
            f"There is no route {name!r} to {to} that decompresses {decompress} inference. There "
            f"are: {known}."
        )
    return chosen
