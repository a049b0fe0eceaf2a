"""Importing Matplotlib without traces: by itself it writes a list of fonts into the home folder, and warns where it
cannot. Whoever has such a list already keeps it; for others it is made anew, in a folder that is gone afterwards.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "MPLCONFIGDIR"


def import_matplotlib() -> None:
    """Raises ImportError."""
    if "matplotlib.font_manager" in sys.modules:
        return
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it says where its lists are, and that making them takes a moment
    try:
        with contextlib.nullcontext() if VARIABLE in os.environ or _has_folders() else _elsewhere():
            import matplotlib.figure
            import matplotlib.font_manager  # noqa: F401
    finally:
        logger.setLevel(level)


def _has_folders() -> bool:
    """Whether the user has Matplotlib's folders, and may write to them."""
    try:
        home = Path.home()
    except RuntimeError:
        return False
    folders = [home / ".matplotlib"]
    if sys.platform.startswith(("linux", "freebsd")):
        bases = (os.environ.get(name) or home / base for name, base in _BASES)
        folders = [Path(base) / "matplotlib" for base in bases]
    return all(folder.is_dir() and os.access(folder, os.W_OK) for folder in folders)


_BASES = (("XDG_CONFIG_HOME", ".config"), ("XDG_CACHE_HOME", ".cache"))


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True)
    except OSError:  # Matplotlib may know another place
        yield
        return
    with folder as name:
        os.environ[VARIABLE] = name
        try:
            yield
        finally:
            os.environ.pop(VARIABLE, None)
