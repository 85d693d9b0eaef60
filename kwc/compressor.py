"""The contract between a compression algorithm and everything else.

An algorithm knows one weight. It is a frozen dataclass of hyperparameters whose methods are pure:
what it trains and what it remembers is passed in and returned as `Variables`. It never sees a
layer, a model, a file or gin.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from etils import epy

from kwc import ops as kwc_ops
from kwc.schedules import Step

with epy.lazy_imports():
    import tensorflow as tf


class CompressionError(ValueError):
    """A model, rule, weight or file that kwc cannot take; the message names cause and mend."""


class RefusedError(CompressionError):
    """A kind of model that kwc does not take by decision, whatever its weights and the rules."""


@dataclasses.dataclass(frozen=True)
class WeightInfo:
    """What an algorithm may know about its weight.

    Attributes:
        path: structural path in the model, such as `encoder/layer_0/attention/kernel`.
        shape: shape of the weight, such as `(3, 3, 64, 128)`.
        dtype: name of its dtype, such as `float32`.
        input_axes: axes that are summed over when the layer uses the weight.
        output_axes: axes that number the output channels. Together the two name every axis once.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.input_axes and not self.output_axes:
            split = max(len(self.shape) - 1, 0)
            object.__setattr__(self, "input_axes", tuple(range(split)))
            object.__setattr__(self, "output_axes", tuple(range(split, len(self.shape))))
        if sorted(self.input_axes + self.output_axes) != list(range(len(self.shape))):
            raise ValueError(
                f"input_axes {self.input_axes} and output_axes {self.output_axes} must name each "
                f"axis of shape {self.shape} once."
            )

    @property
    def size(self) -> int:
        """Number of weights."""
        return kwc_ops.size(self.shape)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """`(rows, columns)`: the products of the input and of the output dimensions."""
        rows, columns = self.input_axes, self.output_axes
        return tuple(kwc_ops.size([self.shape[axis] for axis in axes]) for axes in (rows, columns))


class Variables(NamedTuple):
    """The named tensors that stand for one weight.

    Attributes:
        params: floating-point tensors that the optimizer trains.
        state: tensors that it does not train: masks, assignments, counters.
    """

    params: Mapping[str, Any] = {}
    state: Mapping[str, Any] = {}

    def as_tensors(self) -> Variables:
        """Returns the same with a tensor in place of each array or variable."""
        return Variables(*({k: tf.convert_to_tensor(x) for k, x in part.items()} for part in self))


