"""Plots leave nothing in the home folder, and need none that can be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, home: str, **variables: str) -> subprocess.CompletedProcess[str]:
    left_out = ("MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    clean = {key: value for key, value in os.environ.items() if key not in left_out}
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    words = ["inspect", "digits.onnx", "--report", "r.html", "--force"]
    done = subprocess.run(
        [sys.executable, "-m", "onnxprune", *words],
        cwd=folder,
        env={**clean, "HOME": home, "TMPDIR": str(temporary), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<svg" in (folder / "r.html").read_text("utf-8")
    assert list(temporary.iterdir()) == []
    return done


def test_an_empty_home_stays_empty(folder: Path) -> None:
    home = folder / "home"
    home.mkdir()
    assert run(folder, str(home)).stderr == ""
    assert list(home.iterdir()) == []


def test_a_home_that_cannot_be_written_to_is_no_obstacle_and_no_news(folder: Path) -> None:
    assert run(folder, os.devnull).stderr == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where the folders are differs")
def test_a_list_of_fonts_that_is_there_already_is_used(folder: Path) -> None:
    home = folder / "home"
    for name in (".config", ".cache"):
        (home / name / "matplotlib").mkdir(parents=True)
    run(folder, str(home))
    (made,) = (home / ".cache" / "matplotlib").glob("fontlist*")
    before = made.stat().st_mtime_ns
    run(folder, str(home))
    assert made.stat().st_mtime_ns == before


def test_a_folder_that_the_user_names_is_taken(folder: Path) -> None:
    named = folder / "named"
    run(folder, os.devnull, MPLCONFIGDIR=str(named))
    assert list(named.glob("fontlist*"))
