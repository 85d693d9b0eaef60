"""`kwc expand PACKED.kwc`."""

import argparse
import pathlib
from typing import Any

_DESCRIPTION = """\
Makes the .tflite file that a packed file holds, as kwc.runtime.expand does in memory. Nothing in
the file is run, and TensorFlow is not needed.
"""

_EXAMPLES = """\
examples:
  kwc export model.kwc --to=tflite --route=packed --out=packed.kwc
  kwc expand packed.kwc --out=model.tflite
"""


def register(subparsers: Any) -> None:
    """Adds `kwc expand`."""
    command = subparsers.add_parser(
        "expand",
        help="make a TFLite file of a packed one",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_expand)
    command.add_argument("file", metavar="PACKED.kwc", type=pathlib.Path, help="a packed file")
    command.add_argument("--out", required=True, type=pathlib.Path, help="file to write")


def _expand(arguments: argparse.Namespace) -> int:
    from kwc import files, runtime
    from launch import artifacts
    from launch.errors import LaunchError

    with artifacts.errors_told(arguments.file):
        data = runtime.expand(arguments.file)
    try:
        files.write_atomically(arguments.out, data)
    except OSError as error:
        raise LaunchError(f"{arguments.out} cannot be written: {error}") from error
    print(f"{len(data):,} bytes, from {arguments.file.stat().st_size:,}")
    print(arguments.out)
    return 0
