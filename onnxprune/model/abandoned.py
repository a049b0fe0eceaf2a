"""Folders of files that were never published, because the process that staged them was killed.

Who stages holds a lock on the folder, which ends with the process; a folder that nobody holds belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

SUFFIX = ".tmp"
OLD = ".old"


def staging_name(target: Path, token: str) -> str:
    """Of a folder for files that will be beside `target`."""
    return f".{target.name[:40]}.{token}{SUFFIX}"


def held(folder: Path) -> int | None:
    """The descriptor that holds the folder until it is closed; None where the system has no such locks."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def remove_abandoned(target: Path) -> None:
    """Remove what processes that are gone have staged for `target`; not what may be the only copy of an older file."""
    try:
        import fcntl
    except ImportError:
        return
    for folder in target.parent.glob(staging_name(target, "[0-9a-f]" * 16)):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not any(path.name.endswith(OLD) for path in folder.iterdir()):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
