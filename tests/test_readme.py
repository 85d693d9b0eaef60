"""The README's Python and its commands do what they say."""

import doctest
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """The commands of the README's console blocks, with continued lines joined."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    joined = "".join(blocks).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in joined.splitlines()]


def test_python_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestParser().get_doctest(README, {}, "README.md", "README.md", 0)
    assert examples.examples
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
    assert result.failed == 0


def test_commands_run(tmp_path):
    for name in ("gin_configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert len(commands()) >= 5
    for command in commands():
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert (tmp_path / "runs/stock/model.kwc").stat().st_size > 0


@pytest.mark.parametrize("folder", ["quickstart"])
def test_table_is_the_one_that_was_produced(folder):
    produced = (ROOT / "results" / folder / "summary.md").read_text(encoding="utf-8")
    table = re.search(r"\| arch .*?\n\n", produced, re.DOTALL).group()
    assert table in README


def test_files_that_are_linked_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
