from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_the_launcher_works_from_any_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "profile.py"), "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("opclock ")


def test_imported_from_the_checkout_profile_is_the_standard_librarys() -> None:
    done = python(
        "import profile; assert profile.__file__.endswith('profile.py'), profile.__file__;"
        "print(profile.__file__); profile.Profile().run('1+1')",
        ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.startswith(str(ROOT))


def test_cprofile_works_from_the_checkout() -> None:
    done = python("import cProfile; cProfile.run('sum([1, 2])')", ROOT)
    assert done.returncode == 0, done.stderr
    assert "function calls" in done.stdout


@pytest.mark.parametrize("module", ["torch._dynamo", "torch.export"])
def test_torch_modules_that_need_cprofile_import_from_the_checkout(module: str) -> None:
    done = python(f"import {module}; import profile; print(profile.Profile)", ROOT)
    assert done.returncode == 0, done.stderr
    assert "Profile" in done.stdout


def test_help_needs_no_framework_and_little_time_and_memory() -> None:
    """The promise is 0.3 s and 60 MB; the test only catches a framework being loaded."""
    code = (
        "import sys; sys.argv = ['opclock', '--help']\n"
        "from profiler.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "loaded = {m.partition('.')[0] for m in sys.modules}\n"
        "heavy = loaded & {'torch', 'numpy', 'onnx', 'onnxruntime', 'timm', 'matplotlib', 'rich'}\n"
        "assert not heavy, heavy\n"
        "status = open('/proc/self/status').read()\n"
        "assert int(status.partition('VmHWM:')[2].split()[0]) < 60_000\n"
    )
    begun = time.monotonic()
    done = python(code, ROOT)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 10


def test_the_wheel_holds_our_four_packages_and_runs_alone(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    source = tmp_path / "source"
    source.mkdir()
    for name in ("profiler", "exporters", "benchmarks", "reports", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "profile.py"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(wheels), str(source)], check=True)
    (wheel,) = wheels.glob("*.whl")
    empty = tmp_path / "empty env"
    subprocess.run([sys.executable, "-m", "venv", str(empty)], check=True)
    pip = [str(empty / "bin" / "python"), "-m", "pip", "install", "-q", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    site = next((empty / "lib").glob("python*/site-packages"))
    listed = {p.parts[0] for p in _recorded(site) if p.suffix == ".py"}
    assert listed == {"profiler", "exporters", "benchmarks", "reports"}
    assert _recorded(site) >= {
        p.relative_to(ROOT) for d in listed for p in (ROOT / d).rglob("*.py")
    }
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for arguments in (["--help"], ["doctor"], ["list"], ["measure", "x", "--on", "nosuch"]):
        done = subprocess.run(
            [str(empty / "bin" / "opclock"), *arguments],
            cwd=tmp_path,
            env={**clean, "XDG_DATA_HOME": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == (2 if "nosuch" in arguments else 0), done.stdout + done.stderr
        if arguments == ["doctor"]:
            assert "pip install onnxruntime" in done.stdout


def _recorded(site: Path) -> set[Path]:
    (info,) = site.glob("opclock-*.dist-info")
    names = [line.partition(",")[0] for line in (info / "RECORD").read_text().splitlines()]
    return {Path(n) for n in names if ".dist-info" not in n and not n.startswith("..")}
