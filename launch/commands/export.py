"""`kwc export FILE.kwc`."""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any

from launch.errors import LaunchError
from launch.layout import CONFIG

_DESCRIPTION = """\
Writes an artifact as a file that others run, without kwc. Before the file gets its name it is read
back and proved: its outputs on examples of the task's own data are those of the model that the
artifact decodes to, the compressed weights are in it, and none of them plainly. What fails is not
written. Its latency and memory are measured beside the dense export, in new processes.

A route is a way to hold compressed weights in such a file. The artifact's config.gin says what
model it is of, as for kwc evaluate; the data set that it names must have been prepared.
"""

_EXAMPLES = """\
examples:
  kwc export results/mine/model.kwc --to=tflite --route=int8 --out=model.tflite
  kwc export model.kwc --to=tflite --route=float32 --out=dense.tflite  to compare
  kwc export model.kwc --to=keras --out=model_keras        for tf_keras.models.load_model
  kwc export model.kwc --to=saved_model --signature=image_bytes --out=served
  kwc export model.kwc --to=tflite --objective=latency --out=model.tflite
                                       write all, measure them here, keep the fastest

Without an objective, auto takes the first route below that holds a compressed weight: it writes one
file, and the same one on every machine. With one, all routes are written, proved and, but for size,
measured, which takes minutes. hybrid takes part, whose outputs are not exact.

routes to tflite that decode weights once, when the file is loaded:
  int8      integers of 8 bits with scales: exact
  int4      integers of 4 bits with scales: exact, half as large
  sparse    pruned weights without their zeros: exact
  hybrid    integers that products take as they are: outputs within 5 %
  float16   floats of 16 bits, whatever the algorithm
  packed    entropy codes in one .kwc, which kwc expand makes a .tflite of: exact
  float32   plain floats, to compare with
  in_graph  the algorithm's own arrays, decoded in every inference; low rank as two
            products (--decompress=during)
to saved_model:
  at_load   the algorithm's arrays, decoded when it is loaded
  at_call   the same, decoded in every call (--decompress=during)
to keras:
  keras     the plain model

signatures of a SavedModel, as Model Garden exports tasks, first the default:
  images     image_tensor, image_bytes, tf_example, tflite
  sentences  serve, serve_examples

docs/export.md says what each holds.
"""

_EXAMPLES_READ = 8


def register(subparsers: Any) -> None:
    """Adds `kwc export`."""
    command = subparsers.add_parser(
        "export",
        help="write an artifact as a TFLite file, a SavedModel or a Keras model",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(handler=_export)
    command.add_argument("file", metavar="FILE.kwc", type=pathlib.Path, help="an artifact")
    command.add_argument(
        "--to",
        required=True,
        choices=("tflite", "saved_model", "keras"),
        help="what to write",
    )
    command.add_argument(
        "--decompress",
        choices=("before", "during"),
        default="before",
        help="decode weights once, when the file is loaded (the default), or in every inference",
    )
    command.add_argument("--route", default="auto", help="name of a route; auto by default")
    command.add_argument(
        "--signature",
        help="what a SavedModel takes: task, as Model Garden's own export of the task has it (the "
        "default where there is one); model, what the model itself takes; or names of Model "
        "Garden's inputs, with commas between",
    )
    command.add_argument(
        "--objective",
        choices=("size", "latency", "memory"),
        help="what auto makes least, by trying every route on this machine",
    )
    command.add_argument(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure latency and memory beside the dense export, each in a new process (Linux)",
    )
    command.add_argument("--out", required=True, type=pathlib.Path, help="file or folder to write")
    command.add_argument(
        "--config", type=pathlib.Path, help=f"the trial's gin file; {CONFIG} beside FILE by default"
    )


def _export(arguments: argparse.Namespace) -> int:
    from launch import artifacts, console

    file, signature = arguments.file, _signature(arguments)
    config = artifacts.config_of(file, arguments.config)
    from experiments import trial

    with artifacts.config_errors_told(config, "exported"):
        model, given = trial.model_and_given(config, _EXAMPLES_READ, signature)
    report = _write(arguments, model, given, config)
    if report.candidates:
        from kwc.exports import candidates

        console.print_table(candidates.table(report.candidates))
    console.print_table(report.table())
    written, dense = report.proof.nbytes, report.dense_bytes
    print(f"route    {report.route}, outputs within {report.proof.error:.1e} of the largest")
    print(f"written  {written:,} bytes: {dense / written:.2f} times smaller than dense weights")
    print(report.path)
    return 0


def _signature(arguments: argparse.Namespace) -> str:
    if arguments.to == "saved_model":
        return arguments.signature or "auto"
    if arguments.signature not in (None, "model"):
        raise LaunchError(
            f"--signature={arguments.signature} is for --to=saved_model; other files take what the "
            "model takes. Leave it out."
        )
    return "model"


def _write(
    arguments: argparse.Namespace, model: Any, given: Mapping[str, Any], config: pathlib.Path
) -> Any:
    import kwc
    from launch import artifacts

    with artifacts.export_errors_told(config, arguments.out):
        return kwc.export(
            arguments.file,
            model,
            arguments.out,
            to=arguments.to,
            decompress=arguments.decompress,
            route=arguments.route,
            objective=arguments.objective,
            measure=arguments.measure,
            **given,
        )
