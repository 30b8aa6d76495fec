"""The page in a real browser: Debian's chromium, driven by Selenium."""

import base64
import copy
import dataclasses
import importlib.util
import io
import json
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_distill.data.image_set import ImageSet
from keras_distill.ledger.contents import report_contents
from keras_distill.ledger.ledger import Ledger
from keras_distill.ledger.page import page_html

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = not (BROWSER and DRIVER and importlib.util.find_spec("selenium"))

pytestmark = pytest.mark.skipif(
    MISSING and "KERAS_DISTILL_REQUIRE_CHROMIUM" not in os.environ,
    reason="needs chromium and chromium-driver (apt-get install), and selenium",
)

SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def driver():
    assert not MISSING, "chromium, chromedriver and selenium are required here; see .ci/run"
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    browser = webdriver.Chrome(options=options, service=service)
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def file(contents, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page_html(contents, pictures), encoding="utf-8")
    return path


@pytest.fixture
def page(driver, file):
    """Opens the page at a width and in a theme; afterwards no error may have been logged."""

    def open_page(width=1280, theme="light", path=file):
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": theme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.get_log("performance")
        driver.get(path.as_uri())
        return driver

    yield open_page
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def by_css(driver, selector):
    return driver.find_elements("css selector", selector)


def texts(driver, selector):
    return [element.get_attribute("textContent") for element in by_css(driver, selector)]


def select(driver, identifier, value):
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", identifier)).select_by_value(value)


