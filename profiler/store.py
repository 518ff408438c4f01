"""The store: every artifact ever built and every sample ever taken, found again by content.

One folder: `store.sqlite` (write-ahead log, one transaction a job), `artifacts/DIGEST/` (files,
moved into place whole), `staging/` (what is being written). Several processes may use it at once.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from profiler.encoding import canonical, from_json, to_json
from profiler.errors import NewerStore, OutputError, StoreError
from profiler.sampling import Calibration
from profiler.turns import hold
from profiler.types import Artifact, Failure, Round

T = TypeVar("T")

SCHEMA = 2
BUSY_S = 120.0
HEADER_BYTES = 100
TABLES = """
CREATE TABLE artifacts (recipe TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE measurements (key TEXT PRIMARY KEY, created TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE calibrations (key TEXT PRIMARY KEY, warmup INTEGER NOT NULL, batch INTEGER NOT NULL);
CREATE TABLE rounds (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, process TEXT NOT NULL, valid INTEGER NOT NULL,
    record TEXT NOT NULL, UNIQUE (key, process)
);
CREATE TABLE failures (
    id INTEGER PRIMARY KEY, created TEXT NOT NULL, record TEXT NOT NULL,
    key TEXT NOT NULL DEFAULT ''
);
"""
# What brings a store of an earlier schema to the next one.
MIGRATIONS = {1: "ALTER TABLE failures ADD COLUMN key TEXT NOT NULL DEFAULT ''"}


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class Store:
    """An open store. `notes` tells what a person should hear about how it was opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.notes: list[str] = []
        self._lock = threading.RLock()
        with self._writing():
            for part in ("artifacts", "staging"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            self._sweep_staging()
            # One at a time creates the database, or sets a damaged one aside.
            with hold(self.folder / "opening", exclusive=True):
                self._connection = self._open()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _file(self) -> Path:
        return self.folder / "store.sqlite"

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise
            aside = self._set_aside()
            self.notes.append(f"the store was damaged ({error}); it was set aside as {aside}")
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._file.is_file() and 0 < self._file.stat().st_size < HEADER_BYTES:
            raise sqlite3.DatabaseError("it is shorter than a database's header")
        connection = sqlite3.connect(
            self._file, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > SCHEMA:
                raise NewerStore(
                    f"the store {self.folder} has schema {version}, this opclock reads up to "
                    f"{SCHEMA}: use the newer opclock, or another folder with --store"
                )
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                raise sqlite3.DatabaseError(f"malformed: {verdict}")
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous=FULL")
            self._create_or_migrate(connection)
        except BaseException:  # Ctrl-C too: nobody else would close it
            connection.close()
            raise
        return connection

    @staticmethod
    def _create_or_migrate(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        # Looked at under the lock: another process may have created or migrated it.
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        statements = TABLES.split(";") if version == 0 else []
        statements += [MIGRATIONS[v] for v in range(version, SCHEMA) if version]
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={SCHEMA}")
        connection.execute("COMMIT")

    def _set_aside(self) -> Path:
        stamp = now().replace(":", "").replace("+0000", "Z")
        for number in range(1000):
            aside = self.folder / f"store.sqlite.damaged-{stamp}-{number}"
            if not aside.exists():
                break
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self._file}{suffix}", f"{aside}{suffix}")
        return aside

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the disk and SQLite say into errors that say what to do."""
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if any(word in text for word in ("full", "readonly", "unable to open", "disk I/O")):
                raise OutputError(
                    f"the store {self.folder} cannot be written ({text}); what was finished is "
                    "kept; make room, or choose another folder with --store"
                ) from error
            raise StoreError(f"the store {self.folder}: {text}") from error
        except OSError as error:
            raise OutputError(
                f"the store {self.folder} cannot be written ({error.strerror or error}); "
                "choose another folder with --store"
            ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._writing():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:  # Ctrl-C too: all of a transaction, or nothing
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    def _read(self, query: str, values: tuple[str, ...], make: Callable[..., T]) -> list[T]:
        """What `make` makes of each row. Raises StoreError when the file is damaged inside."""
        try:
            return [make(*row) for row in self._connection.execute(query, values)]
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise StoreError(
                f"the store {self.folder} is damaged ({error}): move the folder away, or choose "
                "another one with --store"
            ) from error

    # Artifacts -----------------------------------------------------------------------------

    def staging(self) -> Path:
        """A fresh folder on the store's own disk, to write an artifact in.

        What is still in it when this process is gone is removed by whoever opens the store next.
        """
        with self._writing():
            return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self.folder / "staging"))

    def _sweep_staging(self) -> None:
        """Remove what processes that are no longer there were writing."""
        for left in (self.folder / "staging").iterdir():
            owner = left.name.partition("-")[0]
            if owner.isdecimal() and len(owner) < 10 and not _alive(int(owner)):
                shutil.rmtree(left, ignore_errors=True)

    def adopt(self, recipe: str, staged: Path, artifact: Artifact) -> Artifact:
        """Move a finished artifact into place, whole, and remember which recipe made it.

        If another process made the same one meanwhile, that one stays.
        """
        place = self.folder / "artifacts" / artifact.digest
        with self._writing():
            try:
                os.rename(staged, place)
            except OSError:
                if not place.is_dir():
                    raise
                if (place / Path(artifact.path).name).exists():
                    shutil.rmtree(staged, ignore_errors=True)
                else:
                    # Somebody deleted a part of it.
                    shutil.rmtree(place)
                    os.rename(staged, place)
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO artifacts VALUES (?, ?)", (recipe, canonical(artifact))
            )
        return self._placed(artifact)

    def artifact(self, recipe: str) -> Artifact | None:
        """The artifact that this recipe made, if its file is still there."""
        query = "SELECT record FROM artifacts WHERE recipe = ?"
        rows = self._read(query, (recipe,), lambda r: from_json(Artifact, json.loads(r)))
        if not rows:
            return None
        artifact = self._placed(rows[0])
        return artifact if Path(artifact.path).exists() else None

    def _placed(self, artifact: Artifact) -> Artifact:
        folder = self.folder / "artifacts" / artifact.digest
        record = to_json(artifact)
        record["path"] = str(folder / Path(artifact.path).name)
        if artifact.reference:
            record["reference"] = str(folder / Path(artifact.reference).name)
        return from_json(Artifact, record)

    # Measurements --------------------------------------------------------------------------

    def add_measurements(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember what keys stand for: workload, target, protocol, artifact, environment."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO measurements VALUES (?, ?, ?)",
                [(key, now(), canonical(record)) for key, record in records.items()],
            )

    def environment(self, key: str) -> dict[str, Any]:
        """The environment in which a measurement was begun; empty when it is not known."""
        query = "SELECT record FROM measurements WHERE key = ?"
        rows = self._read(query, (key,), lambda r: dict(json.loads(r)["environment"]))
        return rows[0] if rows else {}

    def measurements(self) -> list[dict[str, Any]]:
        """What has been measured, newest first."""
        query = "SELECT key, created, record FROM measurements ORDER BY created DESC, rowid DESC"
        return self._read(query, (), lambda k, c, r: {"key": k, "created": c, **json.loads(r)})

    def rounds(self, key: str) -> list[Round]:
        """All rounds of a measurement, disturbed ones included, in the order they were taken."""
        query = "SELECT record FROM rounds WHERE key = ? ORDER BY id"
        return self._read(query, (key,), lambda r: from_json(Round, json.loads(r)))

    def valid_rounds(self, key: str) -> int:
        """How many undisturbed rounds a measurement has."""
        query = "SELECT count(*) FROM rounds WHERE key = ? AND valid"
        return self._read(query, (key,), int)[0]

    def add_job(
        self, rounds: Iterable[tuple[str, Round]], calibrations: Iterable[tuple[str, Calibration]]
    ) -> None:
        """Keep all that one job measured, or nothing of it."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO rounds (key, process, valid, record) VALUES (?, ?, ?, ?)",
                [(k, r.process, int(r.valid), canonical(r)) for k, r in rounds],
            )
            connection.executemany(
                "INSERT OR IGNORE INTO calibrations VALUES (?, ?, ?)",
                [(k, c.warmup, c.batch) for k, c in calibrations],
            )

    def calibration(self, key: str) -> Calibration | None:
        """The warm-up and batch that a measurement was started with."""
        query = "SELECT warmup, batch FROM calibrations WHERE key = ?"
        rows = self._read(query, (key,), Calibration)
        return rows[0] if rows else None

    def put_by(self, keys: Iterable[str]) -> None:
        """Put earlier rounds by, so that they are taken anew (`--again`); they stay in the file."""
        stamp = f"@{now()}-{uuid.uuid4().hex[:6]}"
        with self._transaction() as connection:
            for key in keys:
                connection.execute("UPDATE rounds SET key = key || ? WHERE key = ?", (stamp, key))
                connection.execute("DELETE FROM calibrations WHERE key = ?", (key,))

    # Failures ------------------------------------------------------------------------------

    def add_failure(self, failure: Failure, key: str = "") -> None:
        """Keep a failure: it is a result too. `key` is the recipe or the rounds' key."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO failures (created, record, key) VALUES (?, ?, ?)",
                (now(), canonical(failure), key),
            )

    def failure(self, key: str) -> Failure | None:
        """How the same thing failed last, if it did."""
        query = "SELECT record FROM failures WHERE key = ? ORDER BY id DESC LIMIT 1"
        rows = self._read(query, (key,), lambda r: from_json(Failure, json.loads(r)))
        return rows[0] if rows else None

    def failures(self) -> list[Failure]:
        """All failures, oldest first."""
        query = "SELECT record FROM failures ORDER BY id"
        return self._read(query, (), lambda r: from_json(Failure, json.loads(r)))


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch the log on. SQLite's own waiting does not cover this statement."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    A link is followed; a device or pipe is written as it is. Raises OutputError when the place
    cannot be written.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
        if path.exists() and not path.is_file():
            write(path)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        os.close(handle)
        try:
            write(Path(name))
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:  # Ctrl-C too: half a file must not stay
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def copy_whole(folder: Path, place: Path) -> None:
    """Copy a folder (an .mlpackage is one) beside its place and move it there.

    A folder that stands there is replaced. Raises OutputError when the place cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists() and not place.is_dir():
            raise OutputError(f"{place} exists and is not a folder")
        with tempfile.TemporaryDirectory(prefix=f".{place.name}-", dir=place.parent) as name:
            shutil.copytree(folder, Path(name, "new"))
            if place.exists():
                os.rename(place, Path(name, "old"))
            os.rename(Path(name, "new"), place)
    except OSError as error:
        raise OutputError(f"{place} cannot be written: {error.strerror or error}") from error
