"""Registers every experiment that kwc runs: all of Model Garden's, and the LeNets."""

from official.common import registry_imports  # noqa: F401  (imported to register)

from experiments import lenet  # noqa: F401  (imported to register)
