"""Builds a data set in full or not at all."""

import contextlib
import fcntl
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from experiments.data.manifest import Manifest, folder_name, load_manifest
from experiments.data.sources import find_source

_STDERR = Console(stderr=True)


def prepare(
    name: str, data_dir: str | Path, force: bool = False, source: str | None = None
) -> Manifest:
    """Writes data set `name` to its folder in `data_dir`, unless it is already there.

    The files are built in a hidden sibling folder that is renamed when complete, so a killed run
    leaves nothing under the final name. Equal input gives equal bytes on equal versions.

    Args:
        name: a name in `SOURCES`, or "tfds:" and the name of a TFDS data set.
        data_dir: the folder that holds the data sets; created if missing.
        force: whether to build again what is already there.
        source: file or folder to read instead of the source's default place.

    Raises:
        ValueError: unknown name, bad source file, or the data set is there but was changed.
        FileNotFoundError: the source is not on this machine.
        ImportError: the package that holds the data is not installed.
        RuntimeError: the source could not be downloaded.
    """
    origin = find_source(name)
    data_dir = Path(data_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    folder = data_dir / folder_name(name)
    with _locked(data_dir):
        if folder.exists() and not force:
            manifest = load_manifest(data_dir, name, verify=True)
            _STDERR.print(f"{name} is already in {folder}: checksums agree")
            return manifest
        content = origin.load(source)
        partial = data_dir / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with _progress(name, sum(map(len, content.splits.values()))) as advance:
            fields = content.write(partial, advance)
        Manifest(
            folder=partial,
            name=name,
            kind=content.kind,
            source=origin.source,
            licence=origin.licence,
            created_by=f"kwc {importlib.metadata.version('kwc')}",
            class_names=content.class_names,
            **fields,
        ).save()
        _replace_folder(partial, folder)
        return load_manifest(data_dir, name)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lets one process at a time write into `folder`; the lock dies with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[], None]]:
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_STDERR, transient=True) as progress:
        task = progress.add_task(name, total=total)
        yield lambda: progress.advance(task)


def _replace_folder(new: Path, folder: Path) -> None:
    """Renames `new` to `folder`; an old one steps aside, as a full folder is never renamed over."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)
