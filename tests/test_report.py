"""Reports: every kind of result on one page, closed in itself, whatever things are called."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler import cli
from profiler.encoding import to_json
from profiler.errors import MissingPackage, OpclockError, TableError, UsageError
from profiler.tables.lint import lint
from profiler.tables.table import load, save
from reports import charts, curves, html, report, runs, table_page, table_plots
from reports.text import short_targets
from tests import synthetic_runs as made

pytest.importorskip("vl_convert")

NASTY = '</script><script>window.hit=1</script><img src=x onerror="window.hit=1">\'"&\u2028模型'
TARGETS = ["host/onnxruntime:cpu,fp32", "host/openvino:cpu,fp32"]


class Reader(HTMLParser):
    """A page as a browser reads it: its text, its scripts, its handlers, the cells of tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.tags: list[str] = []
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")], (tag, attrs)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag == "td":
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            kind, code = self.scripts.pop()
            self.scripts.append((kind, code + data))
        else:
            self.words.append(data)
        if self._open == "td":
            self.cells[-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    @property
    def specs(self) -> list[dict[str, Any]]:
        found = [s for kind, s in self.scripts if kind.get("type") == "application/json"]
        return [json.loads(s) for s in found]

    @property
    def code(self) -> list[str]:
        return [s for kind, s in self.scripts if "type" not in kind]


def page(*paths: Path, force: bool = False) -> str:
    return report.render([runs.read(p) for p in paths], force=force)


# What a page tells -------------------------------------------------------------------------------


def test_a_comparison_says_who_wins_where(tmp_path: Path) -> None:
    whole = made.compared(["slow", "fast"], TARGETS)
    text = Reader(page(made.write(tmp_path / "c.json", whole))).text
    assert "Of 2 networks, onnxruntime is fastest for 1" in text
    assert "One pair of networks swaps places by target." in text
    assert "slow is faster than fast on host/onnxruntime:cpu,fp32, slower on" in text
    assert "opclock compare slow fast --on" in text


def test_a_failed_cell_has_its_reason_and_no_figures(tmp_path: Path) -> None:
    whole = made.compared(["a", "b"], TARGETS)
    broken = made.Cell("b", TARGETS[1], "crash: it broke")
    cells = (*whole.cells[:-1], broken)
    read = Reader(page(made.write(tmp_path / "c.json", dataclasses.replace(whole, cells=cells))))
    assert "crash: it broke" in read.cells
    assert "1 of 4 failed." in read.text
    bars = read.specs[0]["data"]["values"]
    assert len(bars) == 3


def test_a_breakdown_says_what_takes_the_time(tmp_path: Path) -> None:
    parts = made.breakdown("net", "onnxruntime")
    read = Reader(page(made.write(tmp_path / "b.json", made.breakdowns([parts]))))
    assert "reshape and layout takes 21 % of net." in read.text
    rows = read.specs[0]["data"]["values"]
    assert sum(r["value"] for r in rows) == pytest.approx(parts.total_ns / 1e6, rel=1e-3)
    assert "broken: host/litert: run: crash: it <broke>" in read.text


def test_two_breakdowns_are_set_side_by_side_by_module(tmp_path: Path) -> None:
    pair = [made.breakdown("net", "onnxruntime", 6), made.breakdown("net", "openvino", 5)]
    read = Reader(page(made.write(tmp_path / "b.json", made.breakdowns(pair))))
    start = read.cells.index("stages.0.blocks.1.part5")
    assert read.cells[start + 1 : start + 4] == ["0.0250", "0.0000", "\N{MINUS SIGN}0.0250"]


def test_observations_are_counted_and_shown_beside_the_papers(tmp_path: Path) -> None:
    read = Reader(page(made.write(tmp_path / "o.json", made.observed(TARGETS))))
    assert "Of 4 observations on openvino: 2 confirmed, 1 refuted, 1 undecided" in read.text
    assert read.cells.count("the paper saw it") == 4
    assert "they lie apart" in read.text


def test_the_unit_without_its_operator_is_not_the_cheapest_alternative(tmp_path: Path) -> None:
    whole = made.bench(TARGETS)
    for result in whole["results"]:
        (free,) = [line for line in result["lines"] if line["name"] == "hardswish"]
        free["name"] = "without"
    text = Reader(page(made.write(tmp_path / "x.json", whole))).text
    assert "the cheapest is relu" in text


def test_an_experiment_names_the_cheapest_and_what_was_skipped(tmp_path: Path) -> None:
    read = Reader(page(made.write(tmp_path / "x.json", made.bench(TARGETS))))
    assert "On onnxruntime the cheapest is hardswish (channels 96) (1 us)." in read.text
    assert read.cells.count("skipped: not there") == 2


def test_a_measurement_shows_its_undisturbed_rounds(tmp_path: Path) -> None:
    read = Reader(page(made.write(tmp_path / "m.json", made.measured(["a", "b"]))))
    assert "a takes 1 ms, the fastest of 2." in read.text
    assert [len(r["samples"]) for r in read.specs[0]["data"]["values"]] == [7, 7]
    assert "SLOWER" in read.cells


def test_a_table_and_a_check_of_it_say_how_far_they_can_be_trusted(tmp_path: Path) -> None:
    save(made.table(), tmp_path / "t.json")
    check = made.write(tmp_path / "check.json", made.checked())
    text = Reader(page(tmp_path / "t.json", check)).text
    assert "mine predicts unseen networks to 1.00 % on average" in text
    assert "the machine's speed is 1.010 of what it was" in text
    assert "one <failed>" in text


def test_the_summary_comes_first_and_the_environment_last(tmp_path: Path) -> None:
    read = Reader(page(*made.all_kinds(tmp_path, 2, 2), force=True))
    order = [read.text.rindex(q) for q in (
        "Latency report", "Which compiler wins where?", "Where does the time go?",
        "Do the observations hold?", "Can the table be trusted?", "Where the figures come from",
    )]  # fmt: skip
    assert order == sorted(order)


def test_every_figure_has_the_command_that_makes_it(tmp_path: Path) -> None:
    files = made.all_kinds(tmp_path, 2, 2)
    found = page(*files, force=True)
    figures = re.findall(r"<figure>.*?</figure>", found, re.DOTALL)
    assert len(figures) == found.count('class="chart"') == 11
    assert all("<pre><code>opclock " in f for f in figures)
    assert "opclock compare x" in found
    assert "as it was typed" in found


def test_made_up_commands_can_be_typed(tmp_path: Path) -> None:
    for path in made.all_kinds(tmp_path, 2, 2):
        words = shlex.split(runs.read(path).command)
        assert words[0] == "opclock"
        if words != ["opclock", "compare", "x"]:
            cli.parser().parse_args(words[1:])


# What a page must not do -------------------------------------------------------------------------


def hostile(folder: Path) -> list[Path]:
    table = dataclasses.replace(
        made.table(NASTY), provenance={"failures": [NASTY], "environment": {"packages": {NASTY: 1}}}
    )
    table = dataclasses.replace(
        table, closure_networks=(made.Network(NASTY, 100, 100, 0.0),), target=NASTY
    )
    save(table, folder / f"t{NASTY[-1]}.json")
    parts = [made.breakdown(NASTY, NASTY, 8), made.breakdown("plain", "onnxruntime", 8)]
    bench = json.loads(
        json.dumps(made.bench([NASTY, "x"])).replace("gelu", json.dumps(NASTY)[1:-1])
    )
    observed = made.observed([NASTY, "host/b"])
    observed["apart"] = [NASTY]
    return [
        made.write(folder / "c.json", made.compared([NASTY, "b"], [NASTY, "host/b"])),
        made.write(folder / "b.json", made.breakdowns(parts)),
        made.write(folder / "x.json", bench),
        made.write(folder / "o.json", observed),
        made.write(folder / "m.json", made.measured([NASTY, "other"]), command=NASTY),
        folder / f"t{NASTY[-1]}.json",
    ]


def closed(found: str, scripts: int = 2) -> Reader:
    """A page whose only scripts are ours, by its policy too."""
    read = Reader(found)
    assert len(read.code) == scripts
    assert not set(read.tags) & {"img", "iframe", "link", "object", "base", "form"}
    hashes = [base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in read.code]
    allowed = " ".join(f"'sha256-{h}'" for h in hashes)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert f'content="{policy}; script-src {allowed}"' in found
    assert found.isascii()
    return read


def test_names_are_text_wherever_they_stand(tmp_path: Path) -> None:
    read = closed(page(*hostile(tmp_path), force=True))
    assert NASTY in read.cells
    # Where the library makes expressions of names, no line may end.
    assert read.specs[0]["data"]["values"][0]["label"] == NASTY.replace("\u2028", " ")
    assert NASTY.replace("\u2028", " ") in read.text


def test_the_page_of_a_table_holds_names_as_text_too(tmp_path: Path) -> None:
    path = hostile(tmp_path)[-1]
    read = closed(table_page.render(load(path), lint(path), NASTY))
    assert NASTY in read.cells


@given(st.text())
def test_any_text_comes_out_of_a_cell_as_it_went_in(text: str) -> None:
    text = text.replace("\r", "\n")
    found = Reader(html.page("t", html.data_table("c", ("h",), [[text]])))
    # The parser leaves out what no document can hold.
    assert found.cells == [text.replace("\x00", "�")] or not text.isprintable()


@given(st.text())
def test_any_script_is_ascii_and_does_not_end_early(text: str) -> None:
    code = html._script(f'"{text}"')
    assert code.isascii()
    assert "</script" not in code
    assert "<!--" not in code


def test_twenty_networks_on_five_targets_stay_below_three_megabytes(tmp_path: Path) -> None:
    found = page(*made.all_kinds(tmp_path), force=True)
    assert len(found) < 3_000_000
    assert len(Reader(found).specs[0]["data"]["values"]) == 100


def test_what_is_cut_is_said(tmp_path: Path) -> None:
    many = [made.breakdown(f"n{i}", "litert", 40) for i in range(100)]
    text = Reader(page(made.write(tmp_path / "b.json", made.breakdowns(many)))).text
    assert "The 15 longest operators of each" in text
    rows = [["x"]] * 30
    assert "the first 20 of 30 rows" in html.data_table("c", ("h",), rows, most=20)


def parts_of(spec: Any) -> Iterator[dict[str, Any]]:
    if isinstance(spec, dict):
        yield spec
    for inner in (
        spec.values() if isinstance(spec, dict) else spec if isinstance(spec, list) else ()
    ):
        yield from parts_of(inner)


def test_bars_begin_at_zero_and_axes_have_units(tmp_path: Path) -> None:
    files = made.all_kinds(tmp_path, 2, 2)
    specs = Reader(page(*files, force=True)).specs
    save(made.table(), tmp_path / "t.json")
    specs += Reader(table_page.render(made.table(), lint(tmp_path / "t.json"), "t.json")).specs
    bars = 0
    for part in (p for s in specs for p in parts_of(s) if "mark" in p):
        axes = {c: a for c, a in part["encoding"].items() if c in "xy" and "title" in a}
        axes = {c: a for c, a in axes.items() if a.get("type") == "quantitative"}
        for axis in axes.values():
            assert re.search(r"\((ms|us|%|ratio)\)$|^channels|^expansion", axis["title"])
        if part["mark"].get("type") == "bar":
            bars += 1
            assert part["encoding"]["x"]["scale"]["zero"] is True
    assert bars == 5


# Runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is none of what a report shows: comparison, breakdown"),
        ("[1]", "holds no object, but list"),
        ("[" * 100_000, "is no whole JSON"),
        ('{"breakdowns": [{"rows"', "is no whole JSON"),
        ('{"breakdowns": [{"rows": 3}]}', "is not a whole breakdown: Breakdown.rows: expected"),
        ('{"breakdowns": null}', "is not a whole breakdown"),
        ('{"experiment": "x", "results": [3]}', "is not a whole bench"),
        ('{"targets": [], "apart": []}', "is not a whole observations"),
        ('{"measurements": [{}], "comparisons": []}', "is not a whole measurement"),
        ('{"findings": []}', "is none of what a report shows"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "strange.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"strange.json {re.escape(said)}"):
        runs.read(path)


def test_an_absent_file_and_a_bad_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent.json cannot be read"):
        runs.read(tmp_path / "absent.json")
    (tmp_path / "t.json").write_text('{"schema": "opclock-table/1"}')
    with pytest.raises(TableError, match=r"t.json must not be used"):
        runs.read(tmp_path / "t.json")


@given(st.data())
def test_a_damaged_file_is_refused_and_never_breaks_the_page(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    records = (
        made.bench(TARGETS),
        made.observed(TARGETS),
        made.measured(["a"]),
        to_json(made.compared(["a", "b"], TARGETS, laps=2)),
        made.breakdowns([made.breakdown("a", "x", 3)]),
        to_json(made.checked()),
    )
    record = json.loads(json.dumps(data.draw(st.sampled_from(records))))
    place = data.draw(st.sampled_from([p for p in parts_of(record) if p]))
    name = data.draw(st.sampled_from(sorted(place)))
    place[name] = data.draw(st.sampled_from([None, 3, -1.5, "x", [], {}, [3], {"a": 1}]))
    path = tmp_path_factory.mktemp("damaged") / "d.json"
    path.write_text(json.dumps(record))
    with contextlib.suppress(OpclockError):
        report.render([runs.read(path)])


def test_two_machines_are_refused_unless_forced_and_then_marked(tmp_path: Path) -> None:
    here = made.write(tmp_path / "here.json", made.compared(["a"], TARGETS))
    there = made.write(tmp_path / "there.json", made.compared(["a"], TARGETS, made.THERE))
    with pytest.raises(UsageError, match=r"from 2 machines .*there.json: Another Processor"):
        page(here, there)
    text = Reader(page(here, there, force=True)).text
    assert "2 MACHINES: Some <Processor>" in text
    assert text.count("Another Processor, 8 cores, Linux (bbbbbb)") == 3
    assert "MACHINES" not in Reader(page(here, here)).text


def test_machines_are_known_from_hardware_and_from_how_a_file_was_made(tmp_path: Path) -> None:
    told = made.write(tmp_path / "b.json", made.bench(TARGETS), device=made.THERE)
    assert runs.read(told).devices == (made.THERE,)
    measured = runs.read(made.write(tmp_path / "m.json", made.measured(["a"])))
    assert [d.description for d in measured.devices] == ["X, 2 cores, Linux"]
    both = made.breakdowns([made.breakdown("a", "x"), made.breakdown("a", "x", 9, made.THERE)])
    with pytest.raises(UsageError, match="2 machines"):
        page(made.write(tmp_path / "two.json", both))


def test_results_say_how_they_were_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(made.table(), tmp_path / "t.json")
    table = str(tmp_path / "t.json")
    words = ["table", "show", table, "--store", str(tmp_path / "s"), "--json"]
    assert cli.main(words) == 0
    said = json.loads(capsys.readouterr().out)["made"]
    assert said["command"] == shlex.join(["opclock", "table", "show", table, "--json"])
    assert set(said) == {"command", "created", "device", "environment"}


TARGET = st.builds(
    lambda device, runtime, words: f"{device}/{runtime}" + (":" + ",".join(words) if words else ""),
    st.sampled_from(["host", "phone"]),
    st.sampled_from(["onnxruntime", "litert"]),
    st.lists(st.sampled_from(["cpu", "fp32", "fp16", "threads=1", "threads=2"]), unique=True),
)


@given(st.lists(TARGET, unique=True, max_size=5))
def test_short_names_of_targets_still_tell_them_apart(targets: list[str]) -> None:
    short = short_targets(targets)
    assert list(short) == targets
    assert len(set(short.values())) == len(targets)


def test_short_names_keep_what_differs() -> None:
    found = short_targets(["host/a:cpu,threads=1", "host/a:cpu,threads=2", "host/b:cpu,threads=1"])
    assert list(found.values()) == ["a, threads=1", "a, threads=2", "b, threads=1"]
    found = short_targets(["host/a:cpu,graph=all,threads=1", "host/b:cpu,delegate=c,threads=1"])
    assert list(found.values()) == ["a", "b"]
    found = short_targets(["host/a:threads=1", "host/a"])
    assert list(found.values()) == ["host/a:threads=1", "host/a"]


# The page of a table -----------------------------------------------------------------------------


def test_a_table_is_there_whole(tmp_path: Path) -> None:
    table = made.table()
    path = tmp_path / "t.json"
    save(table, path)
    read = closed(table_page.render(table, lint(path), "t.json"))
    assert set(table.entries) <= set(read.cells)
    drawn = [r for s in read.specs[2:] for r in s["data"]["values"]]
    assert {r["key"] for r in drawn} == set(table.entries) - {"head/x"}
    assert {r["key"] for r in drawn if r["group"] == "interpolated"} == {
        k for k, e in table.entries.items() if e.source == "interpolated"
    }
    assert "predicts 8 networks that took no part in it to 1.00 % on average" in read.text
    assert "one <failed>" in read.text


def test_a_released_network_is_told_from_those_composed_of_blocks(tmp_path: Path) -> None:
    plain = made.table()
    table = dataclasses.replace(plain, released=(made.Network("l1", 28_450_000, 28_540_000, -0.3),))
    path = tmp_path / "t.json"
    save(table, path)
    assert load(path).released == table.released
    read = closed(table_page.render(load(path), lint(path), "t.json"))
    assert {"l1", "released: exported whole"} <= set(read.cells)
    assert "went through the exporter whole" in read.text
    before = closed(table_page.render(plain, [], "t.json"))
    assert "went through the exporter whole" not in before.text


def test_lint_and_a_missing_closure_are_said(tmp_path: Path) -> None:
    table = dataclasses.replace(made.table(), closure=None, closure_networks=(), references=())
    path = tmp_path / "t.json"
    save(table, path)
    findings = lint(path)
    assert findings
    read = Reader(table_page.render(table, findings, "t.json"))
    assert "no network was measured against it, so its error is not known" in read.text
    assert all(f.message in read.cells for f in findings)


def test_families_are_curves_over_the_number_with_the_most_values() -> None:
    found = {f.name: f for f in curves.families(made.table())}
    assert list(found) == ["mb4d/56", "embedding/28"]
    assert (found["mb4d/56"].axis, list(found["mb4d/56"].panels)) == ("channels", [""])
    embedding = found["embedding/28"]
    assert embedding.axis == "channels before"
    assert list(embedding.panels) == [f"{c} channels after" for c in (64, 128, 256)]
    widths = [w for w, _ in embedding.panels["64 channels after"]]
    assert widths == sorted(widths) == list(range(16, 129, 8))


def test_panels_beyond_what_a_page_shows_are_chosen_evenly() -> None:
    entries = [
        made.Entry(f"a/{w}-{x}", w * x, w * x, w * x, "measured")
        for w in range(8, 800, 8)
        for x in range(8, 408, 8)
    ]
    table = dataclasses.replace(made.table(), entries={e.key: e for e in entries})
    (family,) = curves.families(table)
    rows = table_page._family(family, "t.json")
    assert len(family.panels) == 50
    assert "24 of 50 panels, evenly chosen" in rows
    assert '"panel":"8 channels after"' in rows
    assert '"panel":"400 channels after"' in rows


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_families_are_drawn_for_print(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / f"plot.{ending}"
    assert table_plots.draw(made.table(), "embedding", out) == 3
    first = out.read_bytes()
    assert first[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    table_plots.draw(made.table(), "embedding", out)
    assert out.read_bytes() == first


def test_a_family_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(
        TableError, match="no family begins with 'mb3d'; families: embedding/28, mb"
    ):
        table_plots.draw(made.table(), "mb3d", tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"pictures end in \.png"):
        table_plots.draw(made.table(), "mb4d", tmp_path / "x.bmp")


# The commands ------------------------------------------------------------------------------------


def test_the_commands_write_their_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(p) for p in made.all_kinds(tmp_path, 2, 2)]
    out, table = str(tmp_path / "r.html"), files[-1]
    assert cli.main(["report", *files, "-o", out]) == 2
    assert "2 machines" in capsys.readouterr().err
    assert not Path(out).exists()
    assert cli.main(["report", *files, "--force", "--title", "A & B", "-o", out]) == 0
    assert "<h1>A &amp; B</h1>" in Path(out).read_text()
    assert cli.main(["table", "page", table]) == 0
    assert (tmp_path / "table.html").exists()
    assert (
        cli.main(["table", "plot", table, "--family", "mb4d", "-o", str(tmp_path / "p.svg")]) == 0
    )
    assert "p.svg: 1 panel\n" in capsys.readouterr().out


def test_without_the_library_the_line_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    charts.library.cache_clear()
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(MissingPackage, match=re.escape(charts.INSTALL)):
        page(made.write(tmp_path / "c.json", made.compared(["a"], TARGETS)))


def test_the_line_that_installs_the_library_is_of_the_version_that_is_tested() -> None:
    pinned = charts.INSTALL.removeprefix("pip install ")
    lines = (Path(__file__).parent.parent / "constraints.txt").read_text().splitlines()
    assert pinned in lines
    assert to_json(made.HERE)["name"] == "host"
