"""The header of a file of version 1: JSON text. Such files are read for ever and not written."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from kwc import coding
from kwc.artifact.declared import (
    MAX_ELEMENTS,
    DeclaredArray,
    DeclaredWeight,
    Header,
    checked,
    checked_coder,
    checked_config,
    checked_integer,
    checked_name,
    checked_object,
    checked_shape,
    no_constant,
    weight_info,
)
from kwc.artifact.errors import short


def parse(text: bytes, payload_bytes: int) -> Header:
    """Reads a header and checks all of it.

    Args:
        text: the header.
        payload_bytes: length of all codes in the file.

    Raises:
        ValueError: it is not as the format says; the message says where.
    """
    try:
        header = checked_object(json.loads(str(text, "utf-8"), parse_constant=no_constant))
        if not {"algorithms", "weights"} <= header.keys() <= {"algorithms", "weights", "metadata"}:
            raise ValueError(f"it has the keys {short(sorted(header))}")
        kinds = [_algorithm(kind) for kind in _list(header["algorithms"])]
        weights = [_weight(entry, len(kinds)) for entry in _list(header["weights"])]
        metadata = checked_object(header.get("metadata", {}))
        declared = checked(Header(kinds, weights, metadata))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if sum(declared.lengths) != payload_bytes:
        raise ValueError(
            f"it declares {sum(declared.lengths)} bytes of arrays and the file holds "
            f"{payload_bytes}"
        )
    return declared


def _algorithm(value: Any) -> tuple[str, dict[str, Any]]:
    name, config = _list(value, 2)
    return checked_name(name), checked_config(config)


def _weight(value: Any, kinds: int) -> DeclaredWeight:
    path, dtype, shape, kind, arrays, *axes = _list(value, 5, 6)
    shape = checked_shape(_list(shape))
    outputs = [checked_integer(axis, len(shape)) for axis in _list(axes[0])] if axes else None
    info = weight_info(checked_name(path), shape, _dtype(dtype).name, outputs)
    arrays = tuple(map(_array, _list(arrays)))
    return DeclaredWeight(info, checked_integer(kind, kinds), arrays)


def _array(value: Any) -> DeclaredArray:
    name, dtype, shape, coder, nbytes = _list(value, 5)
    return DeclaredArray(
        checked_name(name),
        _dtype(dtype),
        checked_shape(_list(shape)),
        checked_coder(coder),
        checked_integer(nbytes, MAX_ELEMENTS),
    )


def _list(value: Any, *lengths: int) -> list:
    if not isinstance(value, list) or (lengths and len(value) not in lengths):
        of = f" of {' or '.join(map(str, lengths))}" if lengths else ""
        raise ValueError(f"{short(value)} stands where a list{of} belongs")
    return value


def _dtype(value: Any) -> np.dtype:
    if not isinstance(value, str):
        raise ValueError(f"{short(value)} is no dtype")
    return coding.dtype_from_name(value)
