"""What all tests share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:  # so that `tests.builders` is found however pytest was started
    sys.path.insert(0, ROOT)

MEMORY, ROOM = Path("/dev/shm"), 4 << 30


def use_memory() -> None:
    """Let temporary files be in memory, where the system has such a folder with room: each proof writes a dozen, and
    waiting for a disk takes longer than many a test. TMPDIR decides, if it is set.
    """
    if "TMPDIR" in os.environ or not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return
    if shutil.disk_usage(MEMORY).free < ROOM or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:  # tests run what they compile
        return
    folder = MEMORY / f"onnxprune-tests-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def keep_compiled() -> None:
    """Let processes that tests start keep what they compile, where Python was told not to do so beside the sources."""
    if sys.dont_write_bytecode and "PYTHONPYCACHEPREFIX" not in os.environ:
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(ROOT) / ".pytest_cache" / "compiled")


use_memory()
keep_compiled()

# how long something takes says nothing on a busy machine
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that to background jobs; tests send it
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # so does nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timing at the end of a run is a tenth as long: for tests that ask what it says, not how sure it is."""
    from onnxprune.benching import short

    monkeypatch.setattr(short, "SECONDS", short.SECONDS / 10)


@pytest.fixture
def mypy_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """What mypy knows of the package, kept from run to run; each test has its own, as they may run side by side."""
    cache = request.config.cache
    return tmp_path if cache is None else cache.mkdir(f"mypy-{request.node.name}")


def pytest_collection_finish() -> None:
    """Thousands of tests are there to stay: no collection of garbage needs to look at them."""
    gc.collect()
    gc.freeze()
