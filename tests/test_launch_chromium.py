"""The page of a sweep: what a reader can do with it, in Chromium at two widths."""

import re
import shutil

import pytest
from playwright import sync_api
from report_fakes import make_sweep

from launch import report
from launch.report import html, table

CHROMIUM = shutil.which("chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--no-first-run"]
WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    sweep_folder, trials = make_sweep(tmp_path_factory.mktemp("sweep"))
    report.write(sweep_folder)
    return sweep_folder, trials


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser, sweep):
    """The page at one width; fails on a console message or a request for anything but the page."""
    width = WIDTHS[request.param]
    page = browser.new_page(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    address = (sweep[0] / "report.html").as_uri()
    page.on(
        "request",
        lambda request: (
            request.url.partition("#")[0] == address
            or request.url.startswith("data:")
            or complaints.append(request.url)
        ),
    )
    page.goto(address)
    yield page
    assert not complaints
    page.close()


def column(page, name):
    """The shown cells of a column of the table."""
    headings = page.locator("#table thead th").evaluate_all("all => all.map(h => h.dataset.column)")
    return page.locator(
        f"#table tbody tr > :nth-child({headings.index(name) + 1})"
    ).all_inner_texts()


def test_nothing_sticks_out(page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_sorting(page):
    heading = page.locator("th[data-column=drop_points]")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    shown = column(page, "drop_points")
    changes = [float(cell) for cell in shown if cell]
    assert changes == sorted(changes)
    assert shown[-4:] == [""] * 4  # The baselines, last either way.
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    shown = column(page, "drop_points")
    assert [float(cell) for cell in shown if cell] == sorted(changes, reverse=True)
    assert shown[-4:] == [""] * 4
    page.locator("th[data-column=rate]").get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert [cell for cell in column(page, "rate") if cell] == ["2"] * 4 + ["4"] * 4 + ["8"] * 4


def test_filters(page):
    page.locator("select[data-column='axis.RATE']").select_option("4")
    page.locator("select[data-column='axis.arch']").select_option("large")
    assert column(page, "rate") == ["4", "4"]
    assert column(page, "arch") == ["large", "large"]
    assert page.locator("#count").inner_text() == "2 of 20 trials"
    page.get_by_role("button", name="Clear").click()
    sync_api.expect(page.locator("#count")).to_have_text("20 of 20 trials")
    page.get_by_label("Find").fill("SMALL lossless")
    assert column(page, "algorithm") == ["lossless"] * 2
    page.get_by_label("Find").fill("nowhere")
    assert page.locator("#count").inner_text() == "0 of 20 trials"


def test_a_row_shows_its_trial(page, sweep):
    folder, trials = sweep
    trial = trials[-1]
    page.locator(f"#table a[href='#{trial.id}']").click()
    title = page.locator("#trial-title")
    sync_api.expect(title).to_have_text("large · quantization · 8 · seed 1")
    sync_api.expect(title).to_be_in_viewport()
    assert page.locator(f"tr[id='{trial.id}']").get_attribute("aria-current") == "true"
    figures = page.locator(".tiles").all_inner_texts()
    assert "file bytes\n1,000" in "\n".join(figures).replace("\n\n", "\n")
    commands = page.locator("#command").inner_text().splitlines()
    assert [html.command(folder, trial_id) for trial_id in (trial.baseline, trial.id)] == commands
    provenance = page.locator(".provenance").inner_text()
    for fact in ("abc", "kwc 0.1.0, tensorflow 2.20.0", "EPYC, 2 cores", "checkpoint 1"):
        assert fact in provenance
    weights = page.locator("#weights tbody tr").first.locator("td").all_inner_texts()
    assert weights == [
        *("dense/kernel", "30x30", "quantization(bits=4)"),
        *("3,600", "900", "8.00", "100.0 %", "0.125"),
    ]
    assert page.locator(".curves h4").all_inner_texts() == ["ACCURACY", "BITS PER WEIGHT"]
    page.get_by_role("link", name="seed 0").last.click()
    sync_api.expect(title).to_have_text("large · quantization · 8 · seed 0")
    page.go_back()
    sync_api.expect(title).to_have_text("large · quantization · 8 · seed 1")


def test_a_point_is_reached_and_opened_by_the_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    name = ""
    for _ in range(20):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.getAttribute('aria-label')")
        if name and "quantization 2" in name:
            break
    assert name.startswith("small quantization 2: 85.50 ± 0.71 %, 250 bytes")
    ring = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(ring) == "solid"
    page.keyboard.press("Enter")
    sync_api.expect(page.locator("#trial-title")).to_have_text("small · quantization · 2 · seed 0")
    sync_api.expect(page.locator("#trial-title")).to_be_focused()


def test_the_address_names_the_trial(page, sweep):
    page.goto(f"{page.url.partition('#')[0]}#{sweep[1][0].id}")
    title = "small · dense · baseline · seed 0"
    sync_api.expect(page.locator("#trial-title")).to_have_text(title)


def test_the_command_is_copied(page, sweep):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    sync_api.expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#command").inner_text()


def contrast(page, selector):
    """The contrast between an element's text and the page's surface, as WCAG defines it."""
    colours = page.evaluate(
        """selector => {
            const part = document.querySelector(selector);
            const under = getComputedStyle(document.querySelector("figure")).backgroundColor;
            return [getComputedStyle(part).color, under];
        }""",
        selector,
    )

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_both_schemes(page, scheme):
    page.emulate_media(color_scheme=scheme)
    surface = page.evaluate("getComputedStyle(document.querySelector('figure')).backgroundColor")
    assert (surface == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in ("td", ".note", "a", "figure svg text", ".state"):
        assert contrast(page, selector) >= 4.5, selector
    points = page.evaluate(
        """() => [...document.querySelectorAll("figure svg a use")]
            .map(point => getComputedStyle(point).fill)"""
    )
    assert len(set(points)) == 2  # Two algorithms.
    assert "rgb(0, 0, 0)" not in points


def test_pages_of_a_long_table(browser, sweep, monkeypatch, tmp_path):
    monkeypatch.setattr(html, "ROWS_PER_PAGE", 8)
    (tmp_path / "report.html").write_text(html.page(sweep[0], table.read(sweep[0])))
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("#table tbody tr").count() == 8
    assert page.locator("#place").inner_text() == "page 1 of 3"
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Next").click()
    assert page.locator("#table tbody tr").count() == 4
    assert page.get_by_role("button", name="Next").is_disabled()
    page.locator("select[data-column='axis.arch']").select_option("small")
    assert page.locator("#place").inner_text() == "page 1 of 2"
    page.close()
