"""Paths as short sequences of words: what Keras and kwc call things takes a byte or two each."""

from __future__ import annotations

import re

from kwc.artifact.declared import checked_name
from kwc.coding.bits import Reader, varint

WORDS = (
    # Those that small files need come first: the first 41 take one byte, whatever their number.
    *("kernel", "bias", "weight", "dense", "conv2d", "backbone", "batch_normalization"),
    *("gamma", "beta", "moving_mean", "moving_variance", "embeddings", "depthwise_kernel"),
    *("levels", "scale", "step", "exponent", "mask", "codebook", "indices", "u", "v"),
    *("lossless", "quantization", "pruning", "clustering", "low_rank", "entropy_constrained"),
    *("raw", "zstd", "packed", "ans", "planes", "context", "floats"),
    *("exponents", "row", "column", "latents", "decoder", "layer"),
    "classifier",
    *("epr", "latent_decoder", "learned_decoder", "rate_quantization", "offset", "log_step"),
    # Names of Keras and of TF Model Garden.
    *("depthwise_conv2d", "separable_conv2d", "conv1d", "conv2d_transpose", "conv3d", "embedding"),
    *("layer_normalization", "lstm", "lstm_cell", "gru", "gru_cell", "simple_rnn", "cell"),
    *("recurrent_kernel", "pointwise_kernel", "attention", "multi_head_attention", "einsum_dense"),
    *("query", "key", "value", "count", "mean", "variance", "alpha", "sequential", "model"),
    *("functional", "network", "encoder", "head", "block", "bottleneck_block", "residual_block"),
    *("inverted_bottleneck_block", "conv2dbn_block", "shortcut", "squeeze_excitation"),
    *("norm", "norm0", "norm1", "norm2", "norm3", "conv0", "conv1", "conv2", "conv3"),
    *("transformer_layers", "attention_layer", "query_dense", "key_dense", "value_dense"),
    *("output_dense", "intermediate_dense", "attention_layer_norm", "output_layer_norm"),
    *("embedding_layer", "position_embedding_layer", "type_embedding_layer"),
    *("embedding_norm_layer", "position_embeddings", "pooler_layer", "pooler_transform"),
    *("out_proj", "masked_lm", "self_attention", "output_bias", "layer_norm"),
    *("embedding_projection", "logits"),
)
"""The words that every reader knows. Part of version 2: none is ever changed, moved or added."""

_MOST_SEGMENTS = 15
_NUMBERED = re.compile(r"(.*)_(0|[1-9][0-9]{0,8})", re.DOTALL)
_PLAIN, _NEXT, _NUMBER = range(3)
_KINDS = 3


class _Memory:
    """What a writer and its reader both know of the words so far."""

    def __init__(self):
        self.words = list(WORDS)
        self._last = dict.fromkeys(WORDS, -1)
        self.path: tuple[str, ...] = ()

    def last(self, word: str) -> int:
        """The number that a word had last: 0 if it had none, -1 if it is new."""
        return self._last.get(word, -1)

    def spell(self, word: str, number: int | None) -> str:
        """Returns a word with its number, and remembers it."""
        self._last[word] = number or 0
        return word if number is None else f"{word}_{number}"


class PathWriter:
    """Writes names, each by what it has in common with what was written before."""

    def __init__(self):
        self._memory = _Memory()
        self._indices = {word: index for index, word in enumerate(WORDS)}

    def word(self, text: str) -> bytes:
        """Returns the bytes of a name without slashes, or of a segment of a path."""
        memory = self._memory
        match = _NUMBERED.fullmatch(text)
        word, number = (match[1], int(match[2])) if match else (text, None)
        kind, tail = _PLAIN, b""
        if number is not None:
            kind = _NEXT if number == memory.last(word) + 1 else _NUMBER
            tail = varint(number) if kind == _NUMBER else b""
        index = self._indices.get(word)
        literal = b""
        if index is None:
            self._indices[word] = len(self._indices)
            literal = varint(len(word.encode())) + word.encode()
        memory.spell(word, number)
        return varint(_KINDS * (0 if index is None else index + 1) + kind) + literal + tail

    def name(self, text: str) -> bytes:
        """Returns the bytes of a name that may have slashes."""
        segments = text.split("/", _MOST_SEGMENTS - 1)
        return varint(len(segments)) + b"".join(map(self.word, segments))

    def path(self, text: str) -> bytes:
        """Returns the bytes of a path: the segments that end the one before and do not end it."""
        segments = text.split("/", _MOST_SEGMENTS - 1)
        before = self._memory.path
        common = 0
        while segments[common:] and segments[common : common + 1] == list(before[common:][:1]):
            common += 1
        self._memory.path = tuple(segments)
        new = segments[common:]
        code = varint(16 * (len(before) - common) + len(new))
        return code + b"".join(map(self.word, new))


class PathReader:
    """Reads what a `PathWriter` wrote.

    Args:
        reader: the bytes.
        room: the most characters that all paths and names together may have.
    """

    def __init__(self, reader: Reader, room: int):
        self._reader = reader
        self._room = room
        self._memory = _Memory()

    def word(self) -> str:
        """Returns a name without slashes; `ValueError` if there is none."""
        return checked_name(self._word())

    def name(self) -> str:
        """Returns a name that may have slashes; `ValueError` if there is none."""
        return self._join(tuple(self._word() for _ in range(self._count(self._reader.varint()))))

    def path(self) -> str:
        """Returns a path; `ValueError` if there is none."""
        dropped, new = divmod(self._reader.varint(), 16)
        before = self._memory.path
        if dropped > len(before):
            raise ValueError(f"a path drops {dropped} of the {len(before)} segments before it")
        kept = before[: len(before) - dropped]
        added = tuple(self._word() for _ in range(self._count(new)))
        self._memory.path = kept + added
        return self._join(kept + added)

    def _count(self, segments: int) -> int:
        if segments > _MOST_SEGMENTS:
            raise ValueError(f"a name has {segments} segments, and {_MOST_SEGMENTS} is the most")
        return segments

    def _word(self) -> str:
        memory = self._memory
        index, kind = divmod(self._reader.varint(), _KINDS)
        if index > len(memory.words):
            raise ValueError(f"there is no word {index}, only {len(memory.words)}")
        if index:
            word = memory.words[index - 1]
        else:
            word = str(self._reader.take(self._reader.varint()), "utf-8")
            memory.words.append(word and checked_name(word))
        number = None
        if kind != _PLAIN:
            number = memory.last(word) + 1 if kind == _NEXT else self._reader.varint()
        return memory.spell(word, number)

    def _join(self, segments: tuple[str, ...]) -> str:
        if len(segments) > _MOST_SEGMENTS:
            raise ValueError(
                f"a path has {len(segments)} segments, and {_MOST_SEGMENTS} is the most"
            )
        text = "/".join(segments)
        self._room -= len(text)
        if self._room < 0:
            raise ValueError("its paths and names are too long in all")
        return checked_name(text)
