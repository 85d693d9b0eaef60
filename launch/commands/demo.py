"""`kwc demo FILE.kwc`."""

import argparse
import contextlib
import pathlib
import sys
from typing import Any

from launch.layout import CONFIG

_DESCRIPTION = """\
Writes a page that runs an artifact's model in the browser: what you draw is classified by the model
with plain weights and by the compressed one, side by side with the sizes of their files. The folder
holds all that it needs, and the page asks nobody else for anything.

The artifact is of a classifier of small grey pictures, such as the LeNets. Its config.gin says
what model it is of, as for kwc evaluate; the data set that it names must have been prepared. npm
installs the runtime, LiteRT for the web; the first time it needs the network.
"""

_EXAMPLES = """\
examples:
  kwc demo results/fashion_mnist/lenet5_trained/model.kwc --out=page --serve
  kwc demo model.kwc --out=page --route=int8               another form than the smallest exact one
  kwc demo model.kwc --out=page --dense=lossless/model.kwc  beside a model of its own
  python -m http.server --directory=page                   serve it again

A browser opens the page from a server, not as a file.
"""

_EXAMPLES_READ = 8


def register(subparsers: Any) -> None:
    """Adds `kwc demo`."""
    command = subparsers.add_parser(
        "demo",
        help="write a page on which to draw for an artifact's model",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_demo)
    command.add_argument("file", metavar="FILE.kwc", type=pathlib.Path, help="an artifact")
    command.add_argument("--out", required=True, type=pathlib.Path, help="folder to write")
    command.add_argument(
        "--dense",
        metavar="OTHER.kwc",
        type=pathlib.Path,
        help="another artifact of the model, for the plain weights; FILE.kwc by default",
    )
    command.add_argument(
        "--route", help="how the compressed file holds its weights, as in kwc export"
    )
    command.add_argument(
        "--config", type=pathlib.Path, help=f"the trial's gin file; {CONFIG} beside FILE by default"
    )
    command.add_argument(
        "--runtime",
        metavar="NODE_MODULES",
        type=pathlib.Path,
        help="folder in which npm has installed the runtime already",
    )
    command.add_argument("--serve", action="store_true", help="serve the page on this machine")
    command.add_argument(
        "--port", type=int, default=8000, help="where to serve it; 8000 by default"
    )


def _demo(arguments: argparse.Namespace) -> int:
    from launch import artifacts

    config = artifacts.config_of(arguments.file, arguments.config)
    if arguments.dense:
        artifacts.read(arguments.dense, max_bytes=sys.maxsize)
    from launch.demo import folder, litert, pictures

    with folder.writing(arguments.out) as written:
        litert.copy(written / folder.RUNTIME, arguments.runtime)
        from experiments import trial

        with artifacts.config_errors_told(config, "shown"):
            experiment = trial.read(config)
            manifest = experiment.manifest()
        pictures.check(manifest)
        with artifacts.config_errors_told(config, "shown"):
            model, inputs = trial.model_and_inputs(config, _EXAMPLES_READ)
        shown = pictures.read(manifest, model, inputs)
        files = _export(arguments, config, model, inputs, written / folder.MODELS)
        folder.tell(written, experiment.name, shown, files)
    _print(files)
    print(arguments.out)
    return _serve(arguments.out, arguments.port) if arguments.serve else 0


def _export(
    arguments: argparse.Namespace,
    config: pathlib.Path,
    model: Any,
    inputs: Any,
    folder: pathlib.Path,
) -> dict[str, Any]:
    from launch import artifacts
    from launch.demo.models import Exporter

    exporter = Exporter(model, inputs, folder)
    with artifacts.export_errors_told(config, arguments.out):
        return {
            "dense": exporter.dense(arguments.dense or arguments.file),
            "compressed": exporter.compressed(arguments.file, arguments.route),
            "packed": exporter.packed(arguments.file),
        }


def _print(files: dict[str, Any]) -> None:
    from rich.table import Table

    from launch import console

    table = Table("file", "route", "bytes", "gzipped", "times smaller")
    for column in table.columns[2:]:
        column.justify = "right"
    for file in files.values():
        ratio = files["dense"].bytes / file.bytes
        table.add_row(file.name, file.route, f"{file.bytes:,}", f"{file.gzip:,}", f"{ratio:.2f}")
    console.print_table(table)


def _serve(folder: pathlib.Path, port: int) -> int:
    from launch.demo import server

    with server.bind(folder, port) as serving, contextlib.suppress(KeyboardInterrupt):
        print(f"{server.address(serving)} until you press Ctrl+C", flush=True)
        serving.serve_forever()
    return 0
