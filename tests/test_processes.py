from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from profiler import processes
from profiler.processes import Channel, Death, Limits

ROOT = Path(__file__).resolve().parent.parent
HERE = "tests.test_processes"
PATIENT = Limits(30)


# What the children do ---------------------------------------------------------------------------


def obey(job: dict[str, Any], channel: Channel) -> None:
    """Treat each item as its name says."""
    for key in job["items"]:
        channel.announce(key)
        if key.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if key.startswith("exit"):
            os._exit(7)
        if key.startswith("hang"):
            time.sleep(600)
        if key.startswith("grows"):
            hoard = bytearray(2_000_000_000)
            hoard[:: 1 << 12] = b"x" * len(hoard[:: 1 << 12])
            time.sleep(600)
        if key.startswith("flaky"):
            mark = Path(job["folder"]) / key
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if key.startswith("chatty"):
            print("to standard output")
            os.system("echo from a child of the child")
        if key.startswith("asks"):
            assert sys.stdin.read() == ""
        channel.send({"done": key})


def leave_a_child(job: dict[str, Any], channel: Channel) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    channel.send({"pid": child.pid})
    time.sleep(600)


def wait_long(job: dict[str, Any], channel: Channel) -> None:
    channel.send({"pid": os.getpid()})
    time.sleep(600)


@pytest.fixture(autouse=True)
def _from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(
    keys: list[str], folder: Path, limits: Limits = PATIENT
) -> tuple[list[str], dict[str, Death]]:
    done: list[str] = []
    dead: dict[str, Death] = {}
    processes.run_surviving(
        f"{HERE}:obey",
        dict.fromkeys(keys),
        lambda left: {"items": left, "folder": str(folder)},
        lambda line: done.append(line["done"]),
        lambda key, death: dead.update({key: death}),
        limits,
    )
    return done, dead


def test_a_crash_is_blamed_on_its_item_and_the_others_finish(tmp_path: Path) -> None:
    done, dead = run(["a", "segfault", "b", "exit", "c"], tmp_path)
    assert sorted(done) == ["a", "b", "c"]
    assert dead["segfault"].kind == "crash"
    assert "SIGSEGV" in dead["segfault"].message
    assert dead["exit"].kind == "exit"
    assert "7" in dead["exit"].message


def test_a_child_that_takes_too_much_memory_is_ended(tmp_path: Path) -> None:
    started = time.monotonic()
    done, dead = run(["a", "grows", "b"], tmp_path, Limits(60, memory_bytes=1_000_000_000))
    assert done == ["a", "b"]
    assert dead["grows"].kind == "memory-limit"
    assert "more than the 1.0 GB" in dead["grows"].message
    assert time.monotonic() - started < 45


def test_a_worker_killed_from_outside_is_tried_once_more(tmp_path: Path) -> None:
    done, dead = run(["a", "flaky", "b"], tmp_path)
    assert sorted(done) == ["a", "b", "flaky"]
    assert not dead


def test_a_hang_ends_at_its_limit_and_is_not_tried_again(tmp_path: Path) -> None:
    begun = time.monotonic()
    done, dead = run(["a", "hang", "b"], tmp_path, Limits(2))
    assert sorted(done) == ["a", "b"]
    assert dead["hang"].kind == "timeout"
    assert time.monotonic() - begun < 20


def leave_the_rest(job: dict[str, Any], channel: Channel) -> None:
    """Do two items, and end."""
    for key in job["items"][:2]:
        channel.send({"done": key, "process": os.getpid()})


def do_nothing(job: dict[str, Any], channel: Channel) -> None:
    """End without a word."""


@pytest.mark.parametrize(("entry", "done"), [("leave_the_rest", list("abcde")), ("do_nothing", [])])
def test_what_a_child_leaves_goes_on_in_fresh_ones(entry: str, done: list[str]) -> None:
    """As long as there is one that does something."""
    lines: list[dict[str, Any]] = []
    processes.run_surviving(
        f"{HERE}:{entry}",
        dict.fromkeys("abcde"),
        lambda left: {"items": left},
        lines.append,
        lambda key, death: pytest.fail(f"{key} died"),
        PATIENT,
    )
    assert [line["done"] for line in lines] == done
    assert len({line["process"] for line in lines}) == -(-len(done) // 2)


def test_what_a_child_prints_or_asks_disturbs_nothing(tmp_path: Path) -> None:
    done, dead = run(["chatty", "asks", "a"], tmp_path)
    assert done == ["chatty", "asks", "a"]
    assert not dead


def test_a_child_that_cannot_start_fails_all_its_items(tmp_path: Path) -> None:
    dead: dict[str, Death] = {}
    processes.run_surviving(
        "no.such.module:function",
        {"a": None, "b": None},
        lambda left: {},
        lambda line: None,
        lambda key, death: dead.update({key: death}),
        Limits(30),
    )
    assert set(dead) == {"a", "b"}
    assert "ModuleNotFoundError" in dead["a"].log


def test_ending_a_child_ends_its_whole_group() -> None:
    seen: list[int] = []
    death = processes.run(
        f"{HERE}:leave_a_child", {}, lambda line: seen.append(line["pid"]), Limits(2)
    )
    assert death is not None
    assert death.kind == "timeout"
    assert gone(seen[0])


def test_a_child_ends_itself_when_its_parent_is_killed() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from profiler import processes\n"
        "limits = processes.Limits(60)\n"
        f"processes.run('{HERE}:wait_long', {{}}, lambda l: print(l['pid'], flush=True), limits)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process ends within some seconds; a zombie counts as ended."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_work_is_dealt_out_completely() -> None:
    keys = [str(i) for i in range(7)]
    assert sorted(k for hand in processes.chunks(keys, 3) for k in hand) == keys
    assert processes.chunks(["a"], 4) == [["a"]]


def die_at_first(job: dict[str, Any], channel: Channel) -> None:
    mark = Path(job["folder"]) / "tried"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    obey(job, channel)


def test_a_child_killed_before_it_announced_anything_is_started_once_more(tmp_path: Path) -> None:
    done: list[str] = []
    dead: dict[str, Death] = {}
    processes.run_surviving(
        f"{HERE}:die_at_first",
        {"a": None, "b": None},
        lambda left: {"items": left, "folder": str(tmp_path)},
        lambda line: done.append(line["done"]),
        lambda key, death: dead.update({key: death}),
        Limits(30),
    )
    assert done == ["a", "b"]
    assert not dead


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an allocator of glibc's is told")
def test_a_process_keeps_the_memory_that_it_was_told_to_keep() -> None:
    source = (
        "from profiler import environment\n"
        "{}\n"
        "block = bytearray(100_000_000)\n"
        "block[:: 1 << 12] = b'x' * len(block[:: 1 << 12])\n"
        "del block\n"
        "print(environment.held_bytes())"
    )
    held = []
    for line in ("pass", "environment.keep_memory()"):
        command = [sys.executable, "-c", source.format(line)]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        held.append(int(said.stdout))
    assert held[1] - held[0] > 90_000_000
