"""The small data sets of text: reproducible, and what Model Garden's own converters make."""

import pytest
import tensorflow as tf
from official.nlp.data import classifier_data_lib, squad_lib, tagging_data_lib
from official.nlp.tools import tokenization

from experiments.coverage.records import text


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    text.write(folder)
    return folder


@pytest.fixture
def tokenizer(data):
    return tokenization.FullTokenizer(str(data / "vocabulary.txt"))


def read(path):
    """Returns the features of each record, by name."""
    return [
        {
            name: list(getattr(feature, feature.WhichOneof("kind")).value)
            for name, feature in tf.train.Example.FromString(record).features.feature.items()
        }
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def check(folder, name, converted):
    """Checks that records hold the features that a converter wrote, and no others but ids."""
    written = read(folder / f"{name}.tfrecord")
    expected = [{key: row[key] for key in written[0]} for row in read(converted)]
    assert written == expected


def test_the_same_bytes_every_time_and_once(data, tmp_path):
    text.write(tmp_path)
    files = {path.name: path.read_bytes() for path in data.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    (tmp_path / "tagging.tfrecord").write_bytes(b"of the user")
    text.write(tmp_path)
    assert (tmp_path / "tagging.tfrecord").read_bytes() == b"of the user"


def test_sentences_are_what_the_converter_makes(data, tokenizer, tmp_path):
    sentences = read(data / "sentence_prediction_text.tfrecord")
    examples = [
        classifier_data_lib.InputExample(None, row["sentence"][0].decode(), label=row["label"][0])
        for row in sentences
    ]
    converted = tmp_path / "converted"
    classifier_data_lib.file_based_convert_examples_to_features(
        examples, [0, 1], text.LENGTH, tokenizer, str(converted)
    )
    check(data, "sentence_prediction", converted)


def test_questions_are_what_the_converter_makes(data, tmp_path):
    converted = tmp_path / "converted"
    squad_lib.generate_tf_record_from_json_file(
        str(data / "questions.json"),
        str(data / "vocabulary.txt"),
        str(converted),
        max_seq_length=text.LENGTH,
    )
    check(data, "question_answering", converted)


def test_tags_are_what_the_converter_makes(data, tokenizer, tmp_path):
    examples = []
    for row in read(data / "tagging.tfrecord"):
        length = sum(row["input_mask"])
        words = tokenizer.convert_ids_to_tokens(row["input_ids"][1 : length - 1])
        labels = row["label_ids"][1 : length - 1]
        examples.append(tagging_data_lib.InputExample(0, words=words, label_ids=labels))
    converted = tmp_path / "converted"
    tagging_data_lib.write_example_to_file(examples, tokenizer, text.LENGTH, str(converted))
    check(data, "tagging", converted)


def test_masked_words_are_told_and_hidden(data):
    for row in read(data / "pretraining.tfrecord"):
        assert all(row["input_ids"][place] == text.MASK for place in row["masked_lm_positions"])
        assert all(word > text.MASK for word in row["masked_lm_ids"])
        assert row["input_ids"].count(text.MASK) == text.PREDICTIONS