@dataclasses.dataclass(frozen=True)
class WeightCompressor:
    """Base class of every algorithm. A subclass is a frozen dataclass of hyperparameters.

    The defaults describe an algorithm that trains the weight as it is and stores it exactly.
    `project`, `penalty` and `update`, called while a graph is traced, use TensorFlow; `init` and
    `compress` use NumPy; `decompress` uses only the operations of `kwc.ops`.

    Attributes:
        name: what artifacts call the algorithm; by default the class's name in snake_case.
        statistics: names of what `init` wants to know of the weight's use on calibration data:
            `input_moment`, `output_moment`, or both.
        file_fields: the hyperparameters that a file holds, if not all: those that `decompress` and
            `param_shapes` read, and what tells a reader of the file what it has. The others are
            None in an instance from a file.
    """

    name: ClassVar[str] = "weight_compressor"
    statistics: ClassVar[tuple[str, ...]] = ()
    file_fields: ClassVar[tuple[str, ...] | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls) and "__dataclass_params__" not in vars(cls):
            raise CompressionError(
                f"{cls.__qualname__} has an __init__: use the fields of a frozen dataclass instead."
            )
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    def check(self, info: WeightInfo) -> None:
        """Raises `CompressionError` if the algorithm cannot take a weight of this shape."""

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each array of `Variables.params`."""
        return {"weight": info.shape}

    def init(
        self,
        weight: np.ndarray,
        info: WeightInfo,
        step: Step,
        statistics: Mapping[str, np.ndarray],
    ) -> Variables:
        """Builds the variables from the pretrained weight. Called once per weight.

        Args:
            weight: float32 array of `info.shape`.
            info: the weight's shape and axes.
            step: `index` 0; `total` 0 for post-training compression.
            statistics: those of `self.statistics` that are known, float32. In the matrix view of
                `info.matrix_shape`, `input_moment` is the mean of x x^T over the rows x that
                multiply the weight, [rows, rows] or only its diagonal, [rows]; `output_moment` that
                of g g^T over the gradients g of the outputs, [columns, columns] or [columns].

        Returns:
            Variables of float32 params and of state of any dtype, as arrays.
        """
        return Variables(params={"weight": weight})

    def project(
        self, v: Variables, info: WeightInfo, training: bool | tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weight that the layer computes with. Called on every forward pass.

        Args:
            v: the current variables, as tensors.
            info: the weight's shape and axes.
            training: whether the layer runs in training mode.
            seed: int32 tensor [2] for `tf.random.stateless_*`; new at each step.

        Returns:
            float32 tensor of `info.shape`, differentiable with respect to `v.params`.
        """
        return v.params["weight"]

    def penalty(self, v: Variables, info: WeightInfo, seed: tf.Tensor) -> tf.Tensor | None:
        """Returns the expected bits of this weight, a float32 scalar, or None for no penalty.

        Args:
            v: the current variables, as tensors.
            info: the weight's shape and axes.
            seed: as `project` takes it.
        """
        return None

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        """Returns the multiple of the optimizer's learning rate for some params, by name.

        The change that the optimizer makes to such a param is multiplied, whichever optimizer it
        is. It is meant for few elements, such as steps and probabilities.
        """
        return {}

    def update(
        self, v: Variables, info: WeightInfo, step: Step, gradients: Mapping[str, tf.Tensor]
    ) -> Variables:
        """Returns the variables after an optimizer step; a tensor returned as it came is kept.

        Args:
            v: the variables after the optimizer's step.
            info: the weight's shape and axes.
            step: `index` counts the steps done, an int64 tensor.
            gradients: the step's gradient of each param, summed over replicas, computed when read;
                0 where it is not finite.
        """
        return v

    def compress(self, v: Variables, info: WeightInfo) -> dict[str, np.ndarray]:
        """Packs the variables into few named arrays of few distinct small values.

        No array may hold more elements than the weight. Where there is a bool array `mask`, the
        artifact stores the other arrays of its shape only where it is true, and 0 elsewhere.
        """
        return {"weight": np.asarray(v.params["weight"])}

    def decompress(self, ops: kwc_ops.Ops, packed: Mapping[str, Any], info: WeightInfo) -> Any:
        """Rebuilds the weight, of `info.shape`, from what `compress` returned."""
        return packed["weight"]

    @property
    def is_identity(self) -> bool:
        """Whether `project` returns the weight itself, so that nothing needs to be injected."""
        return False

    def config(self) -> dict[str, Any]:
        """Returns the hyperparameters as JSON values; a schedule is given by its final value."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {key: getattr(value, "final", value) for key, value in fields.items()}

    def file_config(self) -> dict[str, Any]:
        """Returns those hyperparameters that a file holds, as JSON values."""
        config, fields = self.config(), self.file_fields
        return config if fields is None else {name: config[name] for name in fields}

    def __rshift__(self, other: WeightCompressor) -> Chain:
        """`prune >> cluster`: the right algorithm compresses the params of the left one."""
        return Chain((*links(self), *links(other)))


def overrides(compressor: WeightCompressor, method: str) -> bool:
    """Whether the algorithm, or a link of a chain, has its own `penalty` or `update`."""
    default = getattr(WeightCompressor, method)
    return any(getattr(type(link), method) is not default for link in links(compressor))


def links(compressor: WeightCompressor) -> tuple[WeightCompressor, ...]:
    """Returns the algorithms that a compressor consists of: a chain's links, or itself alone."""
    return compressor.links if isinstance(compressor, Chain) else (compressor,)


