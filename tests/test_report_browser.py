"""Pages in a real browser: they load nothing, draw, sort, filter, change colours and print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from profiler.tables.lint import lint
from profiler.tables.table import save
from reports import report, runs, table_page
from tests import browser as driver
from tests import synthetic_runs as made
from tests.browser import Browser
from tests.test_report import NASTY, hostile

pytest.importorskip("vl_convert")
pytestmark = pytest.mark.skipif(
    driver.found() is None, reason="no Chromium here: apt-get install chromium"
)
READY = "document.body.dataset.ready === 'yes'"
FIRST = "document.querySelector('#comparison-2 .data')"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    found = [runs.read(p) for p in made.all_kinds(place, 20, 5)]
    (place / "nasty").mkdir()
    bad = [runs.read(p) for p in hostile(place / "nasty")]
    save(made.table(), place / "t.json")
    texts = {
        "report": report.render(found, force=True),
        "nasty": report.render(bad, NASTY, force=True),
        "table": table_page.render(made.table(), lint(place / "t.json"), "t.json"),
    }
    for name, text in texts.items():
        (place / f"{name}.html").write_text(text)
    return {name: place / f"{name}.html" for name in texts}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.mark.parametrize("name", ["report", "nasty", "table"])
@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_draws_everything_without_errors_or_requests(
    name: str, width: int, pages: dict[str, Path], chromium: Browser
) -> None:
    chromium.open(pages[name], width=width)
    chromium.wait(READY)
    drawn = chromium.run("document.querySelectorAll('.chart[data-drawn] svg').length")
    assert drawn == chromium.run("document.querySelectorAll('.chart').length") > 3
    assert chromium.problems == []
    assert chromium.requests == []
    assert chromium.run("window.hit") is None
    wide = chromium.run("document.documentElement.scrollWidth")
    assert wide <= width, "the page is wider than the screen"


def texts(chromium: Browser, column: int) -> list[str]:
    found: list[str] = chromium.run(
        f"[...{FIRST}.querySelectorAll('tbody tr:not([hidden])')]"
        f".map(r => r.cells[{column}].textContent)"
    )
    return found


def test_tables_sort_by_mouse_and_by_keyboard(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages["report"])
    chromium.wait(READY)
    chromium.run(f"{FIRST}.querySelectorAll('th button')[2].click()")
    numbers = [float(t) for t in texts(chromium, 2)]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]
    chromium.run(f"{FIRST}.querySelectorAll('th button')[2].focus()")
    chromium.key("Enter", 13, "\r")
    assert [float(t) for t in texts(chromium, 2)] == sorted(numbers, reverse=True)
    assert chromium.run(f"{FIRST}.querySelectorAll('th')[2].ariaSort") == "descending"
    chromium.run(f"{FIRST}.querySelectorAll('th button')[0].click()")
    assert texts(chromium, 0) == [f"network_{i}" for i in range(20)], "10 comes after 9"


def test_tables_filter(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages["report"])
    chromium.wait(READY)
    script = f"""(() => {{ const box = {FIRST}.querySelector('input'); box.value = 'WORDS';
        box.dispatchEvent(new Event('input')); return {FIRST}.querySelector('output').textContent;
        }})()"""
    assert chromium.run(script.replace("WORDS", "network_1 -network_10")) == "10 of 20 rows"
    assert "network_10" not in texts(chromium, 0)
    assert chromium.run(script.replace("WORDS", "nothing like this")) == "0 of 20 rows"
    assert chromium.run(script.replace("WORDS", "")) == "20 of 20 rows"


def test_colours_follow_the_system_and_the_switch(
    pages: dict[str, Path], chromium: Browser
) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "getComputedStyle(document.querySelector('.chart svg text')).fill"
    chromium.open(pages["report"])
    chromium.wait(READY)
    light, light_ink = chromium.run(paper), chromium.run(ink)
    chromium.run("document.querySelector('#dark').click()")
    dark, dark_ink = chromium.run(paper), chromium.run(ink)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(21, 23, 26)")
    assert light_ink != dark_ink, "figures change with the page"
    chromium.open(pages["report"], dark=True)
    chromium.wait(READY)
    assert chromium.run(paper) == dark
    chromium.run("document.querySelector('#light').focus()")
    chromium.key(" ", 32, " ")
    assert chromium.run(paper) == light


def test_hovering_shows_interval_and_samples(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages["report"])
    chromium.wait(READY)
    chromium.run("document.querySelector('#comparison-2 .mark-rect path').scrollIntoView()")
    box = chromium.run(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        "(document.querySelector('#comparison-2 .mark-rect path').getBoundingClientRect())"
    )
    for step in (1, 0):
        chromium.send("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] - step, y=box[1])
    chromium.wait("document.querySelector('#hover.visible') !== null")
    said = chromium.run("document.querySelector('#hover').textContent")
    for word in ("network_0", "onnxruntime", "95 %", "rounds (ms)"):
        assert word in said


def test_a_command_is_copied(pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages["report"])
    chromium.wait(READY)
    chromium.run("document.querySelectorAll('details.command').forEach(d => d.open = true)")
    chromium.run("document.querySelector('#comparison-2 .command button').click()")
    chromium.wait("document.querySelector('#comparison-2 .command button').textContent==='Copied'")


@pytest.mark.parametrize("name", ["report", "table"])
def test_a_page_prints(name: str, pages: dict[str, Path], chromium: Browser) -> None:
    chromium.open(pages[name], dark=True)
    chromium.wait(READY)
    printed = chromium.printed()
    assert printed.startswith(b"%PDF-")
    assert printed.count(b"/Type /Page\n") >= 3
