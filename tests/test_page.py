"""The page: complete, escaped, closed in itself, the same each time."""

from __future__ import annotations

import dataclasses
import re
import sys
from html.parser import HTMLParser

import pytest

from profiler import breakdown
from profiler.errors import MissingPackage
from profiler.tables.build import close
from profiler.tables.demo import Demonstration
from profiler.tables.table import Entry, LatencyTable, Network
from profiler.types import Breakdown, BreakdownRow, Target, Workload
from reports import page, plots

pytest.importorskip("matplotlib")

NASTY = '<script>alert(1)</script>&"'
BLOCKS = ("stem/16", "mb4d/56/16", "mb4d/56/16", "embedding/28/16-32", "mb3d/784/32", "head/32")
CLOSURE = (Network("16-32/1-1/1", 1_020_000, 1_000_000, 2.0, 0.5),)
REFERENCES = (Network(NASTY, 1_990_000, 2_000_000, -0.5, 0.25),)
PROVENANCE = {
    "opclock": "0.1.0",
    "protocol": {"evict_bytes": 32 << 20},
    "environment": {
        "hardware": {"cpu": "Some <Processor>", "caches": {"L1": "48K"}, "memory_bytes": 2**33},
        "packages": {"numpy": "2.3.5"},
    },
    "processes": 10,
    "process_speed_range": [0.99, 1.025],
    "failures": [f"mb4d/{NASTY}: run: it broke"],
}


def table() -> LatencyTable:
    sources = {k: "interpolated" if "embedding" in k else "measured" for k in BLOCKS}
    entries = {k: Entry(k, 500_000, 490_000, 510_000, s, 10) for k, s in sources.items()}
    return LatencyTable(
        space="efficientformer",
        target="host/onnxruntime:cpu,fp32,threads=1",
        device={"name": "host", "description": "A device & more", "fingerprint": "0"},
        runtime_version="1.0",
        created="2026-01-01T00:00:00+00:00",
        overhead_ns=3000,
        scale=1.01,
        entries=entries,
        references=REFERENCES,
        closure=close(CLOSURE, 0),
        closure_networks=CLOSURE,
        provenance=PROVENANCE,
    )


def demo(measured_ns: int = 3_100_000, **changes: object) -> Demonstration:
    held = dataclasses.replace(table(), **changes)  # type: ignore[arg-type]
    foretold = held.predict("l1", BLOCKS)
    error = (foretold.latency_ns / measured_ns - 1) * 100
    network = Network("l1", foretold.latency_ns, measured_ns, round(error, 3), 0.8)
    place = Target("host", "onnxruntime")
    parts = breakdown.by_block(held, Workload("a:b"), place, BLOCKS, measured_ns)
    return Demonstration(held, foretold, network, parts)


class Reader(HTMLParser):
    """Collects tags, identifiers, references and text; unbalanced tags are an error."""

    VOID = frozenset({"meta", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.ids += [value or ""] if name == "id" else []
            self.links += [value or ""] if name.endswith(("href", "src")) else []
            assert not name.startswith("on")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_what_others_wrote_is_escaped() -> None:
    html = page.render(demo())
    read = Reader(html)
    assert "script" not in read.tags
    assert NASTY not in html
    assert read.text.count(NASTY) == 2
    assert "Some <Processor>" in read.text
    assert "A device & more" in read.text


def test_headline_names_both_latencies_interval_and_difference() -> None:
    shown = demo()
    text = Reader(page.render(shown)).text
    assert shown.prediction.latency_ns == 3_033_000
    assert "predicted to take 3.033 ms" in text
    assert "measured to take 3.100 ms" in text
    assert "2.16 % below the measurement" in text
    assert "inside the interval" in text
    assert "outside the interval" in Reader(page.render(demo(measured_ns=4_000_000))).text


def test_closure_figures_are_there() -> None:
    text = Reader(page.render(demo())).text
    for figure in ("Mean error 2.00 %", "95th percentile 2.00 %", "Largest error 2.00 %"):
        assert figure in text
    assert "Bias +2.00 %" in text
    assert "Spearman not defined" in text
    assert "Repeatability 0.50 %" in text


@pytest.mark.parametrize("measured_ns", [3_100_000, 2_900_000])
def test_rows_and_the_rest_add_up_to_what_was_measured(measured_ns: int) -> None:
    shown = demo(measured_ns)
    text = Reader(page.render(shown)).text
    found = re.search(
        r"Not rounded: ([\d,]+) ns \(rows\) (\S) ([\d,]+) ns \(unattributed\) = ([\d,]+) ns", text
    )
    assert found
    explained, rest, total = (int(found[i].replace(",", "")) for i in (1, 3, 4))
    signed = rest if found[2] == "+" else -rest
    assert explained + signed == total == measured_ns
    assert explained == sum(r.time_ns for r in shown.parts.rows)
    assert (signed < 0) == (measured_ns < 3_033_000)


def test_nothing_is_fetched() -> None:
    html = page.render(demo())
    read = Reader(html)
    assert "://" not in html
    assert all(link.startswith("#") for link in read.links)
    assert not re.search(r"url\((?!#)|@import", html)
    assert not read.tags & {"script", "link", "img", "iframe", "object", "image"}


def test_identifiers_are_unique_and_all_references_lead_to_one() -> None:
    html = page.render(demo())
    read = Reader(html)
    assert len(read.ids) == len(set(read.ids))
    wanted = {link[1:] for link in read.links} | set(re.findall(r"url\(#([^)]+)\)", html))
    assert wanted
    assert wanted <= set(read.ids)


def test_two_renders_are_equal_small_and_ascii() -> None:
    html = page.render(demo())
    assert html == page.render(demo())
    assert len(html) < 1_000_000
    assert html.isascii()


def test_settings_of_matplotlib_are_left_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    page.render(demo())
    assert dict(matplotlib.rcParams) == before


def test_without_closure_the_page_says_so() -> None:
    text = Reader(page.render(demo(closure=None, closure_networks=(), references=()))).text
    assert "This table has no closure" in text
    assert "no closure has confirmed it" in text


def test_failures_have_a_section_only_when_there_are_some() -> None:
    assert "What could not be measured" in page.render(demo())
    assert "What could not be measured" not in page.render(demo(provenance={}))


def test_stages_begin_with_their_embedding() -> None:
    groups = {name: [r.kind for r in rows] for name, rows in plots.grouped(demo().parts)}
    assert groups == {
        "Input": ["stem"],
        "Stage 1": ["mb4d"],
        "Stage 2": ["embedding", "mb3d"],
        "Output": ["head"],
        "Beside the blocks": ["overhead", "unattributed"],
    }


def test_keys_are_drawn_as_they_are() -> None:
    row = BreakdownRow(f"$x$ {NASTY}", "new", 2, 1_000_000, "unheard-of")
    parts = Breakdown(Workload("a:b"), Target("host", "r"), (row,), 0, 1_000_000)
    drawn = Reader(plots.bars(parts, NASTY))
    assert f"$x$ {NASTY} {plots.TIMES}2" in drawn.text
    assert "script" not in drawn.tags


def test_without_matplotlib_the_line_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match=re.escape(plots.INSTALL)):
        page.render(demo())
