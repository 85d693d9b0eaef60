"""Model Garden's own vision drivers train every family with --gin_file alone, and resume."""

import importlib

import gin
import model_garden
import pytest
import tensorflow as tf
import training
from official.core import task_factory, train_utils
from official.modeling import hyperparams

import kwc
from experiments.coverage import small
from experiments.coverage.records import vision
from kwc import task as kwc_task

VISION = "official.vision.train"
MOVINET = "official.projects.movinet.train"
YOLO = "official.projects.yolo.train"

# The experiment of each family, its driver, and the metric that its evaluation must write.
CHEAPEST = ("resnet_imagenet", VISION, "accuracy")
FAMILIES = [
    ("mobilenet_imagenet", VISION, "accuracy"),
    ("deit_imagenet_pretrain", VISION, "accuracy"),
    ("retinanet_resnetfpn_coco", VISION, "AP"),
    ("maskrcnn_resnetfpn_coco", VISION, "mask_AP"),
    ("yolo_darknet", YOLO, "AP"),
    ("coco_yolov7_pico", YOLO, "AP"),
    ("seg_deeplabv3plus_pascal", VISION, "mean_iou"),
    ("video_classification_kinetics400", VISION, "accuracy"),
    ("movinet_kinetics600", MOVINET, "accuracy"),
]

pytestmark = pytest.mark.usefixtures("as_new_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    vision.write(folder)
    return folder


@pytest.mark.filterwarnings("ignore:The initializer:UserWarning")  # YOLOv7 shares one.
@pytest.mark.parametrize(
    ("name", "driver", "metric"),
    [CHEAPEST, *(pytest.param(*family, marks=pytest.mark.slow) for family in FAMILIES)],
)
def test_stock_driver_trains_and_resumes(name, driver, metric, data, tmp_path):
    importlib.import_module(driver)  # It registers its experiments.
    params = small.params(name, data)
    config = tmp_path / "small.yaml"
    hyperparams.save_params_dict_to_yaml(params, str(config))
    folder = tmp_path / "run"
    training.train_and_resume(driver, name, config, folder)
    training.check_curves(folder, metric)

    report = save(params, folder)
    assert any("quantization(" in row.algorithm for row in report)
    assert report.sizes.file_bytes < report.dense_bytes / 2


def save(params, folder):
    """Writes the artifact of the last checkpoint; returns the report."""
    gin.parse_config_file(str(model_garden.SPECS / "quantization.gin"))
    task = task_factory.get_task(params.task, logging_dir=str(folder))
    trainer = train_utils.create_trainer(params, task, train=True, evaluate=True)
    trainer.checkpoint.restore(tf.train.latest_checkpoint(folder)).expect_partial()
    kwc_task.adopt_average(trainer)
    return kwc.save(trainer.model, folder / "model.kwc")
