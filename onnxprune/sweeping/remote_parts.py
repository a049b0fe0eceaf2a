"""What runs on the workers of a Dask cluster for one part of a run: see `remote` for how files come there."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxprune.sweeping.remote import Bundle, cores, hindered, joined, place
from onnxprune.sweeping.servers import Servers
from onnxprune.sweeping.tasks import Stopped

ASKED, GIVEN = "asked.npz", "given.npz"
"""Of a part: what is asked, and what came of it."""


def run_part(
    run: str, bundle: Bundle, part: Bundle, world: Mapping[str, Any], expected: dict[str, str | None]
) -> dict[str, Any]:
    """Compute a part here: `given`, the file as bytes, with its `digest`; or `failure`, why there is none. Or what has
    to be done before (`remote.hindered`). `address` is that of this worker; `world`: how model and samples are opened.
    """
    from distributed import get_worker

    worker = get_worker()
    root, address = worker.local_directory, worker.address
    hindrance = hindered(expected, [bundle, part], root)
    if hindrance:
        return {"address": address, **hindrance}
    servers = joined(run, Servers)
    if servers is None:
        return {"address": address, "stopped": True}
    folder = place(part, ASKED, root).parent
    names = [name for name, _, _ in bundle["files"]]
    opened = {
        **world,
        "model": str(Path(place(bundle, names[0], root)).absolute()),
        "data": str(next(place(bundle, name, root) for name in names if name.startswith("data/")).absolute()),
        "samples": bundle["samples"],
        "threads": max(1, cores() // max(worker.state.nthreads, 1)),
    }
    try:
        failure = servers.compute(opened, folder.absolute())
        if failure is not None or not (folder / GIVEN).is_file():
            return {"address": address, "failure": failure or "it failed"}
        given = (folder / GIVEN).read_bytes()
    except Stopped:
        return {"address": address, "stopped": True}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"address": address, "given": given, "digest": hashlib.sha256(given).hexdigest()}
