"""The architecture: imports go down only, siblings do not meet, decoding needs no TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from algorithms import ROWS
from models import keras, tf_keras

import kwc

ROOT = pathlib.Path(__file__).parent.parent
FLOORS = [
    ["kwc.schedules", "kwc.ops", "kwc.files", "kwc.rate_distortion"],
    ["kwc.compressor", "kwc.latents"],
    ["kwc.priors", "kwc.fourier"],
    ["kwc.algorithms", "kwc.coding"],
    ["kwc.spec", "kwc.artifact"],
    ["kwc.runtime"],
    ["kwc.paths", "kwc.traced"],
    ["kwc.reparameterize"],
    ["kwc.calibration"],
    ["kwc.optimizer"],
    ["kwc.report"],
    ["kwc.compression"],
    ["kwc.summaries"],
    ["kwc.model"],
    ["kwc.exports"],
    ["kwc.task"],
    ["experiments"],
    ["launch"],
    ["benchmarks"],
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FILES = sorted(
    path
    for folder in ("kwc", "experiments", "launch", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
SOURCES = [path for path in FILES if not path.is_relative_to(ROOT / "tests")]


def module(path: pathlib.Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def unit(name: str) -> str | None:
    """The longest known name that a module is or is in; None for the package `kwc` itself."""
    known = [unit for unit in FLOOR if name == unit or name.startswith(f"{unit}.")]
    return max(known, key=len, default=None)


def imports(path: pathlib.Path) -> set[str]:
    """Modules of this repository that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: a relative import"
    return {name for name in found if name.split(".")[0] in ("kwc", "experiments", "launch")}


def test_every_module_has_a_floor():
    assert {module(path) for path in SOURCES if unit(module(path)) is None} == {"kwc"}


@pytest.mark.parametrize("path", [p for p in SOURCES if unit(module(p))], ids=module)
def test_imports_go_down(path):
    here = unit(module(path))
    for name in imports(path):
        there = unit(name)
        if there is None:
            # `import kwc` gives every verb: for the floors that use the library from outside.
            assert FLOOR[here] > FLOOR["kwc.task"], f"{module(path)} imports {name}"
        elif there != here:
            assert FLOOR[there] < FLOOR[here], f"{module(path)} imports {name}"


@pytest.mark.parametrize("path", [p for p in SOURCES if "algorithms" in p.parts], ids=module)
def test_algorithms_do_not_know_each_other(path):
    if path.name != "__init__.py":
        assert not [name for name in imports(path) if name.startswith("kwc.algorithms")]


@pytest.mark.parametrize("path", FILES, ids=module)
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_algorithms_know_no_gin():
    for path in (ROOT / "kwc").rglob("*.py"):
        text = path.read_text()
        assert "import gin" not in text or path.name == "task.py", path


BLOCKED = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "keras", "official", "gin"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
import numpy as np
import kwc.algorithms, kwc.artifact, kwc.coding, kwc.runtime
weights = kwc.runtime.load(sys.argv[1])
np.savez(sys.argv[2], **{path.replace("/", "|"): value for path, value in weights.items()})
"""


def test_every_algorithm_decodes_without_tensorflow(tmp_path):
    layers = [keras.Dense(6) for _ in ROWS]
    model = tf_keras.Sequential([keras.Input((6,)), *layers])
    rules = [(f"dense{f'_{i}' if i else ''}/kernel", row.compressor) for i, row in enumerate(ROWS)]
    kwc.compress(model, kwc.Spec([*rules, (".*", None)]), calibration=[np.eye(6)])
    kwc.save(model, tmp_path / "model.kwc")
    expected = [layer.kernel.numpy() for layer in layers]
    subprocess.run(
        [sys.executable, "-c", BLOCKED, tmp_path / "model.kwc", tmp_path / "decoded.npz"],
        check=True,
        cwd=ROOT,
    )
    decoded = np.load(tmp_path / "decoded.npz")
    for (path, _), row, value in zip(rules, ROWS, expected, strict=True):
        np.testing.assert_allclose(
            decoded[path.replace("/", "|")], value, rtol=0, atol=row.tolerance
        )


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, kwc; kwc.Spec; kwc.runtime; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
