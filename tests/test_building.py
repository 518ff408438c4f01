"""Building and checking a table for real, on a space of three blocks: killed, shared, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("table", "build", "tiny", "--count", "4", "-o", "tiny.json", "--store", "store")


@pytest.fixture(scope="module", autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that runs the suite in the background has it, and its children, ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our packages, with the tiny space as one more file."""
    place = tmp_path_factory.mktemp("a checkout")
    for name in ("profiler", "exporters", "benchmarks", "reports"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "profile.py", place)
    shutil.copy(ROOT / "tests" / "tiny_space.py", place / "benchmarks" / "spaces" / "tiny.py")
    return place


def start(checkout: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(checkout / "profile.py"), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=240)


def rounds(folder: Path, which: str = "valid") -> dict[str, set[str]]:
    """The rounds of each measurement in the store, by their processes."""
    found: dict[str, set[str]] = {}
    file = folder / "store" / "store.sqlite"
    if file.exists():
        with sqlite3.connect(file, timeout=60) as connection:
            try:
                for key, process in connection.execute(
                    f"SELECT key, process FROM rounds WHERE {which}"
                ):
                    found.setdefault(key, set()).add(process)
            except sqlite3.OperationalError:
                return {}
    return found


def wait_for_rounds(folder: Path, count: int) -> None:
    for _ in range(1200):
        if any(len(p) >= count for p in rounds(folder, "true").values()):
            return
        time.sleep(0.1)
    pytest.fail("no rounds were taken")


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the tiny table was built, its first try killed in the middle."""
    folder = tmp_path_factory.mktemp("built")
    first = start(checkout, folder, *BUILD)
    wait_for_rounds(folder, 2)
    first.send_signal(signal.SIGKILL)
    finish(first)
    kept = rounds(folder, "true")
    second = start(checkout, folder, *BUILD)
    _, errors = finish(second)
    assert second.returncode == 0, errors
    after = rounds(folder, "true")
    assert kept
    for key, processes in kept.items():
        assert processes <= after[key], "a finished round was lost"
    for processes in rounds(folder).values():
        assert len(processes) <= 10, "rounds were taken again that were there"
    return folder


def test_a_build_killed_in_the_middle_goes_on_and_ends_in_a_whole_table(built: Path) -> None:
    table = json.loads((built / "tiny.json").read_text())
    assert {e["key"] for e in table["entries"]} == {
        f"{f}/{w}" for f in ("opening", "middle", "closing") for w in (16, 32)
    }
    assert all(e["source"] == "measured" and e["ns"] > 0 for e in table["entries"])
    assert table["closure"]["networks"] == 4
    assert table["closure"]["max_percent"] < 60


def test_a_released_network_goes_through_the_exporter_whole(built: Path) -> None:
    table = json.loads((built / "tiny.json").read_text())
    (small,) = table["released"]
    assert small["architecture"] == "small"
    assert small["predicted_ns"] > 0
    assert small["measured_ns"] > 0


def test_changes_of_layout_are_told_apart_within_the_rows_that_make_them(built: Path) -> None:
    table = json.loads((built / "tiny.json").read_text())
    entries = {e["key"]: e for e in table["entries"]}
    found = table["boundaries"]
    assert found
    for boundary in found:
        # Between convolutions maps are in blocks of channels, before the classifier they are not.
        assert boundary["row"].startswith("closing/"), boundary
        assert boundary["operator"] == "ReorderOutput"
        assert 0 < boundary["ns"] < entries[boundary["row"]]["high_ns"]


def test_what_is_built_is_not_measured_again(built: Path, checkout: Path) -> None:
    before = rounds(built, "true")
    again = start(checkout, built, *BUILD)
    _, errors = finish(again)
    assert again.returncode == 0, errors
    assert rounds(built, "true") == before


def test_several_tables_in_one_run_of_which_one_cannot_be_built(
    built: Path, checkout: Path
) -> None:
    arguments = [*BUILD[:3], "--on", "host/onnxruntime", "host/coreml", *BUILD[3:5], "-o", "all"]
    process = start(checkout, built, *arguments, *BUILD[-2:], "--json")
    output, errors = finish(process)
    assert process.returncode == 1
    assert "failed: tiny on host/coreml" in errors
    assert "macOS" in errors
    (made,) = json.loads(output)
    assert made["path"] == str(Path("all", "tiny-host-onnxruntime.json"))
    one, other = (json.loads((built / p).read_text()) for p in (made["path"], "tiny.json"))
    assert one["entries"] == other["entries"], "the store's rounds were used again"
    assert one["provenance"]["wall_s"] >= one["provenance"]["timed_s"] == 0


def test_several_tables_need_a_folder(built: Path, checkout: Path) -> None:
    arguments = [*BUILD[:3], "--on", "host/onnxruntime", "host/openvino", "-o", "tiny.json"]
    process = start(checkout, built, *arguments)
    _, errors = finish(process)
    assert process.returncode == 2
    assert "folder" in errors


def test_composed_artifacts_are_deleted_after_the_build(built: Path) -> None:
    left = list((built / "store" / "artifacts").iterdir())
    assert len(left) == 10, "six blocks, two anchors, the network of nothing, the released one"
    assert not list((built / "store" / "staging").iterdir())


def test_a_check_lists_predicted_and_measured_of_each_network(built: Path, checkout: Path) -> None:
    arguments = ("table", "check", "tiny.json", "--archs", "16/3", "--seed", "5", "--count", "2")
    check = start(checkout, built, *arguments, "--json", "--store", "store")
    output, errors = finish(check)
    assert check.returncode in (0, 1), errors
    result = json.loads(output)
    assert len(result["networks"]) == 3
    for network in result["networks"]:
        assert network["predicted_ns"] > 0
        assert network["measured_ns"] > 0
    names = [n["architecture"] for n in result["networks"]]
    assert names[0] == "16/3"
    table = json.loads((built / "tiny.json").read_text())
    used = {n["architecture"] for n in table["references"] + table["closure_networks"]}
    assert not used & set(names[1:]), "networks that took part in the table were drawn"


def test_a_table_of_another_device_is_refused(built: Path, checkout: Path) -> None:
    table = json.loads((built / "tiny.json").read_text())
    table["device"]["fingerprint"] = "0" * 24
    table["device"]["description"] = "somebody else's"
    (built / "other.json").write_text(json.dumps(table))
    check = start(checkout, built, "table", "check", "other.json", "--store", "store")
    _, errors = finish(check)
    assert check.returncode == 2
    assert "another device" in errors


def test_two_builds_into_one_store_both_finish_and_share_their_rounds(
    checkout: Path, tmp_path: Path
) -> None:
    pair = [start(checkout, tmp_path, *BUILD[:-4], "-o", f"{n}.json", *BUILD[-2:]) for n in "ab"]
    for process in pair:
        _, errors = finish(process)
        assert process.returncode == 0, errors
    a, b = (json.loads((tmp_path / f"{n}.json").read_text())["entries"] for n in "ab")
    assert [e["key"] for e in a] == [e["key"] for e in b]
    counts = [len(p) for p in rounds(tmp_path).values()]
    assert counts
    assert max(counts) <= 12, "the two measured the same things twice"


def test_ctrl_c_keeps_the_store_and_says_how_to_go_on(checkout: Path, tmp_path: Path) -> None:
    # Enough networks that the build is not over before the signal comes.
    process = start(checkout, tmp_path, *BUILD, "--count", "40")
    wait_for_rounds(tmp_path, 1)
    process.send_signal(signal.SIGINT)
    _, errors = finish(process)
    assert process.returncode == 130
    assert "goes on" in errors
    assert "Traceback" not in errors
    with sqlite3.connect(tmp_path / "store" / "store.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_a_killed_worker_is_replaced_and_the_build_finishes(checkout: Path, tmp_path: Path) -> None:
    process = start(checkout, tmp_path, *BUILD)
    wait_for_rounds(tmp_path, 1)
    for _ in range(200):
        workers = children(process.pid)
        if workers:
            break
        time.sleep(0.02)
    assert workers, "no worker was seen"
    os.kill(workers[0], signal.SIGKILL)
    _, errors = finish(process)
    assert process.returncode == 0, errors
    assert json.loads((tmp_path / "tiny.json").read_text())["closure"]["networks"] == 4


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(v) for v in text.split()]
