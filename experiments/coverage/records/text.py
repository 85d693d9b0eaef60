"""Small data sets of text, in a language of twenty-four words and their translations."""

import io
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import sentencepiece
import tensorflow as tf
from official.core import tf_example_builder

from experiments.coverage.records import whole

EXAMPLES = 16
LENGTH = 32
"""Tokens of a sequence, padding included."""

PREDICTIONS = 4
"""Masked tokens of a sequence."""

PEOPLE = ["anna", "boris", "clara", "david", "emma", "felix"]
PLACES = ["berlin", "cairo", "dublin", "lima", "oslo", "paris"]
VERBS = ["calls", "finds", "hears", "likes", "meets", "sees"]
REST = ["in", "and", "now", "then", "where", "often"]
WORDS = [*PEOPLE, *PLACES, *VERBS, *REST]

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
PAD, _, CLS, SEP, MASK = range(5)

PIECES = 64
"""Pieces of the tokenizer of translations."""


def write(folder: pathlib.Path) -> None:
    """Writes the data sets of text that a folder does not have yet."""
    for name, examples in _DATA_SETS.items():
        whole.records(folder / f"{name}.tfrecord", examples(np.random.default_rng(0)))
    for name, content in _FILES.items():
        whole.once(folder / name, lambda path, content=content: path.write_bytes(content()))


def sentence_prediction(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields sentences whose class is their first word's."""
    for sentence, label in _labelled(rng):
        yield _example(**_packed(sentence), label_ids=[label])


def sentence_prediction_text(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields the same sentences as text."""
    for sentence, label in _labelled(rng):
        yield _example(sentence=" ".join(sentence), label=[label])


def question_answering(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields questions, texts, and where in them the answer is."""
    for question, text, position in _questions(rng):
        place = [len(question) + 2 + position]
        answer = {"start_positions": place, "end_positions": place}
        yield _example(**_packed(question, text), **answer)


def tagging(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields sentences and the tag of each word: other, person, place."""
    for _ in range(EXAMPLES):
        sentence = _sentence(rng)
        tags = [1 if word in PEOPLE else 2 if word in PLACES else 0 for word in sentence]
        rest = [-1] * (LENGTH - len(tags) - 1)
        yield _example(**_packed(sentence), label_ids=[-1, *tags, *rest])


def pretraining(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields pairs of sentences, of which some are equal, with masked words."""
    for index in range(EXAMPLES):
        first = _sentence(rng)
        pair = [first, first if index % 2 else _sentence(rng)]
        packed = _packed(*pair)
        ids = np.array(packed["input_ids"])
        positions = np.sort(rng.choice(np.flatnonzero(ids > MASK), PREDICTIONS, replace=False))
        masked = ids.copy()
        masked[positions] = MASK
        yield _example(
            **packed | {"input_ids": masked},
            masked_lm_positions=positions,
            masked_lm_ids=ids[positions],
            masked_lm_weights=[1.0] * PREDICTIONS,
            next_sentence_labels=[index % 2],
        )


def documents(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields texts of some sentences, one a line."""
    for _ in range(EXAMPLES):
        yield _example(text="\n".join(" ".join(_sentence(rng)) for _ in range(4)))


def translation(rng: np.random.Generator) -> Iterator[tf.train.Example]:
    """Yields sentences and their translations, as text."""
    for _ in range(EXAMPLES):
        sentence = _sentence(rng)
        yield _example(en=" ".join(sentence), de=" ".join(map(_translated, sentence)))


def vocabulary() -> bytes:
    """Returns the words and special tokens, one a line."""
    return "".join(f"{word}\n" for word in VOCABULARY).encode()


def questions() -> bytes:
    """Returns the questions and texts in the format of SQuAD 1.1."""
    paragraphs = [
        {
            "context": " ".join(text),
            "qas": [
                {
                    "id": f"question {index}",
                    "question": " ".join(question),
                    "answers": [
                        {
                            "text": text[position],
                            "answer_start": len(" ".join([*text[:position], ""])),
                        }
                    ],
                }
            ],
        }
        for index, (question, text, position) in enumerate(_questions(np.random.default_rng(0)))
    ]
    return json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}).encode()


def pieces() -> bytes:
    """Returns a SentencePiece model of both languages, with the tokens that translation expects."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS + [_translated(word) for word in WORDS]),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    return model.getvalue()


_DATA_SETS = {
    "sentence_prediction": sentence_prediction,
    "sentence_prediction_text": sentence_prediction_text,
    "question_answering": question_answering,
    "tagging": tagging,
    "pretraining": pretraining,
    "documents": documents,
    "translation": translation,
}

_FILES = {"vocabulary.txt": vocabulary, "questions.json": questions, "pieces.model": pieces}


def _sentence(rng: np.random.Generator) -> list[str]:
    """A person does something with another in a place."""
    one, other = rng.choice(PEOPLE, 2, replace=False)
    when, verb, place = (rng.choice(words) for words in (["now", "then"], VERBS, PLACES))
    return [str(word) for word in (when, one, verb, other, "in", place)]


def _labelled(rng: np.random.Generator) -> Iterator[tuple[list[str], int]]:
    for _ in range(EXAMPLES):
        sentence = _sentence(rng)
        yield sentence, int(sentence[0] == "now")


def _questions(rng: np.random.Generator) -> Iterator[tuple[list[str], list[str], int]]:
    """Where somebody is, a text of two people and places, the position of the answer in it."""
    for index in range(EXAMPLES):
        people, places = (rng.choice(words, 2, replace=False) for words in (PEOPLE, PLACES))
        text = [str(people[0]), "in", str(places[0]), "and", str(people[1]), "in", str(places[1])]
        asked = index % 2
        yield ["where", str(people[asked])], text, 2 + 4 * asked


def _translated(word: str) -> str:
    return word[::-1]


def _packed(*segments: list[str]) -> dict[str, list[int]]:
    """The inputs of an encoder: ids, which of them are real, and of which segment each is."""
    ids, types = [CLS], [0]
    for index, segment in enumerate(segments):
        ids += [*map(VOCABULARY.index, segment), SEP]
        types += [index] * (len(segment) + 1)
    padding = [PAD] * (LENGTH - len(ids))
    return {
        "input_ids": ids + padding,
        "input_mask": [1] * len(ids) + padding,
        "segment_ids": types + padding,
    }


def _example(**features: str | list[int] | list[float] | np.ndarray) -> tf.train.Example:
    builder = tf_example_builder.TfExampleBuilder()
    for name, value in features.items():
        if isinstance(value, str):
            builder.add_bytes_feature(name, value)
        elif isinstance(value[0], float):
            builder.add_floats_feature(name, value)
        else:
            builder.add_ints_feature(name, value)
    return builder.example
