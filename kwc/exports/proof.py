"""The proof that a written file is right and small, before it gets its name."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

from kwc.exports import layout
from kwc.exports.errors import ProofError
from kwc.exports.routes import Placed, Route, WrittenModel
from kwc.exports.signatures import Signature
from kwc.exports.source import Source

ROUNDING = 1e-4
"""How far outputs may be apart because sums are taken in another order, to the largest output."""
EXACT = 1e-6
"""How far decoded weights may be apart where a route is exact, to the largest: a few roundings."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """What was found.

    Attributes:
        error: largest difference of outputs from the model's own, relative to the largest output.
        weight_error: the same of the weights that the file decodes when it is run; None if it
            decodes none.
        found: compressed arrays that were found in the file.
        nbytes: length of the file, or of all files of a folder.
    """

    error: float
    weight_error: float | None
    found: int
    nbytes: int


def prove(source: Source, route: Route, path: pathlib.Path, placed: Mapping[str, Placed]) -> Proof:
    """Reads a written file back, and checks it against the model that it was written from.

    The file holds every compressed array that the route says it holds, and no plain copy of such a
    weight. It decodes them to the model's weights, and computes the model's outputs, on one example
    and on all.

    Raises:
        ProofError: it does not; the message names the check and the weight.
    """
    written = route.read(source, path)
    found = _check_constants(source, route, written, placed)
    weight_error = _check_weights(source, route, written, placed)
    error = max(
        _check_outputs(signature, route, written, name, size)
        for name, signature in source.signatures.items()
        for size in (1, signature.examples)
    )
    return Proof(error, weight_error, found, size_of(path))


def size_of(path: pathlib.Path) -> int:
    """Length of a file in bytes, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def relative_error(value: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, over the largest expected magnitude; infinite if not finite.

    >>> relative_error(np.array([1.0, 2.5]), np.array([1.0, 2.0]))
    0.25
    """
    if value.shape != expected.shape:
        return float("inf")
    difference = np.abs(value.astype(np.float64) - expected.astype(np.float64))
    largest = float(np.max(np.abs(expected), initial=0.0)) or 1.0
    error = float(np.max(difference, initial=0.0)) / largest
    return error if np.isfinite(error) else float("inf")


def _check_constants(
    source: Source, route: Route, written: WrittenModel, placed: Mapping[str, Placed]
) -> int:
    """Counts the compressed arrays; refuses a file that lacks one, or holds a weight plainly."""
    constants = list(written.constants())
    there = Counter(map(_content, constants))
    plain: dict[int, list[np.ndarray]] = {}
    for array in constants:
        if array.dtype == np.float32:
            plain.setdefault(array.size, []).append(array)
    found = 0
    for path, how in placed.items():
        for array in how.arrays:
            if not there[_content(array)]:
                raise _failed(
                    "compressed arrays",
                    f"an array of {path}, {array.dtype} of shape {array.shape}, is not in the file",
                    route,
                )
            found += 1
        if not how.is_compressed:
            continue
        held = set(map(_content, how.arrays))
        candidates = [a for a in plain.get(_size(source, path), ()) if _content(a) not in held]
        if candidates:
            value = source.weights[path].decompress()
            for array in candidates:
                if layout.find(value, array) is not None:
                    raise _failed(
                        "folded weights",
                        f"{path} is in the file as {array.size} plain floats as well: the "
                        "converter has decoded it",
                        route,
                    )
    return found


def _check_weights(
    source: Source, route: Route, written: WrittenModel, placed: Mapping[str, Placed]
) -> float | None:
    errors = []
    for path, how in placed.items():
        value = source.weights[path].decompress() if how.places else None
        for place in how.places:
            error = relative_error(written.decoded(place.tensor), place.layout.apply(value))
            if error > max(route.tolerance, EXACT):
                raise _failed(
                    "decoded weights",
                    f"{path} decodes to values that are {error:.1e} of the largest apart",
                    route,
                )
            errors.append(error)
    return max(errors, default=None)


def _check_outputs(
    signature: Signature, route: Route, written: WrittenModel, name: str, size: int
) -> float:
    expected = signature.outputs(size)
    outputs = written(signature.batch(size), name)
    if outputs.keys() != expected.keys():
        raise _failed("outputs", f"it has {sorted(outputs)}, the model {sorted(expected)}", route)
    errors = {key: relative_error(outputs[key], value) for key, value in expected.items()}
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] > route.tolerance + ROUNDING:
        raise _failed(
            "outputs",
            f"with a batch of {size}, {worst} of {name} is {errors[worst]:.1e} of its largest "
            f"value apart from the model's; {route.tolerance + ROUNDING:.1e} is allowed",
            route,
        )
    return errors[worst]


def _failed(check: str, what: str, route: Route) -> ProofError:
    return ProofError(
        f"The proof of the route {route.name} failed, and no file was written. Check of {check}: "
        f"{what}. Take another route, and report this."
    )


def _content(array: np.ndarray) -> tuple[str, int, bytes]:
    """What is equal for equal arrays of any shape."""
    data = np.ascontiguousarray(array)
    return data.dtype.name, data.size, hashlib.sha256(data.tobytes()).digest()


def _size(source: Source, path: str) -> int:
    return source.weights[path].info.size