def press(driver, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def scroll_to(driver, element):
    """Scrolls, and waits until the page has noticed, for it hides its tip then."""
    driver.execute_async_script(
        """
        const [element, done] = arguments;
        element.scrollIntoView({block: "center"});
        requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));
        """,
        element,
    )


def screenshot(driver):
    return np.asarray(
        Image.open(io.BytesIO(base64.b64decode(driver.get_screenshot_as_base64()))).convert("RGB")
    ).astype(int)


@pytest.fixture(scope="module")
def crowded(ledger, contents, pictures, tmp_path_factory):
    """A page of many formats with long names, and of many classes."""
    student, index = ledger.stages[1], ledger.stages[-1]
    formats = []
    for number, (kind, runtime) in enumerate(
        [("float32.tflite", "LiteRT"), ("dynamic_int8.tflite", "LiteRT"), ("int8.tflite", "LiteRT")]
        + [("float16.tflite", "LiteRT"), ("float32.onnx", "ONNX Runtime")]
    ):
        cost = student.cost | {"timed_in": runtime, "milliseconds": 0.05 + 0.01 * number}
        cost |= {"megabytes": 0.2 + 0.1 * number, "parameters": None}
        name = f"photographs_of_the_garden_mobilenet_quarter_width_{kind}"
        stage = ledger.stages[1 + number % 2]
        formats.append(
            (1, dataclasses.replace(stage, name=name, model=f"models/{name}", cost=cost))
        )
    names = [f"{label:02d}.Great_{'very_' * (label % 4)}crested_flycatcher" for label in range(12)]
    drawn = ImageSet(
        Path("nowhere"),
        np.array([f"{names[row // 8]}/{row}.jpg" for row in range(96)]),
        np.repeat(np.arange(12), 8),
        tuple(names),
    )
    many = Ledger([*ledger.stages[:3], index], formats)
    report = contents | report_contents(many, drawn, most_queries=2000)
    report |= {"run": "runs/photographs_of_the_garden_mobilenet_quarter_width"}
    path = tmp_path_factory.mktemp("crowded") / "report.html"
    path.write_text(page_html(report, pictures), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_page_fits_and_loads_nothing_else(page, file, width, theme):
    driver = page(width, theme)
    assert driver.title == "Recall ledger of runs/shades"
    size = "return [document.documentElement.scrollWidth, innerWidth]"
    assert driver.execute_script(size) == [width, width]
    beyond = """
        const inner = document.querySelectorAll("main *:not(.scroll *):not(.legend *):not(svg *)");
        return [...inner].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
            .map((one) => one.outerHTML.slice(0, 90));
    """
    assert driver.execute_script(beyond) == []
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if "requestWillBeSent" in e["method"]]
    pages = [url for url in asked if not url.startswith("data:")]
    assert set(pages) == {file.as_uri()}
    pixels = screenshot(driver)
    assert pixels.shape == (900, width, 3)
    dark = pixels.mean() < 128
    assert dark == (theme == "dark")
    assert pixels.std() > 15  # there is ink on the paper


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("which", ["file", pytest.param("crowded", marks=pytest.mark.slow)])
def test_nothing_is_cut_or_overprinted(page, request, width, which):
    """Tables fit a wide window; what charts and texts say is whole, apart, and on the page."""
    driver = page(width, path=request.getfixturevalue(which))
    driver.execute_script("document.querySelectorAll('details').forEach((one) => one.open = false)")
    assert driver.execute_script("return document.documentElement.scrollWidth") == width
    cut = """
        const tables = [...document.querySelectorAll("#ledger-table, #price-table, #class-table")];
        return tables.map((one) => one.querySelector(".scroll"))
            .map((one) => [one.textContent.slice(0, 40), one.scrollWidth - one.clientWidth])
            .filter(([, beyond]) => beyond > 0);
    """
    if width == 1280:
        assert driver.execute_script(cut) == []
    outside = """
        const beyond = (one, box) => {
            const own = one.getBoundingClientRect();
            return own.left < box.left - 1 || own.right > box.right + 1;
        };
        const labels = [...document.querySelectorAll(".chart svg text")].filter((one) =>
            beyond(one, {left: 0, right: innerWidth}));
        const texts = "main p, main li, dt, dd, figcaption, .key, button";
        const blocks = [...document.querySelectorAll(texts)]
            .filter((one) => !one.closest(".scroll, .legend, .path") && !one.matches(".path"))
            .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
        return [...labels, ...blocks].map((one) => one.textContent.slice(0, 60));
    """
    assert driver.execute_script(outside) == []
    overprinted = """
        const found = [];
        for (const chart of document.querySelectorAll("figure:not(#map) .chart svg")) {
            const texts = [...chart.querySelectorAll("text")];
            const boxes = texts.map((one) => one.getBoundingClientRect());
            boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, j) => {
                const across = a.left < b.right && b.left < a.right;
                if (across && a.top + 3 < b.bottom && b.top + 3 < a.bottom)
                    found.push([texts[i].textContent, texts[i + 1 + j].textContent]);
            }));
        }
        return found;
    """
    assert driver.execute_script(overprinted) == []


@pytest.mark.slow
def test_branches_stand_apart_from_the_chain(page, crowded, contents):
    driver = page(path=crowded)
    rows = texts(driver, "#ledger-table tbody th")
    assert rows[7] == "All together"
    name = "photographs_of_the_garden_mobilenet_quarter_width_float32.tflite"
    assert rows[8:10] == [f"by {name}, of the student", name]
    answers = driver.find_element("id", "answers").text
    assert "And in other formats?" in answers
    verdict = driver.find_element("id", "verdict").text
    assert "From teacher to index" in verdict
    assert len(by_css(driver, "#waterfall .joint")) == 4
    assert len(by_css(driver, "#waterfall .bar")) == 5 + 5


@pytest.mark.slow
def test_times_are_compared_within_a_runtime(page, crowded):
    """Keras against Keras: a file in a runtime of its own is not called so many times faster."""
    driver = page(path=crowded)
    answers = driver.find_element("id", "answers").text
    assert "5.5× faster" in answers
    assert "22.0 → 4.00\u202fms an image, teacher → student, both in Keras." in answers
    assert len(by_css(driver, "#by-time .trend")) == 4
    caption = driver.find_element("css selector", "#by-time figcaption").text
    assert "Times in Keras, SavedModel, LiteRT, ONNX Runtime: only times in the same" in caption
    assert len(by_css(driver, "#by-size .trend")) == 1
    costs = texts(driver, "#price-table tbody td:nth-child(6)")
    assert costs[4].startswith("0.050")
    assert costs[4].endswith("LiteRT")


def test_ledger_shows_the_figures(page, contents):
    driver = page()
    rows = by_css(driver, "#ledger-table tbody tr")
    names = texts(driver, "#ledger-table tbody th")
    assert names == [
        "teacher",
        "by the student",
        "student",
        "by the export",
        "export",
        "by the index",
        "index",
        "All together",
    ]
    recall = [stage["recall"]["1"] for stage in contents["steps"]]
    for row, value in zip(rows[::2], recall, strict=False):
        assert row.find_element("css selector", ".figure").text == f"{100 * value:.1f}\u202f%"
    total = contents["total"]["recall"]["1"]
    assert rows[-1].find_element("css selector", ".figure").text == (
        f"{100 * total['value']:+.1f}".replace("-", "−")
    )
    assert f"{100 * recall[-1]:.1f}\u202f%" in driver.find_element("id", "verdict").text
    notes = driver.find_element("id", "notes").text
    assert "export Vectors are not of length 1, but from" in notes
    cost = driver.find_element("id", "price-table").text
    assert "2,257,984" in cost
    assert "90,000 queries/s\nexact 30,000" in cost


def test_only_a_loss_leaves_a_share(page, contents, pictures, tmp_path):
    shown = []
    for last in (0.5, 1.5):
        changed = copy.deepcopy(contents)
        before = changed["steps"][0]["recall"]["1"]
        changed["steps"][-1]["recall"]["1"] = last * before
        path = tmp_path / f"{last}.html"
        path.write_text(page_html(changed, pictures), encoding="utf-8")
        shown.append("is kept" in page(path=path).find_element("id", "verdict").text)
    assert shown == [True, False]


def test_charts_are_drawn_named_and_have_tables(page, contents):
    driver = page()
    charts = by_css(driver, "figure svg[role=img]")
    assert len(charts) == 4 + 3 + 1  # histograms of three models, and the map
    for chart in charts:
        assert chart.get_attribute("aria-label")
        assert chart.size["width"] > 200
    assert len(by_css(driver, "figure details table")) == len(charts)
    assert len(by_css(driver, "#waterfall rect.lost")) == 2
    assert len(by_css(driver, "#waterfall .bar")) == 5
    assert len(by_css(driver, "#curve .curve")) == 4
    assert len(by_css(driver, "#map .dot")) == 96
    assert "NaN" not in driver.find_element("tag name", "main").get_attribute("innerHTML")


def test_measure_and_zoom(page):
    driver = page()
    ticks = texts(driver, "#waterfall .tick")
    assert ticks[0] == "0\u202f%"
    assert ticks[-1] == "100\u202f%"
    by_css(driver, "#measures button")[3].click()
    pressed = [b.get_attribute("aria-pressed") for b in by_css(driver, "#measures button")]
    assert pressed == ["false"] * 3 + ["true", "false"]
    assert "MAP@R, stage by stage." in driver.find_element("css selector", "#waterfall").text
    driver.find_element("id", "zoom").click()
    assert "does not begin at 0" in driver.find_element("css selector", "#waterfall").text
    assert texts(driver, "#waterfall .tick")[0] != "0\u202f%"


def test_regressed_queries_come_with_both_galleries(page, contents):
    driver = page()
    comparison = contents["comparisons"][0]
    cards = by_css(driver, "#query-list .card")
    assert len(cards) == min(12, comparison["regressed_count"])
    worst = str(comparison["regressed"][0])
    assert contents["images"][worst]["path"] in cards[0].text
    galleries = cards[0].find_elements("css selector", ".gallery")
    assert len(galleries) == 2
    first = [gallery.find_element("css selector", "li") for gallery in galleries]
    assert [item.get_attribute("class") for item in first] == ["right", "wrong"]
    assert [item.find_element("css selector", ".badge").text for item in first] == ["✓", "✗"]
    described = first[1].find_element("css selector", "[alt], [aria-label]")
    said = described.get_attribute("alt") or described.get_attribute("aria-label")
    assert said.startswith("Wrong: ")
    assert ", distance " in said
    balance = driver.find_element("id", "query-balance").text
    assert f"{comparison['regressed_count']} got worse" in balance
    assert f"{comparison['both_right']} right in both" in balance


@pytest.mark.slow
def test_queries_are_filtered(page, contents):
    driver = page()

    def count():
        return driver.find_element("id", "query-count").text

    for number, comparison in enumerate(contents["comparisons"]):
        select(driver, "query-pair", str(number))
        for kind in ("regressed", "improved"):
            select(driver, "query-kind", kind)
            assert count() == f"{comparison[f'{kind}_count']} queries."
    select(driver, "query-pair", "0")
    select(driver, "query-kind", "regressed")
    rows = contents["comparisons"][0]["regressed"]
    names = [contents["images"][str(row)]["class"] for row in rows]
    select(driver, "query-class", names[0])
    assert count() == f"{names.count(names[0])} of {len(rows)} queries match."
    assert len(by_css(driver, "#query-list .card")) == min(names.count(names[0]), 12)
    select(driver, "query-class", "")
    words = driver.find_element("id", "query-words")
    words.send_keys(f"/{rows[1]}.JPG")
    assert len(by_css(driver, "#query-list .card")) == 1
    assert texts(driver, "#query-list .path") == [contents["images"][str(rows[1])]["path"]]
    words.send_keys("nothing is called so")
    assert by_css(driver, "#query-list .card") == []


def test_more_queries_on_demand(page, contents):
    driver = page()
    total = contents["comparisons"][0]["regressed_count"]
    assert total > 12
    button = driver.find_element("id", "query-more")
    assert button.text == f"Show {min(12, total - 12)} more of {total - 12}"
    while button.is_displayed():
        before = len(by_css(driver, "#query-list .card"))
        driver.execute_script("arguments[0].click()", button)
        assert len(by_css(driver, "#query-list .card")) > before
    assert len(by_css(driver, "#query-list .card")) == total


def test_names_are_text(page, contents):
    driver = page()
    assert by_css(driver, "main img[src='x']") == []
    assert driver.title.startswith("Recall ledger")
    classes = texts(driver, "#class-table tbody th")
    assert len(classes) == 12
    assert "shade 3" in classes
    assert any("<img src=x" in name for name in classes)
    assert any("</script>&amp;" in name for name in classes)


@pytest.mark.slow
def test_pictures_and_placeholders(page, pictures):
    driver = page()
    wait_for_images = "return [...document.images].every((one) => one.complete && one.naturalWidth)"
    assert driver.execute_script(wait_for_images)
    for button in by_css(driver, "#sample-more, #query-more"):
        while button.is_displayed():
            driver.execute_script("arguments[0].click()", button)
    shown = len(by_css(driver, "main img"))
    left_out = by_css(driver, "main .no-picture")
    assert shown > 60
    assert left_out
    assert all(one.get_attribute("aria-label") for one in left_out)


@pytest.mark.slow
def test_classes_sort_and_lead_to_their_queries(page, contents):
    driver = page()

    def column(number):
        return texts(driver, f"#class-table tbody tr > :nth-child({number})")

    changes = [float(text.replace("−", "-")) for text in column(7)]
    assert changes == sorted(changes)
    by_css(driver, "#class-table .sort")[0].click()
    assert column(1) == sorted(column(1), key=str.casefold)
    by_css(driver, "#class-table .sort")[0].click()
    heading = driver.find_element("css selector", "#class-table th")
    assert heading.get_attribute("aria-sort") == "descending"
    assert driver.switch_to.active_element.text.startswith("Class")
    driver.find_element("id", "class-words").send_keys("shade 4")
    assert column(1) == ["shade 4"]
    driver.find_element("css selector", "#class-table .link").click()
    chosen = driver.execute_script("return document.getElementById('query-class').value")
    assert chosen == "04.shade_4"


def test_map_shows_the_image_under_the_pointer(page, contents):
    from selenium.webdriver import ActionChains

    driver = page()
    host = driver.find_element("css selector", ".map-host")
    scroll_to(driver, host)
    dot = by_css(driver, "#map .dot")[40]
    ActionChains(driver).move_to_element(dot).perform()
    tip = driver.find_element("id", "tip")
    assert tip.is_displayed()
    assert re.search(r"shade \d+/\d+\.jpg", tip.text)
    assert tip.find_elements("css selector", "img, .no-picture")
    ActionChains(driver).move_to_element(driver.find_element("id", "map-lead")).perform()
    assert not tip.is_displayed()


@pytest.mark.slow
def test_map_by_keyboard(page):
    from selenium.webdriver import Keys

    driver = page()
    buttons = by_css(driver, "#map-legend button")
    scroll_to(driver, buttons[2])
    buttons[2].click()
    faint = "return document.querySelectorAll('#map g.faint').length"
    assert driver.execute_script(faint) == 11
    name = buttons[2].text
    host = driver.find_element("css selector", ".map-host")
    driver.execute_script("arguments[0].focus()", host)
    said = []
    for _ in range(9):
        press(driver, Keys.ARROW_RIGHT)
        said.append(driver.find_element("id", "map-said").text)
    assert all(text.startswith(name) for text in said)
    assert len(set(said)) == 8
    assert said[8] == said[0]
    press(driver, Keys.ESCAPE)
    assert driver.find_element("id", "map-said").text == ""
    stages = by_css(driver, "#map-stages button")
    assert [button.text for button in stages] == ["teacher", "student", "export"]
    places = "return [...document.querySelectorAll('#map .dot')].map((dot) => dot.style.transform)"
    before = driver.execute_script(places)
    driver.execute_script("arguments[0].click()", stages[1])
    assert driver.execute_script(places) != before


def test_curve_shows_the_recall_under_the_pointer(page, contents):
    from selenium.webdriver import ActionChains

    driver = page()
    chart = driver.find_element("css selector", "#curve svg.chart, #curve .chart > svg")
    scroll_to(driver, chart)
    ActionChains(driver).move_to_element_with_offset(
        chart, 60 - chart.size["width"] // 2, 0
    ).perform()
    tip = driver.find_element("id", "tip")
    assert tip.text.startswith("Recall@1\n")
    assert f"{100 * contents['steps'][0]['recall']['1']:.1f}\u202f%" in tip.text


def test_theme_by_button(page):
    driver = page(theme="light")
    button = driver.find_element("id", "theme")
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = driver.execute_script(paper)
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert driver.execute_script(paper) != light
    button.click()
    assert driver.execute_script(paper) == light


@pytest.mark.slow
def test_everything_is_reached_by_tab_with_visible_focus(page):
    from selenium.webdriver import Keys

    driver = page()
    seen = set()
    for _ in range(60):
        press(driver, Keys.TAB)
        state = """
            const one = document.activeElement, style = getComputedStyle(one);
            return [one.id || one.textContent.trim().slice(0, 30), style.outlineStyle, one.tagName];
        """
        name, outline, tag = driver.execute_script(state)
        if tag == "BODY":
            break
        seen.add(name)
        assert outline != "none", name
    assert {"Skip to the report", "theme", "zoom", "Recall@1", "query-pair", "query-words"} <= seen


@pytest.mark.slow
def test_text_is_readable(page):
    """Contrast of text with what lies behind it is 4.5 or more, as WCAG 2 AA demands."""
    script = """
        const shade = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const behind = (one) => {
            for (; one; one = one.parentElement) {
                const colour = parse(getComputedStyle(one).backgroundColor);
                if (colour.length === 3 || colour[3] === 1) return colour;
            }
            return [255, 255, 255];
        };
        return [...document.querySelectorAll("main *:not(svg *), header *")].filter((one) =>
            [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
            .map((one) => {
                const [a, b] = [parse(getComputedStyle(one).color), behind(one)].map(shade);
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                return [contrast, one.outerHTML.slice(0, 80)];
            }).filter(([contrast]) => contrast < 4.5);
    """
    for theme in ("light", "dark"):
        assert page(theme=theme).execute_script(script) == []


@pytest.mark.slow
def test_student_alone(page, contents, pictures, tmp_path):
    stages = [contents["steps"][1] | {"change": None, "compared_with_before": None}]
    queries = {
        row: {key: [values[1]] for key, values in contents["queries"][row].items()}
        for row in map(str, contents["samples"])
    }
    alone = contents | {
        "steps": stages,
        "total": None,
        "comparisons": [],
        "queries": queries,
        "map": contents["map"] | {"steps": [contents["map"]["steps"][1] | {"step": 0}]},
    }
    path = tmp_path / "report.html"
    path.write_text(page_html(alone, pictures), encoding="utf-8")
    driver = page(path=path)
    assert "Recall@1 of the student is" in driver.find_element("id", "verdict").text
    assert not driver.find_element("id", "query-filters").is_displayed()
    assert len(by_css(driver, "#sample-list .card")) == 6


@pytest.mark.slow
def test_thousands_of_changed_queries_stay_fluid(page, contents, pictures, tmp_path):
    """Of 5,000 queries only those on show are in the document."""
    template = next(iter(contents["queries"].values()))
    rows = [*range(1000, 6000)]
    many = contents | {
        "queries": contents["queries"] | {str(row): template for row in rows},
        "images": contents["images"]
        | {str(row): {"path": f"{row}.jpg", "class": "03.shade_3"} for row in rows},
        "comparisons": [
            contents["comparisons"][0] | {"regressed": rows, "regressed_count": len(rows)},
            *contents["comparisons"][1:],
        ],
    }
    path = tmp_path / "report.html"
    path.write_text(page_html(many, pictures), encoding="utf-8")
    driver = page(path=path)

    def wait_for_cards(count):
        deadline = time.monotonic() + 10
        while len(by_css(driver, "#query-list .card")) != count and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(by_css(driver, "#query-list .card")) == count

    wait_for_cards(12)  # thousands of them take the browser a moment
    driver.find_element("id", "query-words").send_keys("5999")
    wait_for_cards(1)
    assert texts(driver, "#query-list .path") == ["5999.jpg"]
