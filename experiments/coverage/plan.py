"""The process that makes the small data and decides what is to be run.

python -m experiments.coverage.plan WORK_DIR
"""

import hashlib
import importlib.metadata
import json
import pathlib
from typing import Any

from experiments.coverage import registered, small

EVERYWHERE = ["lossless", "quantization", "low_rank"]
_ROOT = pathlib.Path(__file__).parents[2]
_SPECS = _ROOT / "gin_configs" / "specs"
_PACKAGES = ["tensorflow", "tf-keras", "tf-models-official"]


def make() -> dict[str, dict[str, Any]]:
    """Returns by experiment its key, its algorithms, and why its module is broken, if it is."""
    code = _code()
    return {
        experiment: {
            "key": key(experiment, code),
            "algorithms": algorithms(experiment),
            "broken": broken,
        }
        for experiment, broken in registered.register().items()
    }


def algorithms(experiment: str) -> list[str]:
    """Returns the specs of an experiment: for the first of a family, every shipped one."""
    firsts = [next(iter(sizes)) for sizes in small.families().values()]
    if experiment not in firsts:
        return EVERYWHERE
    shipped = sorted(path.stem for path in _SPECS.glob("*.gin"))
    return EVERYWHERE + [spec for spec in shipped if spec not in EVERYWHERE]


def key(experiment: str, code: str) -> str:
    """Returns a hash of all that an experiment's rows depend on: code, versions and sizes."""
    family = small.family(experiment)
    sizes = small.families()[family][experiment] if family else {}
    return _hash([code, sizes, algorithms(experiment)])


def _code() -> str:
    """A hash of kwc, of this package, of the shipped specs and of Model Garden's version."""
    sources = [
        *sorted((_ROOT / "kwc").rglob("*.py")),
        *sorted(pathlib.Path(__file__).parent.rglob("*.py")),
        *sorted(pathlib.Path(__file__).parent.glob("*.gin")),
        *sorted(_SPECS.glob("*.gin")),
    ]
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    return _hash([versions, *(path.read_text() for path in sources)])


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
