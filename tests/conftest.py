"""Tiny prepared data, made once for all tests of a process."""

import model_garden
import pytest


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return model_garden.write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def sentences(tmp_path_factory):
    return model_garden.write_sentences(tmp_path_factory.mktemp("sentences"))
