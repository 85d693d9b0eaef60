"""Two replicas train what one does, and agree on every variable."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs():
    script = pathlib.Path(__file__).with_name("replicas.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_replicas_have_the_losses_of_one(runs):
    one, two = runs
    assert len(set(one["losses"])) == 3
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-5)


def test_two_replicas_train_the_variables_of_one(runs):
    """Penalties count once, and updates see the sum of the replicas' gradients."""
    one, two = runs
    assert one["variables"].keys() == two["variables"].keys()
    for name, value in one["variables"].items():
        np.testing.assert_allclose(two["variables"][name], value, atol=1e-5, err_msg=name)
    assert np.any(np.array(one["variables"]["dense/kernel/gradient"]) != 0)
    assert np.sum(one["variables"]["dense_1/kernel/mask"]) == 8
    assert one["variables"]["clock"] == 6


def test_replicas_agree_on_every_variable(runs):
    two = runs[1]
    assert two["copies"] == 2
    assert two["apart"] == 0.0
