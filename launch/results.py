"""Reads `result.json`, the last file that a finished trial writes."""

import json
import math
import pathlib
from typing import Any

from launch import index
from launch.errors import LaunchError

SCHEMA = 1

Result = dict[str, Any]

_METRIC_SETS = ("dense", "training_graph", "artifact")
_SIZES = (
    "weights",
    "nonzeros",
    "macs",
    "dense_bytes",
    "dense_zipped_bytes",
    "file_bytes",
    "payload_bytes",
    "zipped_bytes",
    "bits_estimated",
)


class UnknownSchemaError(LaunchError):
    """A result that another version of kwc wrote: sound, but not ours to read or replace."""


def without_weights(text: str) -> Any:
    """Parses a `result.json` but for the figures of each weight, which are most of it."""
    content = json.loads(text)
    if isinstance(content, dict):
        content.pop("weights", None)
    return content


def read(
    path: pathlib.Path, read_file: index.Read = index.read_now, parse: index.Parse = json.loads
) -> Result:
    """Reads one result.

    Args:
        path: A `result.json`.
        read_file: Reads a file; that of an `Index` remembers what it has read.
        parse: Makes a JSON value of its text.

    Returns:
        The result, schema 1, with every metric set and size present or None.

    Raises:
        LaunchError: If it is missing, not JSON, or lacks what a report needs.
        UnknownSchemaError: If it has another schema.
    """
    try:
        result = read_file(path, parse)
        schema = result["schema"]
        if schema == SCHEMA:
            _check(result)
            return result
    except OSError as error:
        raise LaunchError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LaunchError(
            f"{path} is damaged ({error!r}); run the sweep with --retry-failed"
        ) from error
    raise UnknownSchemaError(
        f"{path} has schema {schema!r}, this kwc reads {SCHEMA}: "
        f"update kwc, or delete {path.parent} to run the trial again"
    )


def primary(result: Result, metric_set: str) -> float | None:
    """Returns the primary metric of `dense`, `training_graph` or `artifact`, if measured."""
    return (result["metrics"][metric_set] or {}).get(result["primary_metric"])


def headline(result: Result) -> str:
    """Returns what a trial came to, in a few words.

    Example:
        >>> metrics = {"dense": None, "training_graph": None, "artifact": {"accuracy": 0.982}}
        >>> sizes = {"dense_bytes": 1000, "file_bytes": 250}
        >>> headline({"primary_metric": "accuracy", "metrics": metrics, "sizes": sizes})
        '98.20 %, 250 bytes'
    """
    sizes = result["sizes"]
    if sizes["file_bytes"] is None:
        value, size = primary(result, "dense"), sizes["dense_bytes"]
    else:
        value, size = primary(result, "artifact"), sizes["file_bytes"]
    return f"{size:,} bytes" if value is None else f"{100 * value:.2f} %, {size:,} bytes"


def _check(result: Result) -> None:
    """Raises KeyError, TypeError or ValueError where a report would stumble later."""
    sizes = result["sizes"] = {key: result["sizes"].get(key) for key in _SIZES}
    metrics = result["metrics"] = {key: result["metrics"].get(key) for key in _METRIC_SETS}
    _ = result["primary_metric"], result["steps"], result["seed"], result["timings"].keys()
    for name in ("weights", "dense_bytes"):
        if not isinstance(sizes[name], int):
            raise TypeError(f"sizes.{name} is {sizes[name]!r}")
    if not any(primary(result, name) is not None for name in metrics):
        raise ValueError(f"no {result['primary_metric']} in metrics")
    for name in metrics:
        if not math.isfinite(primary(result, name) or 0):
            raise ValueError(f"{name} {result['primary_metric']} is {primary(result, name)}")
