from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def opclock(tmp_path: Path) -> Run:
    """Run the command line as a user does, with a store of the test's own."""

    def run(*arguments: str, store: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "profile.py"), *arguments]
        if "--help" not in arguments:
            command += ["--store", str(store or tmp_path / "store")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
