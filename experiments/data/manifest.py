"""What a prepared data set contains, and proof that it is unchanged."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from kwc.files import write_atomically

FILENAME = "manifest.json"
SPLITS = ("train", "validation", "test")


def folder_name(name: str) -> str:
    """Returns the folder of data set `name`, free of characters that paths cannot hold.

    >>> folder_name("mnist_5k"), folder_name("tfds:glue/sst2")
    ('mnist_5k', 'tfds-glue-sst2')
    """
    return re.sub(r"[^\w.]+", "-", name)


def sha256_of(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclasses.dataclass(frozen=True)
class SplitFile:
    """One TFRecord file: its name in the folder, number of examples and SHA-256."""

    file: str
    examples: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A prepared data set, as its `manifest.json` describes it.

    Attributes:
        folder: where the files are; not stored.
        name: name of the data set, as given to `prepare`.
        kind: "image_classification" or "sentence_prediction", Model Garden's name of the task.
        source: where the data came from.
        licence: licence of the data.
        created_by: version of the writer.
        class_names: one name per label, in label order.
        splits: "train", "validation" and "test".
        image_size: (height, width) in pixels, or None where it varies or there are no images.
        channels: channels of the stored image; Model Garden decodes every image to three.
        seq_length: tokens per example, or None where there are no sentences.
        vocab_size: number of word pieces, or None where there are no sentences.
        vocab_file: name of the word-piece vocabulary in the folder, one token per line.
    """

    folder: Path
    name: str
    kind: str
    source: str
    licence: str
    created_by: str
    class_names: tuple[str, ...]
    splits: Mapping[str, SplitFile]
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    seq_length: int | None = None
    vocab_size: int | None = None
    vocab_file: str | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def checksum(self) -> str:
        """SHA-256 over the SHA-256s of the three splits: equal data has equal checksums."""
        digests = "".join(self.splits[split].sha256 for split in SPLITS)
        return hashlib.sha256(digests.encode()).hexdigest()

    def path(self, split: str) -> Path:
        """Returns the TFRecord file of `split`: "train", "validation" or "test"."""
        if split not in self.splits:
            raise ValueError(f"{self.name} has no split {split!r}; it has {', '.join(SPLITS)}")
        return self.folder / self.splits[split].file

    def save(self) -> None:
        """Writes `manifest.json` into the folder, replacing an older one at once."""
        fields = {key: value for key, value in dataclasses.asdict(self).items() if key != "folder"}
        fields |= {"num_classes": self.num_classes, "checksum": self.checksum}
        text = json.dumps(fields, indent=2, sort_keys=True) + "\n"
        write_atomically(self.folder / FILENAME, text)

    def verify(self) -> None:
        """Raises ValueError unless every split is present with the bytes that were written."""
        for split in SPLITS:
            path = self.path(split)
            if not path.exists():
                raise ValueError(f"{path} is missing; {_rebuild(self.name, self.folder.parent)}")
            if sha256_of(path) != self.splits[split].sha256:
                raise ValueError(
                    f"{path} changed since it was prepared (its SHA-256 is not the manifest's); "
                    + _rebuild(self.name, self.folder.parent)
                )


def load_manifest(data_dir: str | Path, name: str, verify: bool = False) -> Manifest:
    """Reads the manifest of a prepared data set.

    Args:
        data_dir: the folder that holds the data sets.
        name: name of the data set, such as "mnist_5k" or "tfds:cifar10".
        verify: whether to hash every split and compare; reads all of the data.

    Raises:
        FileNotFoundError: the data set has not been prepared.
        ValueError: the manifest cannot be read, or `verify` found a missing or changed file.
    """
    folder = Path(data_dir) / folder_name(name)
    path = folder / FILENAME
    if not folder.exists():
        raise FileNotFoundError(
            f"{name} is not prepared in {data_dir}; run: {_command(name, data_dir)}"
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        checksum = fields.pop("checksum")
        num_classes = fields.pop("num_classes")
        splits = {split: SplitFile(**fields["splits"][split]) for split in SPLITS}
        image_size = fields["image_size"] and tuple(fields["image_size"])
        class_names = tuple(fields["class_names"])
        manifest = Manifest(
            **fields
            | {
                "folder": folder,
                "splits": splits,
                "image_size": image_size,
                "class_names": class_names,
            }
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} is not a manifest ({reason}); {_rebuild(name, data_dir)}"
        ) from error
    if (checksum, num_classes) != (manifest.checksum, manifest.num_classes):
        raise ValueError(f"{path} contradicts itself; {_rebuild(name, data_dir)}")
    if verify:
        manifest.verify()
    return manifest


def _command(name: str, data_dir: str | Path) -> str:
    return f"python -m experiments.prepare_data --dataset={name} --data_dir={data_dir}"


def _rebuild(name: str, data_dir: str | Path) -> str:
    return f"rebuild with: {_command(name, data_dir)} --force"
