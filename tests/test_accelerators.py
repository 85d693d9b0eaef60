"""What accelerators ask of a train step: low precision, and a graph that compiles as a whole."""

import functools

import gin
import model_garden
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from algorithms import ROWS
from models import dense
from official.core import task_factory, train_utils
from tensorflow.python.framework import kernels

import kwc
from experiments import events, runner, trial
from kwc.compressor import CompressionError, Variables, WeightCompressor
from kwc.task import CompressionTrainer

STEPS = 6
EVERY = [row.compressor for row in ROWS]
# Most of what a test here takes is tracing, so that one algorithm stands for all in `make test`.
specs = pytest.mark.parametrize(
    "spec",
    [
        "pruning",
        *(
            pytest.param(spec, marks=pytest.mark.slow)
            for spec in ("quantization", "clustering", "low_rank")
        ),
    ],
)


@pytest.fixture(autouse=True)
def clean():
    """Gin, the random state and the precision as a new process has them."""
    restart()
    yield
    restart()


def restart():
    gin.clear_config()
    tf_keras.backend.clear_session()
    tf_keras.mixed_precision.set_global_policy("float32")
    tf_keras.utils.set_random_seed(0)


def configure(images, units=(300, 100), optimizer="adam", learning_rate=0.001, **runtime):
    task = model_garden.images_task(images)
    backbone = {"type": "lenet_300_100", "lenet_300_100": {"units": list(units)}}
    task["model"] |= {"backbone": backbone}
    trainer = model_garden.trainer(STEPS, steps_per_loop=1, summary_interval=1)
    trainer["optimizer_config"] |= {
        "optimizer": {"type": optimizer},
        "learning_rate": {"type": "constant", "constant": {"learning_rate": learning_rate}},
    }
    return trial.Experiment(
        "lenet_300_100_mnist", task=task, trainer=trainer, runtime=runtime
    ).params()


def losses(images, spec, folder, **runtime):
    """The losses of a run of our driver, whose artifact is checked."""
    restart()
    gin.parse_config_files_and_bindings(
        [str(model_garden.SPECS / f"{spec}.gin")], [f"RATE = {model_garden.RATES[spec]}"]
    )
    content = runner.run(
        configure(images, **runtime), "train", folder, name="of this test", is_one_of_many=True
    )
    # NumPy sums the product of two factors in another order than TensorFlow.
    model_garden.assert_same_metrics(content, 1e-4 if spec == "low_rank" else 1e-6)
    return [loss for _, loss in events.scalars(folder / "train")["training_loss"]]


@specs
def test_low_precision_trains_like_float32(spec, images, tmp_path):
    """Masters, masks and artifacts are those of float32; only the layers compute in less."""
    full = losses(images, spec, tmp_path / "float32")
    half = losses(
        images, spec, tmp_path / "half", mixed_precision_dtype="float16", loss_scale="dynamic"
    )
    brain = losses(images, spec, tmp_path / "brain", mixed_precision_dtype="bfloat16")
    for less, unit in (half, 2**-10), (brain, 2**-7):
        assert less != full
        np.testing.assert_allclose(less[0], full[0], rtol=unit)
        # What a step rounds otherwise, the next ones build on.
        np.testing.assert_allclose(less, full, rtol=0.1)
    assert half != brain


def test_an_overflow_that_no_scaling_catches_makes_no_artifact(images, tmp_path):
    with pytest.raises((CompressionError, RuntimeError), match="NaN"):
        losses(images, "pruning", tmp_path, mixed_precision_dtype="float16", loss_scale=1e30)
    assert not (tmp_path / runner.ARTIFACT).exists()


class Watching(WeightCompressor):
    """Sums up what it is told of the gradients."""

    def init(self, weight, info, step, statistics):
        return Variables({"weight": weight}, {"sum": np.zeros(info.shape, np.float32)})

    def update(self, v, info, step, gradients):
        return Variables(v.params, {"sum": v.state["sum"] + gradients["weight"]})


def test_a_step_that_loss_scaling_skips_changes_no_state():
    model = dense()
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(tf_keras.optimizers.legacy.SGD(0.1))
    handle = kwc.compress(model, kwc.Spec([("dense/kernel", Watching()), (".*", None)]))
    handle.attach(optimizer)
    before = model.get_weights()

    def step(gradient):
        pairs = [(tf.fill(v.shape, gradient), v) for v in model.trainable_variables]
        optimizer.apply_gradients(pairs)

    step(float("inf"))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, handle.clock if then.dtype == np.int64 else then)
    step(1.0)
    (reparameterization,) = handle.reparameterizations
    np.testing.assert_array_equal(reparameterization.state["sum"], np.ones([4, 3]))
    assert handle.clock == 2


def trainer_of_every_algorithm(images, is_compiled):
    """The trainer of a model that has a layer for each of the conformance suite's algorithms."""
    restart()
    # Model Garden compiles for GPUs only; without a strategy, it does not look for one.
    runtime = {"distribution_strategy": "off", "num_gpus": 1, "enable_xla": is_compiled}
    params = configure(images, [16] * len(EVERY), "sgd", 0.01, **runtime)
    rules = [
        (f"backbone/dense{f'_{i}' if i else ''}/kernel", compressor)
        for i, compressor in enumerate(EVERY)
    ]
    trainer = functools.partial(
        CompressionTrainer, spec=kwc.Spec([*rules, (".*", None)]), rate_weight=0.1
    )
    task = task_factory.get_task(params.task)
    return train_utils.create_trainer(params, task, train=True, evaluate=False, trainer_cls=trainer)


def train(trainer):
    return [float(trainer.train(tf.constant(1))["training_loss"]) for _ in range(STEPS)]


def compiled_operations(function):
    """Types of the operations in those functions of a traced one that are compiled."""
    library = {f.signature.name: f for f in function.graph.as_graph_def().library.function}
    found = set()

    def visit(name):
        for node in library[name].node_def:
            found.add(node.op)
            values = node.attr.values()
            for called in (f.name for value in values for f in (value.func, *value.list.func)):
                if called:
                    visit(called)

    for name, function in library.items():
        if function.attr["_XlaMustCompile"].b:
            visit(name)
    return found


def test_the_train_step_of_every_algorithm_is_one_program_for_an_accelerator(images):
    """It needs the host for nothing: no Python, no printing, no summaries, no files."""
    trainer = trainer_of_every_algorithm(images, is_compiled=True)
    by_compiler = train(trainer)
    step = tf.function(trainer.train_step).get_concrete_function(iter(trainer.train_dataset))
    operations = compiled_operations(step)
    assert {"MatMul", "ResourceApplyGradientDescent", "DenseBincount"} <= operations
    for operation in operations:
        registered = kernels.get_registered_kernels_for_op(operation).kernel
        assert "XLA_GPU_JIT" in {kernel.device_type for kernel in registered}, operation
    assert trainer.compression.clock == STEPS

    np.testing.assert_allclose(
        by_compiler, train(trainer_of_every_algorithm(images, is_compiled=False)), rtol=0.01
    )
