"""The shipped algorithms, one file each, and the registry that artifacts name them by."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from kwc.algorithms.clustering import Clustering
from kwc.algorithms.entropy_constrained import EntropyConstrained
from kwc.algorithms.epr import EPR
from kwc.algorithms.fast_epr import FastEPR
from kwc.algorithms.lilnetx import LilNetX
from kwc.algorithms.lossless import Lossless
from kwc.algorithms.low_rank import LowRank
from kwc.algorithms.pruning import Pruning
from kwc.algorithms.quantization import Quantization
from kwc.algorithms.rate_quantization import RateQuantization
from kwc.compressor import Chain, CompressionError, WeightCompressor, links

ENTRY_POINTS = "kwc.algorithms"


class UnknownAlgorithmError(CompressionError):
    """No class is registered under the name that a file gives."""


_registry: dict[str, type[WeightCompressor]] = {}


def register(cls: type[WeightCompressor]) -> type[WeightCompressor]:
    """Class decorator that lets artifacts name an algorithm of your own.

    A package does the same for its users by an entry point in the group `kwc.algorithms`.

    Raises:
        CompressionError: another class has that name already.
    """
    taken = _registry.get(cls.name)
    if taken is not None and (taken.__module__, taken.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise CompressionError(
            f"The name {cls.name!r} of {cls.__qualname__} belongs to {taken.__module__}."
            f"{taken.__qualname__}; set another `name` on your class."
        )
    _registry[cls.name] = cls
    return cls


_SHIPPED = (
    Chain,
    Clustering,
    EntropyConstrained,
    EPR,
    FastEPR,
    LilNetX,
    Lossless,
    LowRank,
    Pruning,
    Quantization,
    RateQuantization,
)
for _cls in _SHIPPED:
    register(_cls)


def by_name(name: str, config: Mapping[str, Any]) -> WeightCompressor:
    """Rebuilds the algorithm that an artifact names.

    The name is only looked up among registered classes and installed entry points; nothing that a
    file says is imported. Hyperparameters that a file does not hold are None.

    >>> by_name("quantization", {"bits": 4})
    Quantization(bits=4)
    >>> by_name("pruning", {"sparsity": 0.5})
    Pruning(sparsity=0.5, interval=None)

    Raises:
        UnknownAlgorithmError: the name is unknown.
        CompressionError: the hyperparameters are not those of the class.
    """
    cls = _class_of(name)
    if cls is None:
        raise UnknownAlgorithmError(
            f"No algorithm is called {name!r}. Install the package that has it, or import the "
            "module that calls kwc.algorithms.register on its class (kwc COMMAND --import=MODULE). "
            f"There are {', '.join(sorted(_registry))}."
        )
    try:
        if name == Chain.name:
            return Chain(tuple(by_name(*link) for link in config["links"]))
        return _built(cls, config)
    except UnknownAlgorithmError:
        raise
    except (TypeError, KeyError, ValueError) as error:
        raise CompressionError(f"{name!r} cannot be built from {dict(config)}: {error}") from error


def check_registered(compressor: WeightCompressor) -> None:
    """Raises `UnknownAlgorithmError` if no reader would find an algorithm, or a link of a chain."""
    for link in links(compressor):
        if _class_of(link.name) is None:
            raise UnknownAlgorithmError(
                f"No file could name {type(link).__qualname__}: it is not registered. Write "
                "@kwc.algorithms.register above the class."
            )


def rebuilt(compressor: WeightCompressor, config: Mapping[str, Any]) -> WeightCompressor:
    """Returns the algorithm that a reader builds from a file, of the same classes.

    >>> rebuilt(Pruning(0.5, interval=10), {"sparsity": 0.5})
    Pruning(sparsity=0.5, interval=None)
    """
    if isinstance(compressor, Chain):
        each = zip(compressor.links, config["links"], strict=True)
        return Chain(tuple(rebuilt(link, known) for link, (_, known) in each))
    return _built(type(compressor), config)


def _class_of(name: str) -> type[WeightCompressor] | None:
    """Returns the class that is registered under a name, by an installed package too, or None."""
    if name not in _registry:
        for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS, name=name):
            register(entry_point.load())
    return _registry.get(name)


def _built(cls: type[WeightCompressor], config: Mapping[str, Any]) -> WeightCompressor:
    return cls(**_left_out(cls) | dict(config))


def _left_out(cls: type[WeightCompressor]) -> dict[str, None]:
    """Returns None for each hyperparameter that a file does not hold."""
    if cls.file_fields is None:
        return {}
    return {f.name: None for f in dataclasses.fields(cls) if f.name not in cls.file_fields}
