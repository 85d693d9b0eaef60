"""Every experiment that Model Garden registers: its own and those of `official/projects`."""

import functools
import importlib
import pathlib
import re
from collections.abc import Iterator, Mapping

import official.projects
from absl import logging
from official.core import exp_factory

# What a driver of Model Garden imports for its experiments, tasks, backbones and heads.
_REGISTERS = re.compile(r"^@.*\bregister\w*\(", re.MULTILINE)
_EXPERIMENT = re.compile(r"register_config_factory\(\s*['\"](.+?)['\"]\s*\)")


@functools.cache
def register() -> dict[str, str]:
    """Imports all that registers anything, module by module.

    Returns:
        By registered name, sorted: why the module that would register the experiment cannot be
        imported; empty for an experiment that is registered.
    """
    experiments = {}
    importlib.import_module("official.common.registry_imports")
    for name, source in _project_modules():
        if not _REGISTERS.search(source):
            continue
        try:
            importlib.import_module(name)
        # Modules of other people: whatever they raise is the answer.
        except Exception as error:
            reason = f"{name} cannot be imported: {type(error).__name__}: {error}"
            logging.warning(reason)
            experiments |= dict.fromkeys(_EXPERIMENT.findall(source), reason)
    experiments |= dict.fromkeys(_names(exp_factory._REGISTERED_CONFIGS), "")
    return dict(sorted(experiments.items()))


def _project_modules() -> Iterator[tuple[str, str]]:
    """Yields the name and the source of each module below `official/projects`."""
    for folder in map(pathlib.Path, official.projects.__path__):
        for path in sorted(folder.rglob("*.py")):
            if not path.stem.endswith("_test"):
                parts = path.relative_to(folder).with_suffix("").parts
                yield ".".join(("official", "projects", *parts)), path.read_text()


def _names(registry: Mapping, prefix: str = "") -> Iterator[str]:
    """Yields registered names; those with slashes are kept as nested mappings."""
    for key, value in registry.items():
        if isinstance(value, Mapping):
            yield from _names(value, f"{prefix}{key}/")
        else:
            yield prefix + key
