"""Sentences or sentence pairs with one label each, as `sentence_prediction` reads them."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from experiments.data.tfrecords import Advance, serialize, write_split

SEQ_LENGTH = 64
VOCAB_FILE = "vocab.txt"
MAX_VOCAB_SIZE = 8000
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BATCH = 1024


@dataclasses.dataclass(frozen=True)
class Sentences:
    """A sentence classification data set.

    Attributes:
        splits: "train", "validation" and "test", each a list of (segments, label); the segments
            of an example are its one sentence, or its two.
        class_names: one name per label, in label order.
    """

    kind: ClassVar[str] = "sentence_prediction"

    splits: Mapping[str, Sequence[tuple[tuple[str, ...], int]]]
    class_names: tuple[str, ...]

    def write(self, folder: Path, advance: Advance) -> dict[str, Any]:
        """Writes vocabulary and splits into `folder` and returns their fields of the manifest.

        The vocabulary is learned from the train split alone.
        """
        vocabulary = learn_vocabulary(
            [sentence for segments, _ in self.splits["train"] for sentence in segments]
        )
        (folder / VOCAB_FILE).write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        return {
            "splits": {
                split: write_split(folder, split, _serialize(pairs, folder / VOCAB_FILE), advance)
                for split, pairs in self.splits.items()
            },
            "seq_length": SEQ_LENGTH,
            "vocab_size": len(vocabulary),
            "vocab_file": VOCAB_FILE,
        }


def learn_vocabulary(sentences: Sequence[str]) -> list[str]:
    """Returns an uncased BERT word-piece vocabulary of about `MAX_VOCAB_SIZE` tokens or fewer."""
    import tensorflow as tf
    from tensorflow_text.tools.wordpiece_vocab import bert_vocab_from_dataset

    return bert_vocab_from_dataset.bert_vocab_from_dataset(
        tf.data.Dataset.from_tensor_slices(list(sentences)).batch(_BATCH),
        vocab_size=MAX_VOCAB_SIZE,
        reserved_tokens=list(SPECIAL_TOKENS),
        bert_tokenizer_params={"lower_case": True},
        # The defaults suit corpora of millions of words: here a word seen three times is common.
        learn_params={"lower_thresh": 3, "num_iterations": 2},
    )


def _serialize(pairs: Sequence[tuple[tuple[str, ...], int]], vocab_file: Path) -> Iterator[bytes]:
    """Tokenizes with Model Garden's own text processor, a batch at a time."""
    import tensorflow as tf
    from official.nlp.data import sentence_prediction_dataloader

    tokenize = sentence_prediction_dataloader.TextProcessor(
        SEQ_LENGTH, vocab_file=str(vocab_file), tokenization="WordPiece", lower_case=True
    )
    for start in range(0, len(pairs), _BATCH):
        batch = pairs[start : start + _BATCH]
        segments = zip(*(segments for segments, _ in batch), strict=True)
        features = tokenize([tf.constant(sentences) for sentences in segments])
        columns = {
            "input_ids": features["input_word_ids"].numpy(),
            "input_mask": features["input_mask"].numpy(),
            "segment_ids": features["input_type_ids"].numpy(),
        }
        for row, (_, label) in enumerate(batch):
            ids = {key: column[row] for key, column in columns.items()}
            yield serialize(ids | {"label_ids": [label]})
