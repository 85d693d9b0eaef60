"""LiteRT for the web, the runtime of the page: installed by npm, and only what browsers load.

`npm/package-lock.json` pins its version and its checksums. npm keeps what it has fetched, so that
a second installation needs no network.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import tempfile

from launch.errors import LaunchError

PINNED = pathlib.Path(__file__).with_name("npm")
_MODULES = "node_modules"
_WASM = "@litertjs/core/wasm/litert_wasm{}_internal.{}"
# With relaxed SIMD and without, by what the browser has. Neither uses threads, which would ask for
# headers that a plain file server does not send.
_FILES = (
    "@litertjs/core/package.json",
    "@litertjs/core/dist/index.js",
    "@litertjs/wasm-utils/package.json",
    "@litertjs/wasm-utils/dist/index.js",
    *(_WASM.format(build, suffix) for build in ("", "_compat") for suffix in ("js", "wasm")),
)
INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")


def copy(folder: pathlib.Path, modules: pathlib.Path | None) -> None:
    """Copies the runtime into a folder, in the tree that npm gives it.

    Args:
        folder: where it goes.
        modules: a `node_modules` folder that holds it; None lets npm install it.

    Raises:
        LaunchError: npm is missing or fails, or the folder holds no such runtime.
    """
    if modules is not None:
        _copy(folder, modules)
        return
    with tempfile.TemporaryDirectory() as scratch:
        _copy(folder, _installed(pathlib.Path(scratch)))


def _copy(folder: pathlib.Path, modules: pathlib.Path) -> None:
    for package, version in _versions().items():
        found = _version(modules / package)
        if found != version:
            raise LaunchError(
                f"{modules} holds {package} {found or 'not at all'}, and the page is made for "
                f"{version}: npm install {package}@{version}"
            )
    for file in _FILES:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(modules / file, path)


def _installed(scratch: pathlib.Path) -> pathlib.Path:
    """Installs what is pinned, and returns its `node_modules`."""
    npm = shutil.which("npm")
    if npm is None:
        raise LaunchError(
            "The page runs its models by LiteRT for the web, which is installed by npm, and there "
            "is no npm here: apt-get install npm. Or install "
            + " ".join(f"{package}@{version}" for package, version in _versions().items())
            + " elsewhere, and pass the node_modules folder as --runtime."
        )
    shutil.copytree(PINNED, scratch, dirs_exist_ok=True)
    done = subprocess.run([npm, *INSTALL], cwd=scratch, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split())[:500]
        raise LaunchError(
            f"npm cannot install the runtime of the page: {said} The first time it needs the "
            "network; or pass a node_modules folder that holds it as --runtime."
        )
    return scratch / _MODULES


def _versions() -> dict[str, str]:
    return json.loads((PINNED / "package.json").read_text())["dependencies"]


def _version(package: pathlib.Path) -> str | None:
    try:
        return json.loads((package / "package.json").read_text())["version"]
    except (OSError, ValueError, KeyError):
        return None