@dataclasses.dataclass(frozen=True)
class Chain(WeightCompressor):
    """Several algorithms on one weight: each compresses the params of the one before it.

    The variables of the second link for the param `u` of the first are called `u/...`. The first
    link is projected and decompressed last, and so is its mask. Where it packs a `mask`, the arrays
    of later links are stored only where that is true.

    Attributes:
        links: two or more algorithms. All but the last pack what they train, under its name.
    """

    links: tuple[WeightCompressor, ...]

    def __post_init__(self):
        object.__setattr__(self, "links", tuple(self.links))
        if len(self.links) < 2 or not all(isinstance(x, WeightCompressor) for x in self.links):
            raise CompressionError(f"A chain needs two or more algorithms; got {self.links}.")

    @property
    def statistics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for link in self.links for name in link.statistics))

    @property
    def _first(self) -> WeightCompressor:
        return self.links[0]

    @property
    def _rest(self) -> WeightCompressor:
        return self.links[1] if len(self.links) == 2 else Chain(self.links[1:])

    def _infos(self, info: WeightInfo) -> dict[str, WeightInfo]:
        """The infos of the first link's params: its weight's axes where the shape is the same."""
        return {
            name: dataclasses.replace(info, path=f"{info.path}/{name}")
            if shape == info.shape
            else WeightInfo(f"{info.path}/{name}", shape)
            for name, shape in self._first.param_shapes(info).items()
        }

    def _outer(self, v: Variables, params: Mapping[str, Any]) -> Variables:
        return Variables(params, {k: x for k, x in v.state.items() if "/" not in k})

    @staticmethod
    def _inner(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
        prefix = f"{name}/"
        return {k.removeprefix(prefix): x for k, x in arrays.items() if k.startswith(prefix)}

    def _inner_variables(self, v: Variables, name: str) -> Variables:
        return Variables(self._inner(v.params, name), self._inner(v.state, name))

    def _projected(self, v: Variables, info: WeightInfo, training, seed) -> Variables:
        """The first link's variables, each param rebuilt by the rest of the chain."""
        params = {
            name: self._rest.project(self._inner_variables(v, name), inner, training, seed)
            for name, inner in self._infos(info).items()
        }
        return self._outer(v, params)

    def check(self, info: WeightInfo) -> None:
        self._first.check(info)
        for inner in self._infos(info).values():
            self._rest.check(inner)

    def param_shapes(self, info: WeightInfo) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}/{key}": shape
            for name, inner in self._infos(info).items()
            for key, shape in self._rest.param_shapes(inner).items()
        }

    def init(
        self,
        weight: np.ndarray,
        info: WeightInfo,
        step: Step,
        statistics: Mapping[str, np.ndarray],
    ) -> Variables:
        first = self._first.init(weight, info, step, statistics)
        self._check_packs_params(first, info)
        params, state = {}, dict(first.state)
        for name, inner in self._infos(info).items():
            known = statistics if inner.shape == info.shape else {}
            rest = self._rest.init(np.asarray(first.params[name]), inner, step, known)
            params |= {f"{name}/{key}": x for key, x in rest.params.items()}
            state |= {f"{name}/{key}": x for key, x in rest.state.items()}
        return Variables(params, state)

    def _check_packs_params(self, first: Variables, info: WeightInfo) -> None:
        """Refuses a first link whose file is the same whatever later links make of its params."""
        packed = self._first.compress(first.as_tensors(), info)
        if (hidden := first.params.keys() - packed.keys()) or not first.params:
            raise CompressionError(
                f"{self._first.name} cannot come before {self._rest.name} for {info.path}: it "
                f"trains {', '.join(sorted(hidden)) or 'nothing'} and stores other arrays, "
                f"{', '.join(sorted(packed))}. Put it last in the chain."
            )

    def project(self, v: Variables, info: WeightInfo, training, seed) -> tf.Tensor:
        return self._first.project(self._projected(v, info, training, seed), info, training, seed)

    def penalty(self, v: Variables, info: WeightInfo, seed: tf.Tensor) -> tf.Tensor | None:
        terms = [
            self._rest.penalty(self._inner_variables(v, name), inner, seed)
            for name, inner in self._infos(info).items()
        ]
        if overrides(self._first, "penalty"):
            projected = self._projected(v, info, True, seed)
            terms.append(self._first.penalty(projected, info, seed))
        terms = [term for term in terms if term is not None]
        return tf.add_n(terms) if terms else None

    def learning_rates(self, info: WeightInfo) -> dict[str, float]:
        multiples, first = {}, self._first.learning_rates(info)
        for name, inner in self._infos(info).items():
            own, rest = first.get(name, 1.0), self._rest.learning_rates(inner)
            for key in self._rest.param_shapes(inner):
                multiples[f"{name}/{key}"] = own * rest.get(key, 1.0)
        return multiples

    def update(
        self, v: Variables, info: WeightInfo, step: Step, gradients: Mapping[str, tf.Tensor]
    ) -> Variables:
        params, state = dict(v.params), dict(v.state)
        for name, inner in self._infos(info).items():
            rest = self._rest.update(
                self._inner_variables(v, name), inner, step, self._inner(gradients, name)
            )
            params |= {f"{name}/{key}": x for key, x in rest.params.items()}
            state |= {f"{name}/{key}": x for key, x in rest.state.items()}
        if overrides(self._first, "update"):
            projected = self._projected(v, info, False, tf.zeros([2], tf.int32))
            state |= self._first.update(projected, info, step, {}).state
        return Variables(params, state)

    def compress(self, v: Variables, info: WeightInfo) -> dict[str, np.ndarray]:
        projected = self._projected(v.as_tensors(), info, False, np.zeros(2, np.int32)).params
        params = {name: np.asarray(value) for name, value in projected.items()}
        own = self._first.compress(self._outer(v, params), info)
        packed = {name: array for name, array in own.items() if name not in params}
        for name, inner in self._infos(info).items():
            rest = self._rest.compress(self._inner_variables(v, name), inner)
            packed |= {f"{name}/{key}": array for key, array in rest.items()}
        return packed

    def decompress(self, ops: kwc_ops.Ops, packed: Mapping[str, Any], info: WeightInfo) -> Any:
        outer = {name: array for name, array in packed.items() if "/" not in name}
        for name, inner in self._infos(info).items():
            outer[name] = self._rest.decompress(ops, self._inner(packed, name), inner)
        return self._first.decompress(ops, outer, info)

    @property
    def is_identity(self) -> bool:
        return all(link.is_identity for link in self.links)

    def config(self) -> dict[str, Any]:
        return {"links": [[link.name, link.config()] for link in self.links]}

    def file_config(self) -> dict[str, Any]:
        return {"links": [[link.name, link.file_config()] for link in self.links]}
