"""Every example in a docstring runs."""

import doctest
import importlib
import pathlib
import pkgutil

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("kwc", "experiments", "launch")
MODULES = [
    *PACKAGES,
    *(
        found.name
        for package in PACKAGES
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")
        if not found.name.endswith("__main__")
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_the_core_has_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    documented = {
        name
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name)))
    }
    assert {"kwc", "kwc.spec", "kwc.schedules", "kwc.report", "kwc.algorithms"} <= documented
