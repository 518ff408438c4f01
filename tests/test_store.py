"""The store gives back what it was given, loses nothing, and overwrites nothing that is damaged."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from profiler.errors import NewerStore, OutputError, StoreError
from profiler.sampling import Calibration
from profiler.store import Store, write_whole
from profiler.types import Artifact, Failure, Format, Round, Structure, Telemetry, Workload

ROOT = Path(__file__).resolve().parent.parent
# Rounds of one job: key k0, k1, ... and the job's number as the process.
WRITER = """
import sys
from pathlib import Path
from profiler.store import Store
from profiler.types import Round, Telemetry
folder, name, jobs, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Store(Path(folder)) as store:
    print("open", flush=True)
    sys.stdin.readline()
    for job in range(jobs):
        taken = Round(f"{name}-{job}", "now", (1,) * 500, 1, 1, 1, 1, {}, Telemetry())
        store.add_job([(f"k{place}", taken) for place in range(size)], [])
        print(job, flush=True)
"""


def a_round(process: str, flags: tuple[str, ...] = ()) -> Round:
    telemetry = Telemetry(0.25, 0.0, 3, None, 41.5)
    return Round(
        process, "2026-01-01T00:00:00+00:00", (1001, 999), 7, 40, 5, 6, {"provider": "cpu"},
        telemetry, 77, 1e-6, flags,
    )  # fmt: skip


def staged(store: Store, content: str, digest: str = "d1") -> tuple[Path, Artifact]:
    """An artifact of two files as an exporter leaves it in staging."""
    folder = store.staging()
    model, reference = folder / "model.onnx", folder / "reference.npz"
    model.write_text(content)
    reference.write_text("outputs")
    structure = Structure({"Conv": 2}, {"fp32": 5}, macs=9, inputs=("x: fp32[1]",))
    made_as = Format("onnx", "fp32", {"opset": "20"})
    return folder, Artifact(
        str(model), made_as, digest, len(content), 6, structure, {"torch": "2"}, str(reference)
    )


def writer(folder: Path, name: str, jobs: int, size: int) -> subprocess.Popen[str]:
    """A child that has opened the store and waits for a line before it writes."""
    words = [str(folder), name, str(jobs), str(size)]
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    return child


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """The folder of a closed store that holds 400 rounds."""
    folder = tmp_path / "filled"
    with Store(folder) as opened:
        opened.add_job([(f"k{i % 7}", a_round(f"p{i}")) for i in range(400)], [])
    return folder


def aside(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if ".damaged-" in p.name)


# What goes in comes out --------------------------------------------------------------------------


def test_rounds_come_back_as_they_were_in_the_order_in_which_they_were_taken(store: Store) -> None:
    taken = [a_round("z"), a_round("a", ("others kept 2 cores busy",)), a_round("m")]
    store.add_job([("k", r) for r in taken] + [("other", a_round("z"))], [])
    assert store.rounds("k") == taken
    assert store.rounds("other") == [a_round("z")]
    assert store.rounds("unknown") == []


def test_only_undisturbed_rounds_are_counted_as_valid(store: Store) -> None:
    store.add_job([("k", a_round("a")), ("k", a_round("b", ("noisy",)))], [])
    assert store.valid_rounds("k") == 1
    assert store.valid_rounds("unknown") == 0


def test_everything_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    failure = Failure(Workload("m:f", {"a": [1, 2.5]}), "host/ort", "run", "crash", "died", "log")
    with Store(tmp_path) as first:
        first.add_job([("k", a_round("p"))], [("k", Calibration(12, 34))])
        first.add_failure(failure)
        folder, artifact = staged(first, "content")
        kept = first.adopt("recipe", folder, artifact)
    with Store(tmp_path) as again:
        assert again.rounds("k") == [a_round("p")]
        assert again.calibration("k") == Calibration(12, 34)
        assert again.failures() == [failure]
        assert again.artifact("recipe") == kept
        assert again.notes == []


def test_a_round_of_the_same_process_is_kept_once_and_a_calibration_is_frozen(store: Store) -> None:
    store.add_job([("k", a_round("p"))], [("k", Calibration(1, 2))])
    store.add_job([("k", a_round("p", ("later",)))], [("k", Calibration(3, 4))])
    assert store.rounds("k") == [a_round("p")]
    assert store.calibration("k") == Calibration(1, 2)
    assert store.calibration("unknown") is None


def test_failures_come_back_oldest_first(store: Store) -> None:
    failures = [Failure(Workload("m:f"), "t", "run", kind, "") for kind in ("b", "a", "b")]
    for failure in failures:
        store.add_failure(failure)
    assert store.failures() == failures


def test_what_a_key_stands_for_is_remembered_from_the_first_time(store: Store) -> None:
    store.add_measurements({"k": {"environment": {"cpu": "first"}, "artifact": "a"}})
    store.add_measurements({"k": {"environment": {"cpu": "second"}}, "l": {"environment": {}}})
    assert store.environment("k") == {"cpu": "first"}
    assert store.environment("unknown") == {}
    assert sorted(m["key"] for m in store.measurements()) == ["k", "l"]
    (found,) = [m for m in store.measurements() if m["key"] == "k"]
    assert found["artifact"] == "a"


def test_measurements_are_listed_newest_first(store: Store) -> None:
    for key in ("b", "a", "c"):
        store.add_measurements({key: {"environment": {}}})
    assert [m["key"] for m in store.measurements()] == ["c", "a", "b"]


def test_rounds_put_by_are_taken_anew_and_stay_in_the_file(store: Store) -> None:
    rounds = [("k", a_round("p")), ("k", a_round("q")), ("other", a_round("p"))]
    store.add_job(rounds, [("k", Calibration(1, 2)), ("other", Calibration(1, 2))])
    store.put_by(["k"])
    assert store.rounds("k") == []
    assert store.valid_rounds("k") == 0
    assert store.calibration("k") is None
    assert len(store.rounds("other")) == 1
    assert store.calibration("other") == Calibration(1, 2)
    store.add_job([("k", a_round("p"))], [("k", Calibration(5, 6))])
    assert len(store.rounds("k")) == 1
    with sqlite3.connect(store.folder / "store.sqlite") as file:
        keys = Counter(key for (key,) in file.execute("SELECT key FROM rounds"))
    file.close()
    (old,) = set(keys) - {"k", "other"}
    assert old.startswith("k@")
    assert keys == {"k": 1, "other": 1, old: 2}
    assert [r.process for r in store.rounds(old)] == ["p", "q"]


# Jobs --------------------------------------------------------------------------------------------


def test_a_job_whose_second_round_cannot_be_written_leaves_nothing(store: Store) -> None:
    unwritable = a_round("\ud800")
    with pytest.raises(UnicodeEncodeError):
        store.add_job([("k", a_round("p")), ("k", unwritable)], [("k", Calibration(1, 2))])
    assert store.rounds("k") == []
    assert store.calibration("k") is None


def test_a_job_whose_calibration_cannot_be_written_leaves_no_round(store: Store) -> None:
    with pytest.raises(OverflowError):
        store.add_job([("k", a_round("p"))], [("k", Calibration(1, 2**70))])
    assert store.rounds("k") == []


def test_a_round_with_an_undefined_number_is_refused_and_the_store_goes_on(store: Store) -> None:
    bad = Round("p", "now", (1,), 1, 1, 1, 1, {}, Telemetry(), None, float("nan"))
    with pytest.raises(ValueError, match="JSON compliant"):
        store.add_job([("k", a_round("o")), ("k", bad)], [])
    assert store.rounds("k") == []
    store.add_job([("k", a_round("p"))], [])
    assert store.rounds("k") == [a_round("p")]


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    Store(tmp_path).close()
    children = [writer(tmp_path, name, 200, 1) for name in ("a", "b")]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    assert all(len(c.communicate(timeout=60)[0].splitlines()) == 200 for c in children)
    assert [c.returncode for c in children] == [0, 0]
    with Store(tmp_path) as store:
        found = [r.process for r in store.rounds("k0")]
        assert store.notes == []
    assert len(found) == 400
    assert set(found) == {f"{name}-{job}" for name in ("a", "b") for job in range(200)}


def test_threads_of_one_process_share_a_store(store: Store) -> None:
    def work(name: str) -> None:
        for number in range(25):
            store.add_job([("k", a_round(f"{name}{number}"))], [])

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.rounds("k")) == 75


def test_a_process_killed_while_it_writes_leaves_only_whole_jobs(tmp_path: Path) -> None:
    child = writer(tmp_path, "w", 10**6, 5)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    for _ in range(30):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    with Store(tmp_path) as store:
        jobs = [{r.process for r in store.rounds(f"k{place}")} for place in range(5)]
        assert store.notes == []
    assert {f"w-{job}" for job in range(30)} <= jobs[0]
    assert all(found == jobs[0] for found in jobs)


def test_opening_waits_for_another_process_that_is_creating_the_store(tmp_path: Path) -> None:
    other = sqlite3.connect(
        tmp_path / "store.sqlite", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, other.execute, ("COMMIT",))
    timer.start()
    try:
        with Store(tmp_path) as store:
            assert store.rounds("k") == []
    finally:
        timer.join()
        other.close()


# Artifacts ---------------------------------------------------------------------------------------


def test_adopting_moves_an_artifact_into_place_whole(store: Store) -> None:
    folder, artifact = staged(store, "content")
    kept = store.adopt("recipe", folder, artifact)
    place = store.folder / "artifacts" / "d1"
    assert (kept.path, kept.reference) == (str(place / "model.onnx"), str(place / "reference.npz"))
    assert (place / "model.onnx").read_text() == "content"
    assert (place / "reference.npz").read_text() == "outputs"
    assert not folder.exists()
    assert store.artifact("recipe") == kept
    assert store.artifact("another recipe") is None


def test_two_that_adopt_the_same_content_share_what_came_first(store: Store) -> None:
    first, second = staged(store, "content"), staged(store, "content")
    kept = store.adopt("recipe", *first)
    place = Path(kept.path)
    inode = place.stat().st_ino
    assert store.adopt("other recipe", *second) == kept
    assert place.stat().st_ino == inode
    assert list((store.folder / "staging").iterdir()) == []
    assert store.artifact("recipe") == store.artifact("other recipe") == kept


def test_an_artifact_is_found_after_the_whole_store_has_moved(tmp_path: Path) -> None:
    with Store(tmp_path / "here") as store:
        store.adopt("recipe", *staged(store, "content"))
    (tmp_path / "here").rename(tmp_path / "there")
    with Store(tmp_path / "there") as store:
        found = store.artifact("recipe")
    assert found is not None
    assert Path(found.path).read_text() == "content"


def test_a_deleted_artifact_is_not_found_and_can_be_made_again(store: Store) -> None:
    kept = store.adopt("recipe", *staged(store, "content"))
    shutil.rmtree(Path(kept.path).parent)
    assert store.artifact("recipe") is None
    assert store.adopt("recipe", *staged(store, "content")) == kept
    assert store.artifact("recipe") == kept


def test_an_artifact_of_which_a_part_was_deleted_is_made_whole_again(store: Store) -> None:
    kept = store.adopt("recipe", *staged(store, "content"))
    Path(kept.path).unlink()
    assert store.artifact("recipe") is None
    store.adopt("recipe", *staged(store, "content"))
    assert store.artifact("recipe") == kept


def test_what_a_dead_process_was_writing_is_swept_and_a_living_ones_is_kept(tmp_path: Path) -> None:
    Store(tmp_path).close()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / "staging" / f"{dead.pid}-abc"
    mine = tmp_path / "staging" / f"{os.getpid()}-abc"
    foreign = tmp_path / "staging" / "notes"
    for folder in (left, mine, foreign):
        folder.mkdir()
        (folder / "model.onnx").write_text("half")
    Store(tmp_path).close()
    assert not left.exists()
    assert (mine / "model.onnx").read_text() == "half"
    assert foreign.exists()


def test_a_folder_in_staging_with_an_impossible_process_number_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "staging" / f"{10**20}-abc").mkdir(parents=True)
    Store(tmp_path).close()


# Damage ------------------------------------------------------------------------------------------


def damage(file: Path, how: str) -> bytes:
    """Spoil a store's file; returns what it holds then."""
    data = file.read_bytes()
    generator = random.Random(how)
    if how == "random bytes":
        data = generator.randbytes(len(data))
    elif how == "text":
        data = b"not a database, but somebody's notes\n" * 100
    elif how == "cut in the middle of a page":
        data = data[: len(data) // 2 // 4096 * 4096 + 1234]
    elif how == "cut in the header":
        data = data[:50]
    elif how == "random pages":
        data = data[:4096] + generator.randbytes(len(data) - 4096)
    file.write_bytes(data)
    return data


@pytest.mark.parametrize(
    "how",
    ["random bytes", "text", "cut in the middle of a page", "cut in the header", "random pages"],
)
def test_a_damaged_store_is_set_aside_whole_and_a_fresh_one_begun(filled: Path, how: str) -> None:
    spoiled = damage(filled / "store.sqlite", how)
    with Store(filled) as store:
        (old,) = aside(filled)
        assert old.read_bytes() == spoiled
        assert len(store.notes) == 1
        assert "damaged" in store.notes[0]
        assert str(old) in store.notes[0]
        assert store.rounds("k0") == []
        store.add_job([("k", a_round("p"))], [])
    with Store(filled) as again:
        assert again.notes == []
        assert again.rounds("k") == [a_round("p")]
    assert aside(filled) == [old]


def test_a_second_damage_does_not_overwrite_the_first(filled: Path) -> None:
    contents = []
    for how in ("random bytes", "text", "cut in the header"):
        contents.append(damage(filled / "store.sqlite", how))
        Store(filled).close()
    assert sorted(p.read_bytes() for p in aside(filled)) == sorted(contents)


def test_artifacts_outlive_a_damaged_database(filled: Path) -> None:
    with Store(filled) as store:
        kept = store.adopt("recipe", *staged(store, "content"))
    damage(filled / "store.sqlite", "random bytes")
    Store(filled).close()
    assert Path(kept.path).read_text() == "content"


def test_a_store_that_lacks_its_last_byte_is_a_store_error(filled: Path) -> None:
    file = filled / "store.sqlite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StoreError), Store(filled) as store:
        [store.rounds(f"k{number}") for number in range(7)]


def test_a_record_that_cannot_be_decoded_is_a_store_error(filled: Path) -> None:
    file = filled / "store.sqlite"
    file.write_bytes(file.read_bytes().replace(b'"samples_ns"', b'"\xff\xfe\xff\xfe____ns"'))
    with pytest.raises(StoreError), Store(filled) as store:
        store.rounds("k0")


def test_a_store_of_a_newer_opclock_is_refused_and_left_as_it_was(filled: Path) -> None:
    file = filled / "store.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    before, names = file.read_bytes(), sorted(p.name for p in filled.iterdir())
    with pytest.raises(NewerStore, match=r"schema 99.*--store"):
        Store(filled)
    assert file.read_bytes() == before
    assert sorted(p.name for p in filled.iterdir()) == names


# Places that cannot be written -------------------------------------------------------------------


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text("mine")
    for folder in (file, file / "below"):
        with pytest.raises(OutputError, match=r"cannot be written .* --store"):
            Store(folder)
    assert file.read_text() == "mine"


def test_a_folder_in_place_of_the_database_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written .* --store"):
        Store(tmp_path)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
@pytest.mark.parametrize("folder", ["/proc/opclock", "/proc/self/fd/store", "/dev/null/store"])
def test_a_place_where_nobody_can_write_is_an_output_error(folder: str) -> None:
    with pytest.raises(OutputError, match=r"cannot be written .* --store"):
        Store(Path(folder))


def test_staging_that_has_gone_is_an_output_error(store: Store) -> None:
    (store.folder / "staging").rmdir()
    with pytest.raises(OutputError, match="cannot be written"):
        store.staging()


# Files written whole -----------------------------------------------------------------------------


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "table.json"
    write_whole(path, lambda place: place.write_text("one"))
    write_whole(path, lambda place: place.write_text("two"))
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in path.parent.iterdir()] == ["table.json"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_writer_that_raises_leaves_the_old_file_and_no_half_one(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "table.json"
    path.write_text("old")

    def write(place: Path) -> None:
        place.write_text("ha")
        raise error

    for target in (path, tmp_path / "new.json"):
        with pytest.raises(type(error)):
            write_whole(target, write)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]


def test_nobody_sees_the_file_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    seen = []

    def write(place: Path) -> None:
        place.write_text("half")
        seen.append(path.exists())
        place.write_text("whole")

    write_whole(path, write)
    assert seen == [False]
    assert path.read_text() == "whole"


def test_a_file_in_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "table.json", tmp_path / "folder", tmp_path / ("n" * 300)):
        with pytest.raises(OutputError, match="cannot be written"):
            write_whole(path, lambda place: place.write_text("new"))
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_full_disk_while_writing_is_an_output_error(tmp_path: Path) -> None:
    def write(place: Path) -> None:
        place.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        write_whole(tmp_path / "table.json", write)
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_followed_and_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "table.json")
    write_whole(tmp_path / "link", lambda place: place.write_text("new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "table.json").read_text() == "new"
    device = tmp_path / "null"
    device.symlink_to("/dev/null")
    write_whole(device, lambda place: place.write_text("gone"))
    assert Path("/dev/null").is_char_device()
