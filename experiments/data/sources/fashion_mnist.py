"""Fashion-MNIST, whole, from its four IDX files."""

import gzip
from pathlib import Path

import numpy as np

from experiments.data.images import Images
from experiments.data.sources.source import Source

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load(path: str | None = None) -> Images:
    """Returns 55,000 train and 5,000 validation images of the train files, and the test files.

    Args:
        path: folder with the four `*-ubyte.gz` files; the Debian package's by default.
    """
    folder = Path(path or DEBIAN_FOLDER)
    images, labels = _read_pair(folder, "train")
    return Images.from_arrays(
        images,
        labels,
        sizes={"train": 11, "validation": 1},
        class_names=CLASS_NAMES,
        test=_read_pair(folder, "t10k"),
    )


def _read_pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise ValueError(f"{folder}: {len(images)} {prefix} images but {len(labels)} labels")
    return images[..., np.newaxis], labels


def read_idx(path: Path) -> np.ndarray:
    """Reads a gzipped IDX file of bytes as a uint8 array.

    Raises:
        FileNotFoundError: there is no such file; says where to get it.
        ValueError: it is not such a file, or it is cut short.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path} not found; install the Debian package dataset-fashion-mnist, pass "
            "--source=DIR with its four *-ubyte.gz files, or use --dataset=tfds:fashion_mnist"
        )
    try:
        content = gzip.decompress(path.read_bytes())
        # Header: two zero bytes, the type (8: unsigned byte), the rank, then the big-endian shape.
        rank = content[3]
        if content[:3] != b"\0\0\x08":
            raise ValueError("wrong magic number")
        shape = np.frombuffer(content, ">i4", count=rank, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is not a gzipped IDX file of bytes: {error}") from error


SOURCE = Source(
    name="fashion_mnist",
    summary="70,000 pictures of clothes, 28x28 grey: 55,000 / 5,000 / 10,000",
    source=f"Debian package dataset-fashion-mnist, {DEBIAN_FOLDER}",
    licence="MIT",
    load=load,
)
