"""The two LeNets that papers on weight compression report, as Model Garden experiments.

Importing this module registers the backbones `lenet_300_100` and `lenet5_caffe` and the
experiments `lenet_300_100_mnist` and `lenet5_mnist` of the stock `image_classification` task.
"""

import dataclasses

import tf_keras
from official.core import config_definitions as cfg
from official.core import exp_factory
from official.modeling import hyperparams, optimization
from official.vision.configs import backbones, image_classification
from official.vision.modeling.backbones import factory

layers = tf_keras.layers


@dataclasses.dataclass
class LeNet300100(hyperparams.Config):
    """Two dense layers; with the classifier 266,610 weights on 28x28 images."""

    units: tuple[int, ...] = (300, 100)


@dataclasses.dataclass
class LeNet5Caffe(hyperparams.Config):
    """Two 5x5 convolutions and a dense layer; with the classifier 431,080 weights on 28x28.

    Caffe's own has no activation after its convolutions. Papers and libraries that report its
    compression give them ReLUs: `conv_activation` 'relu'.
    """

    filters: tuple[int, ...] = (20, 50)
    units: int = 500
    conv_activation: str = "linear"


@dataclasses.dataclass
class Backbone(backbones.Backbone):
    """Model Garden's backbones and the two LeNets."""

    lenet_300_100: LeNet300100 = dataclasses.field(default_factory=LeNet300100)
    lenet5_caffe: LeNet5Caffe = dataclasses.field(default_factory=LeNet5Caffe)


@tf_keras.utils.register_keras_serializable("kwc")
class Grey(layers.Layer):
    """Averages the channels of [batch, height, width, channels] into one.

    Model Garden decodes every image to three channels; LeNet's weights see one.
    """

    def call(self, inputs):
        return tf_keras.backend.mean(inputs, axis=-1, keepdims=True)


@factory.register_backbone_builder("lenet_300_100")
def build_lenet_300_100(
    input_specs, backbone_config, norm_activation_config, l2_regularizer=None
) -> tf_keras.Model:
    """Builds the backbone of LeNet-300-100; its features are float [batch, 100]."""
    inputs = tf_keras.Input(input_specs.shape[1:])
    x = layers.Flatten()(Grey()(inputs))
    for units in backbone_config.get().units:
        x = layers.Dense(
            units, norm_activation_config.activation, kernel_regularizer=l2_regularizer
        )(x)
    return _backbone(inputs, x)


@factory.register_backbone_builder("lenet5_caffe")
def build_lenet5_caffe(
    input_specs, backbone_config, norm_activation_config, l2_regularizer=None
) -> tf_keras.Model:
    """Builds the backbone of Caffe's LeNet-5; its features are float [batch, 500].

    The convolutions have an activation of their own, and max pooling follows them.
    """
    config = backbone_config.get()
    inputs = tf_keras.Input(input_specs.shape[1:])
    x = Grey()(inputs)
    for filters in config.filters:
        x = layers.Conv2D(
            filters, 5, activation=config.conv_activation, kernel_regularizer=l2_regularizer
        )(x)
        x = layers.MaxPool2D(2)(x)
    x = layers.Dense(
        config.units, norm_activation_config.activation, kernel_regularizer=l2_regularizer
    )(layers.Flatten()(x))
    return _backbone(inputs, x)


def _backbone(inputs, features) -> tf_keras.Model:
    """Returns a backbone of one endpoint; features of rank 2 pass the head's pooling untouched."""
    model = tf_keras.Model(inputs, {"1": features})
    model.output_specs = {"1": features.shape}
    return model


@exp_factory.register_config_factory("lenet_300_100_mnist")
def lenet_300_100_mnist() -> cfg.ExperimentConfig:
    """LeNet-300-100 on `mnist_5k`."""
    return _mnist("lenet_300_100")


@exp_factory.register_config_factory("lenet5_mnist")
def lenet5_mnist() -> cfg.ExperimentConfig:
    """Caffe's LeNet-5 on `mnist_5k`."""
    return _mnist("lenet5_caffe")


def _mnist(backbone: str) -> cfg.ExperimentConfig:
    return cfg.ExperimentConfig(
        task=image_classification.ImageClassificationTask(
            model=image_classification.ImageClassificationModel(
                num_classes=10,
                input_size=[28, 28, 3],
                backbone=Backbone(type=backbone),
                kernel_initializer="glorot_uniform",
            ),
            train_data=_data("train", is_training=True, global_batch_size=128),
            validation_data=_data(
                "validation", is_training=False, global_batch_size=100, drop_remainder=False
            ),
        ),
        trainer=cfg.TrainerConfig(
            train_steps=2000,
            steps_per_loop=100,
            summary_interval=100,
            checkpoint_interval=500,
            validation_interval=500,
            validation_steps=-1,  # All of the split.
            optimizer_config=optimization.OptimizationConfig(
                {
                    "optimizer": {"type": "adam"},
                    "learning_rate": {"type": "constant", "constant": {"learning_rate": 1e-3}},
                }
            ),
        ),
        restrictions=[
            "task.train_data.is_training != None",
            "task.validation_data.is_training != None",
        ],
    )


def _data(split: str, **overrides) -> image_classification.DataConfig:
    """Returns the input of lossless images without augmentation, decoded once and kept."""
    return image_classification.DataConfig(
        input_path=f"data/mnist_5k/{split}.tfrecord",
        decode_jpeg_only=False,
        aug_crop=False,
        aug_rand_hflip=False,
        cache=True,
        **overrides,
    )
