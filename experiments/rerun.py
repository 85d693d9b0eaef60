"""Runs one trial again from its config.gin alone.

    python -m experiments.rerun --config=runs/quickstart/071b28a375b5/config.gin \
      --folder=reproduced/071b28a375b5

A trial that starts from a dense baseline finds it beside its own folder, as `../<id>`: rerun the
baseline first, into the folder of that name. Run it where the sweep ran, for the prepared data is
found from there. The folder ends up with the checkpoints, `model.kwc` and `result.json`; with the
same versions on the same machine the artifact has the same bytes. The bytes depend on the number of
threads too: it is taken from the `result.json` beside the config, where there is one.
"""

import contextlib
import json
import pathlib
import sys

from absl import app, flags

from experiments import threads

_CONFIG = flags.DEFINE_string("config", None, "the config.gin of a trial.")
_FOLDER = flags.DEFINE_string("folder", None, "folder to write; a new one, or one to go on with.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; flags are --name=value")
    config, folder = pathlib.Path(_CONFIG.value), pathlib.Path(_FOLDER.value)
    if not config.is_file():
        sys.exit(f"There is no {config}.")
    # A result of an earlier version does not say.
    with contextlib.suppress(OSError, ValueError, KeyError):
        result = json.loads(config.with_name("result.json").read_text())
        threads.limit(result["provenance"]["hardware"]["threads"])
    # TensorFlow takes seconds to import: not for --help or a misspelt path.
    from experiments import runner, trial
    from kwc.compressor import CompressionError

    try:
        content = trial.run(config, folder)
    except (CompressionError, FileNotFoundError) as error:
        sys.exit(f"{config} was not run: {error}")
    print(runner.summary(content, folder))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "folder"])
    app.run(main)
