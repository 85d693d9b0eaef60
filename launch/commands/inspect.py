"""`kwc inspect FILE.kwc`."""

import argparse
import csv
import sys
from typing import Any

_DESCRIPTION = """\
Shows what an artifact holds: for each weight its shape, its algorithm with hyperparameters, the
bytes of its arrays in the file, and the bits that this makes for each element; then the totals of
the file. The file is checked (checksum, header, bounds) and nothing in it is run. TensorFlow and
the model are not needed.
"""

_EXAMPLES = """\
examples:
  kwc inspect model.kwc                     a table for people
  kwc inspect model.kwc --decode            decode every weight too, and count what is not zero
  kwc inspect model.kwc --csv > model.csv   one line for each weight

A file is payload (the coded arrays) plus header (paths, shapes, algorithms, checksum). "dense"
is what the same weights take uncompressed, and the ratio is dense bytes over file bytes.
"""

_CSV_COLUMNS = ("path", "shape", "algorithm", "dense_bytes", "bytes", "bits_per_weight")


def register(subparsers: Any) -> None:
    """Adds `kwc inspect`."""
    command = subparsers.add_parser(
        "inspect",
        help="show what an artifact holds, weight by weight",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_inspect)
    command.add_argument("file", metavar="FILE.kwc", help="an artifact")
    command.add_argument("--csv", action="store_true", help="print comma-separated values")
    command.add_argument(
        "--decode", action="store_true", help="decode every weight and count the non-zero elements"
    )


def _inspect(arguments: argparse.Namespace) -> int:
    from kwc import artifact, report
    from launch import artifacts

    # Nothing is decoded for the table alone, so nothing needs a bound.
    bound = artifact.MAX_BYTES if arguments.decode else sys.maxsize
    content = artifacts.read(arguments.file, max_bytes=bound)
    with artifacts.errors_told(arguments.file):
        nonzero = _count_nonzero(content) if arguments.decode else None
    shown = report.of_artifact(content)
    if arguments.csv:
        _print_csv(shown)
    else:
        _print_table(shown, nonzero)
    return 0


def _count_nonzero(content: Any) -> int:
    import numpy as np

    return sum(int(np.count_nonzero(weight.decompress())) for weight in content.weights.values())


def _print_csv(shown: Any) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV_COLUMNS)
    for w in shown:
        bits = "" if w.bits_per_weight is None else f"{w.bits_per_weight:.4f}"
        row = (w.path, w.shape_text, w.algorithm, w.dense_bytes, w.written_bytes, bits)
        writer.writerow(row)


def _print_table(shown: Any, nonzero: int | None) -> None:
    from launch import console

    console.print_table(shown.table())
    sizes, weights = shown.sizes, sum(w.size for w in shown)
    file, payload, rest = sizes.file_bytes, sizes.payload_bytes, sizes.header_bytes
    print(f"file     {file:,} bytes: payload {payload:,}, header {rest:,}")
    print(f"dense    {shown.dense_bytes:,} bytes: {shown.dense_bytes / file:.2f} times the file")
    print(f"weights  {weights:,}: {8 * file / max(weights, 1):.3f} bits each")
    if nonzero is not None:
        print(f"nonzero  {nonzero:,}: {nonzero / max(weights, 1):.2%}")
