"""Model Garden's experiments at small sizes, by configuration alone.

`sizes/<family>.yaml` maps registered names to overrides of their parameters, as in Model Garden's
`--params_override`. `{data}` in a string stands for the folder of the small data sets that
`records` writes.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import yaml
from official.core import exp_factory
from official.core.config_definitions import ExperimentConfig
from official.modeling import hyperparams

SIZES = pathlib.Path(__file__).with_name("sizes")


@functools.cache
def families() -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the overrides by family and experiment; the first of a family stands for it."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted(SIZES.glob("*.yaml"))}


def family(name: str) -> str | None:
    """Returns the family of an experiment, None if it has no small sizes."""
    return next((stem for stem, sizes in families().items() if name in sizes), None)


def params(name: str, data: pathlib.Path) -> ExperimentConfig:
    """Returns the parameters of a registered experiment at small sizes.

    Args:
        name: the registered name.
        data: the folder of the small data sets.

    Raises:
        KeyError: an override names a parameter that the experiment does not have.
    """
    found = family(name)
    overrides = families()[found][name] if found else {}
    config = exp_factory.get_exp_config(name)
    return hyperparams.override_params_dict(config, _filled(overrides, data), is_strict=True)


def _filled(value: Any, data: pathlib.Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(item, data) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, data) for item in value]
    return value.replace("{data}", str(data)) if isinstance(value, str) else value
