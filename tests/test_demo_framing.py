"""Where pictures lie in their field: measured in Python, and done to drawings by the page."""

import functools
import pathlib

import numpy as np
import pytest
from demo_pages import served
from test_launch_chromium import browser  # noqa: F401  (a fixture)

from launch.demo import framing
from launch.errors import LaunchError

PAGE = pathlib.Path(framing.__file__).with_name("page")


def test_framing_is_that_of_the_box_where_boxes_lie_still():
    rng = np.random.default_rng(0)
    images = np.zeros([50, 28, 28], np.uint8)
    images[:, 4:24, 9:19] = rng.integers(1, 255, [50, 20, 10]) * (rng.random([50, 20, 1]) < 0.5)
    images[:, [4, 23], 9:19] = 9
    images[0] = 0
    assert framing.measure(images) == framing.Framing(20, "box", 14, 14)
    with pytest.raises(LaunchError, match="dark on light"):
        framing.measure(255 - images)


def test_framing_is_that_of_the_mass_where_masses_lie_still():
    """Ramps of 10 pixels, heavy above or below, whose centre of mass is put at 7.5."""
    images = np.zeros([50, 16, 16], np.uint8)
    ramp = np.arange(1, 11)[
        :, None
    ]  # Its mean place is 6.5 with the pixel's middle, from its start.
    images[::2, 1:11, 6:10] = ramp
    images[1::2, 4:14, 6:10] = ramp[::-1]
    assert framing.measure(images) == framing.Framing(10, "mass", 7.5, 8)


@pytest.fixture(scope="module")
def lay(browser):  # noqa: F811
    """What the page's own `lay` makes of a drawing."""
    page = browser.new_page()
    with served(PAGE) as address:
        page.goto(address)

        yield functools.partial(_lay, page)
    page.close()


def _lay(page, ink, framing, shape):
    arguments = [ink.ravel().tolist(), ink.shape[1], vars(framing), shape]
    found = page.evaluate(
        """async ([ink, ...rest]) => {
            const { lay } = await import("./framing.js");
            const found = lay(Uint8Array.from(ink), ...rest);
            return found && [...found];
        }""",
        arguments,
    )
    return None if found is None else np.reshape(found, shape)


def covered(length, field, scale, offset):
    """How much of each cell of the field each scaled pixel of the drawing covers."""
    start = scale * np.arange(length) + offset
    cell = np.arange(field)[:, None]
    return np.clip(np.minimum(start + scale, cell + 1) - np.maximum(start, cell), 0, None)


def test_a_bar_is_laid_as_large_as_the_data_has_it(lay):
    ink = np.zeros([40, 30], np.uint8)
    ink[2:12, 3:5] = 200
    expected = np.zeros([28, 28])
    expected[4:24, 12:16] = 200
    found = lay(ink, framing.Framing(20, "box", 14, 14), [28, 28])
    np.testing.assert_array_equal(found, expected)
    assert lay(0 * ink, framing.Framing(20, "box", 14, 14), [28, 28]) is None


@pytest.mark.parametrize("seed", range(5))
def test_a_drawing_is_averaged_over_pixels_with_its_mass_in_the_middle(lay, seed):
    rng = np.random.default_rng(seed)
    ink = np.zeros([60, 60], np.uint8)
    top, left = rng.integers(0, 20, 2)
    ink[top : top + 40, left : left + 30] = rng.integers(1, 256, [40, 30])
    ink[top : top + 15, left : left + 20] //= 3
    found = lay(ink, framing.Framing(20, "mass", 14.5, 14.5), [28, 28])
    mass = [ink.sum(axis) @ (np.arange(60) + 0.5) / ink.sum() for axis in (1, 0)]
    first = [round(14.5 - 0.5 * (m - start)) for m, start in zip(mass, (top, left), strict=True)]
    weights = [
        covered(60, 28, 0.5, place - 0.5 * start)
        for place, start in zip(first, (top, left), strict=True)
    ]
    expected = weights[0] @ ink @ weights[1].T
    np.testing.assert_allclose(found, expected, atol=0.5 + 1e-9)
    centre = found.sum(axis=1) @ (np.arange(28) + 0.5) / found.sum()
    assert abs(centre - 14.5) <= 0.55


def test_a_drawing_lies_inside_the_field(lay):
    """Even where its mass is far from the middle of its box."""
    ink = np.ones([50, 50], np.uint8)
    ink[:5] = 255
    found = lay(ink, framing.Framing(20, "mass", 14, 14), [28, 28])
    assert found[8:28, 4:24].all() and not found[:8].any()
