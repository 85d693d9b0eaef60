"""Pages of a tiny artifact, and a runtime that is none."""

import contextlib
import json
import os
import pathlib
import threading

import model_garden
from test_trial import run

from launch import cli
from launch.demo import litert, server

PINNED = json.loads((pathlib.Path(litert.__file__).with_name("npm") / "package.json").read_text())


def finished(data, folder):
    """The folder of a trial: 4-bit LeNet-300-100 on 8x8 digits, which has learned a little."""
    run(folder, data, "quantization", trainer=model_garden.trainer(60, checkpoint_interval=60))
    return folder


def untrained(data, folder):
    """The folder of a trial: the same network with initial weights, not compressed."""
    run(folder, data, "lossless", mode="compress", seed=1)
    return folder


def fake_modules(folder, version=None):
    """A `node_modules` with the files of the runtime, and nothing in them."""
    for package, pinned in PINNED["dependencies"].items():
        for name in ("dist/index.js", *(f"wasm/{file}" for file in _wasm(package))):
            path = folder / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("export {};")
        about = {"name": package, "version": version or pinned}
        (folder / package / "package.json").write_text(json.dumps(about))
    return folder


def _wasm(package):
    builds = ("litert_wasm_internal", "litert_wasm_compat_internal")
    names = [f"{build}.{suffix}" for build in builds for suffix in ("js", "wasm")]
    return names if package == "@litertjs/core" else []


def fake_npm(folder, script):
    """Puts an `npm` of this shell script into a folder; returns the PATH that begins with it."""
    folder.mkdir(exist_ok=True)
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def demo(trial, out, *arguments):
    """Runs `kwc demo` on the artifact of a trial; returns its exit status."""
    return cli.main(["demo", str(trial / "model.kwc"), f"--out={out}", *map(str, arguments)])


@contextlib.contextmanager
def served(folder):
    """Serves a folder; gives its address."""
    with server.bind(folder, 0) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield server.address(serving)
        serving.shutdown()
        thread.join()
