"""Tiny prepared data, made once for all tests of a process, and a process as good as new."""

import signal

import model_garden
import pytest


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def sentences(tmp_path_factory):
    return model_garden.write_sentences(tmp_path_factory.mktemp("sentences"))


@pytest.fixture
def as_new_process():
    """Gin, Keras and the random state as a new process has them."""
    import gin
    import tf_keras

    gin.clear_config()
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(0)
    yield
    gin.clear_config()


@pytest.fixture
def hang_guard():
    """Ends a test that hangs; each takes milliseconds."""

    def stop(signum, stack):
        raise AssertionError("the file makes its reader hang")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)
