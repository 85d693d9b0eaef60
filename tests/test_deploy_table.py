"""The table of the production guide is that of the figures that were measured."""

import csv
import importlib.util
import pathlib

ROOT = pathlib.Path(__file__).parents[1]


def test_the_table_is_that_of_the_figures():
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "benchmarks" / "deploy.py")
    deploy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(deploy)
    with open(ROOT / "results" / "deploy.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert deploy.document(rows) in (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    keys = [tuple(row[name] for name in deploy.KEY) for row in rows]
    assert keys == [case.key for case in deploy.CASES]
