"""Model Garden's own NLP driver trains every family with --gin_file alone, and resumes."""

import re

import pytest
import tensorflow as tf
import training
from official.modeling import hyperparams

from experiments import registry_imports  # noqa: F401  (registers the experiments)
from experiments.coverage import small
from experiments.coverage.records import text

# The experiment of each family, a metric of its evaluation, and the layer in its checkpoints that
# is compressed though the model makes it only when it is first called, if there is such.
CHEAPEST = ("bert/tagging", "f1", None)
FAMILIES = [
    ("bert/sentence_prediction", "cls_accuracy", None),
    ("bert/squad", "final_f1", None),
    ("bert/pretraining", "masked_lm_accuracy", "masked_lm/dense"),
    ("electra/pretraining", "discriminator_accuracy", "discriminator_head"),
    ("wmt_transformer/large", "bleu_score", "decoder_layer"),
]
COMPRESSED = re.compile(r"(.+)/_kwc_(kernel|embeddings)/params/")
PLAIN = re.compile(r"(.+)/(kernel|embeddings)/\.ATTRIBUTES/")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    text.write(folder)
    return folder


@pytest.mark.parametrize(
    ("experiment", "metric", "lazy"),
    [CHEAPEST, *(pytest.param(*family, marks=pytest.mark.slow) for family in FAMILIES)],
)
def test_stock_driver_trains_and_resumes(experiment, metric, lazy, data, tmp_path):
    config = tmp_path / "small.yaml"
    hyperparams.save_params_dict_to_yaml(small.params(experiment, data), str(config))
    folder = tmp_path / "run"
    training.train_and_resume("official.nlp.train", experiment, config, folder)
    training.check_curves(folder, metric)

    names = [name for name, _ in tf.train.list_variables(folder)]
    compressed = {found[1] for name in names if (found := COMPRESSED.match(name))}
    assert not [name for name in names if PLAIN.match(name)]
    assert any((lazy or "") in layer for layer in compressed)
