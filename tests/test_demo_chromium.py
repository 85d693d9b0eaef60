"""The page of `kwc demo` in Chromium: what is drawn, what both models say, and who is asked."""

import json
import shutil
import subprocess

import export_models
import model_garden
import numpy as np
import pytest
from demo_pages import demo, finished, served, untrained
from playwright import sync_api
from test_launch_chromium import browser  # noqa: F401  (a fixture)

from kwc.algorithms import Clustering, Pruning, Quantization
from kwc.exports import tflite
from launch.demo import folder, litert, models

# The runtime comes from the network the first time, or from what npm has kept.
pytestmark = pytest.mark.slow

READY = "Draw something, or choose a picture."
STROKE = [(80, 70), (130, 50), (180, 70), (185, 110), (130, 135), (190, 170), (130, 235), (75, 215)]
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    """The real runtime, as npm installs it."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm: apt-get install npm")
    scratch = tmp_path_factory.mktemp("npm")
    shutil.copytree(litert.PINNED, scratch, dirs_exist_ok=True)
    done = subprocess.run(
        ["npm", *litert.INSTALL], cwd=scratch, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs the network, or what npm has kept: {done.stderr[:200]}")
    return scratch / "node_modules"


@pytest.fixture(scope="module")
def written(modules, tmp_path_factory):
    """The page of a tiny artifact, beside another one whose answers are others."""
    data = model_garden.write_images(tmp_path_factory.mktemp("data")).parent
    trial = finished(data, tmp_path_factory.mktemp("runs") / "trial")
    other = untrained(data, tmp_path_factory.mktemp("runs") / "other") / "model.kwc"
    out = tmp_path_factory.mktemp("pages") / "page"
    assert demo(trial, out, f"--runtime={modules}", f"--dense={other}") == 0
    return out


@pytest.fixture(scope="module")
def address(written):
    with served(written) as address:
        yield address


@pytest.fixture(params=WIDTHS)
def page(request, browser, address):  # noqa: F811
    """The page at one width; fails if it complains, or asks for anything from elsewhere."""
    size = {"width": WIDTHS[request.param], "height": 900}
    context = browser.new_context(viewport=size, has_touch=request.param == "phone")
    page = context.new_page()
    complaints = []

    def hear(message):
        # The runtime reports what it finds, and that there is no GPU, as errors.
        if "/runtime/" not in message.location["url"] and "adapters" not in message.text:
            complaints.append(message.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: (
            request.url.startswith((address, "data:")) or complaints.append(request.url)
        ),
    )
    page.goto(address)
    sync_api.expect(page.locator("#status")).to_have_text(READY, timeout=60_000)
    yield page
    assert not complaints
    context.close()


def places(page):
    """The stroke in the coordinates of the window."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    return [
        (box["x"] + x * box["width"] / 280, box["y"] + y * box["width"] / 280) for x, y in STROKE
    ]


def draw(page):
    first, *rest = places(page)
    page.mouse.move(*first)
    page.mouse.down()
    for place in rest:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    settled(page)


def settled(page):
    """Waits until both models have answered, and been timed on what is drawn."""
    for role in ("dense", "compressed"):
        sync_api.expect(page.locator(f"#{role}-note")).to_contain_text("ms a run", timeout=30_000)


def seen(page):
    """The pixels that the models see."""
    return np.array(
        page.evaluate(
            """() => {
                const seen = document.getElementById("seen");
                const copy = new OffscreenCanvas(seen.width, seen.height).getContext("2d");
                copy.drawImage(seen, 0, 0);
                const { data } = copy.getImageData(0, 0, seen.width, seen.height);
                return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3]);
            }"""
        )
    )


def shown(page, role):
    """The probabilities of one model."""
    cells = page.locator(f"#scores .{role} data")
    return np.array([float(value) for value in cells.evaluate_all("all => all.map(d => d.value)")])


def expected(written, role, pixels):
    """What LiteRT in Python makes of the same pixels."""
    told = json.loads((written / folder.TOLD).read_text())
    inputs = np.multiply.outer(pixels.reshape(told["shape"][:2]), told["scale"]) + told["shift"]
    path = written / folder.MODELS / told["files"][role]["name"]
    runner = tflite.litert.Interpreter(str(path)).get_signature_runner()
    logits = runner(inputs=inputs.astype(np.float32)[None])["outputs"][0].astype(np.float64)
    return softmax(logits)


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def agrees(page, written):
    """Both models say what they say in Python."""
    pixels = seen(page)
    assert np.ptp(pixels) > 100
    answers = []
    for role in ("dense", "compressed"):
        wanted = expected(written, role, pixels)
        np.testing.assert_allclose(shown(page, role), wanted, rtol=1e-3)
        answers.append(page.locator(f"#{role}-answer").inner_text())
        assert answers[-1] == str(wanted.argmax())
    said = "Both say {}." if len(set(answers)) == 1 else "They differ: {}, and {}."
    assert page.locator("#status").inner_text() == said.format(*answers)


