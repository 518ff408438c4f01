from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]

# Property tests try the same examples everywhere, and none fails because a machine was busy.
settings.register_profile("opclock", deadline=None, derandomize=True)
settings.load_profile("opclock")


@pytest.fixture
def opclock(tmp_path: Path) -> Run:
    """Run the command line as a user does, with a store of the test's own."""

    def run(*arguments: str, store: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "profile.py"), *arguments]
        if "--help" not in arguments:
            command += ["--store", str(store or tmp_path / "store")]
        return subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