def test_both_models_say_of_a_drawing_what_they_say_in_python(page, written):
    draw(page)
    agrees(page, written)
    pixels = seen(page)
    page.get_by_role("button", name="Clear").click()
    sync_api.expect(page.locator("#status")).to_have_text(READY)
    assert not seen(page).any()
    assert not any(text for text in page.locator("#scores data").all_inner_texts())
    draw(page)
    np.testing.assert_array_equal(seen(page), pixels)


def test_pictures_are_chosen_by_the_keyboard_and_seen_as_they_are(page, written):
    pictures = json.loads((written / folder.TOLD).read_text())["pictures"]
    page.locator("#clear").focus()
    page.keyboard.press("Tab")
    for picture in pictures[:3]:
        page.keyboard.press("Enter")
        settled(page)
        agrees(page, written)
        label = page.evaluate("document.activeElement.getAttribute('aria-label')")
        assert label == f"Picture of {picture['label']}"
        pixels = page.evaluate(
            "pixels => [...atob(pixels)].map(c => c.charCodeAt(0))", picture["pixels"]
        )
        np.testing.assert_array_equal(seen(page), pixels)
        page.keyboard.press("Tab")
    before = seen(page)
    draw(page)
    assert not np.array_equal(seen(page), before), "a stroke begins a new drawing"


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_a_finger_draws(page, written):
    session = page.context.new_cdp_session(page)
    touch = lambda kind, *at: session.send(  # noqa: E731
        "Input.dispatchTouchEvent",
        {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]},
    )
    first, *rest = places(page)
    top = page.evaluate("scrollY")
    touch("touchStart", first)
    for place in rest:
        touch("touchMove", place)
    touch("touchEnd")
    settled(page)
    agrees(page, written)
    assert page.evaluate("scrollY") == top, "a stroke does not scroll the page"


def test_sizes_are_shown_and_nothing_sticks_out(page, written):
    files = json.loads((written / folder.TOLD).read_text())["files"]
    rows = page.locator("#files tr").all()
    for row, file in zip(rows, files.values(), strict=True):
        path = written / folder.MODELS / file["name"]
        cells = row.locator("th, td").all_inner_texts()
        ratio = files["dense"]["bytes"] / file["bytes"]
        sizes = [f"{path.stat().st_size:,}", f"{file['gzip']:,}", f"{ratio:.2f}"]
        assert cells == [file["name"], *sizes, file["route"]]
    draw(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_scheme(page, scheme):
    page.emulate_media(color_scheme=scheme)
    colour = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") == (scheme == "light")


FORMS = {
    "int8": Quantization(bits=8),
    "int4": Quantization(bits=4),
    "sparse": Pruning(sparsity=0.9) >> Quantization(bits=4),
    "hybrid": Quantization(bits=8),
    "float16": Clustering(clusters=16),
}


@pytest.mark.parametrize("page", ["desktop"], indirect=True)
@pytest.mark.parametrize("route", FORMS)
def test_the_runtime_runs_every_form(page, route, written, tmp_path):
    build = export_models.convolutional
    report = export_models.export(build, FORMS[route], tmp_path, route=route)
    name = f"{folder.MODELS}/{route}.tflite"
    (written / name).write_bytes(models.fix_batch(report.path.read_bytes()))
    one = export_models.inputs(build)[:1]
    found = page.evaluate(
        """async ([name, input]) => {
            const { loadAndCompile } = await import("@litertjs/core");
            const { Model } = await import("./models.js");
            const model = new Model(await loadAndCompile(name, { accelerator: "wasm" }));
            return model.run(Float32Array.from(input));
        }""",
        [name, one.ravel().tolist()],
    )
    runner = tflite.litert.Interpreter(str(report.path)).get_signature_runner()
    # Hybrid products round what they multiply; the kernels of the web and of here may do so apart.
    tolerance = 0.05 if route == "hybrid" else 1e-4
    np.testing.assert_allclose(found, softmax(runner(inputs=one)["outputs"][0]), atol=tolerance)
