"""Points computed by the workers of a Dask cluster: files are shipped to them, results come back; lost workers' points
are repeated by others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import ClusterError, OutputError, UsageError
from onnxprune.model.load import Model
from onnxprune.results.system import version
from onnxprune.results.units import plural
from onnxprune.sweeping import remote
from onnxprune.sweeping.local import Reply
from onnxprune.sweeping.tasks import Job

PIECE = 16 << 20  # bytes of a file that are sent at once
CONNECT_S, WORKERS_S, CLOSE_S = 15, 30, 10
SAME = ("onnxprune", "onnxruntime", "onnx", "onnx-graphsurgeon", "numpy", "scipy")
"""Packages whose versions must be the same everywhere, as results may depend on them."""


def require() -> None:
    """Raise UsageError without Dask distributed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--scheduler needs Dask distributed, which cannot be imported: {error}",
            hint="Install it: pip install 'onnxprune[cluster]'",
        ) from error


@dataclass(frozen=True)
class Shipped:
    """What the workers need, and where it is here: name in the bundle -> path."""

    bundle: remote.Bundle
    sources: Mapping[str, Path]


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`. Raises ClusterError."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="onnxprune-sweep")
    except Exception as error:  # distributed raises many types
        raise ClusterError(
            f"no Dask scheduler answers at {address!r}: {_said(error)}",
            hint="Start one (dask scheduler; dask worker ADDRESS), and give its address: tcp://host:8786.",
        ) from error
    try:
        try:
            client.wait_for_workers(1, timeout=WORKERS_S)
        except Exception as error:
            raise ClusterError(
                f"the cluster at {address!r} has no workers.", hint=f"Start some: dask worker {address}"
            ) from error
        yield client
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=CLOSE_S)


def described(client: Any) -> str:
    """The cluster in words."""
    threads = client.nthreads()
    return f"{plural(len(threads), 'worker')} of {client.scheduler.address}, {sum(threads.values())} points at a time"


def shipped(model: Model, path: Path, data: Path | None, samples: int | None) -> Shipped:
    """The files of a sweep: the model, what it refers to by the names that it uses, and the samples."""
    sources = {f"model/{path.name}": path}
    sources |= {f"model/{location}": file for location, file in model.locations.items()}
    if data is not None:
        sources[f"data/{data.name}"] = data
    files = [(name, source.stat().st_size, _sha256(source)) for name, source in sources.items()]
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    return Shipped({"digest": digest, "files": files, "samples": samples}, sources)


def compute(client: Any, jobs: Sequence[Job], work: Path, files: Shipped, at_once: int | None) -> Iterator[Reply]:
    """Replies in the order in which they come. Raises ClusterError; what has come stays."""
    sweep = secrets.token_hex(8)
    try:
        with _lost():
            check_versions(client)
            for address in client.nthreads():
                _send(client, files, address)
        yield from _Run(client, sweep, files, work).replies(jobs, at_once or len(jobs))
    finally:
        with contextlib.suppress(Exception):
            client.run(remote.stop, sweep)


def check_versions(client: Any) -> None:
    """Raises ClusterError if a worker has not what this machine has."""
    wanted = {name: version(name) for name in SAME}
    try:
        found = client.run(remote.versions, list(SAME))
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"a worker cannot import {error.name!r}.", hint="Install the same onnxprune[cluster] on every worker."
        ) from error
    for address, versions in found.items():
        _same(address, versions, wanted)


def _same(address: str, found: Mapping[str, str | None], wanted: Mapping[str, str | None]) -> None:
    wrong = [
        f"{name} {found.get(name) or 'missing'}, here {wanted[name]}"
        for name in wanted
        if found.get(name) != wanted[name]
    ]
    if wrong:
        raise ClusterError(
            f"worker {address} has {'; '.join(wrong)}.",
            hint="Results would differ: install the same versions on every worker.",
        )


class _Run:
    """One sweep on a cluster: what has been submitted, and for which job."""

    def __init__(self, client: Any, sweep: str, files: Shipped, work: Path) -> None:
        self.client, self.sweep, self.files, self.work = client, sweep, files, work
        self.wanted = {name: version(name) for name in SAME}

    def replies(self, jobs: Sequence[Job], at_once: int) -> Iterator[Reply]:
        from distributed import as_completed

        waiting = list(jobs[at_once:])
        owner = {self._submit(job): job for job in jobs[:at_once]}
        done = as_completed(list(owner), loop=self.client.loop)
        try:
            for future in done:
                job = owner.pop(future)
                with _lost():
                    reply = self._reply(future)
                again = self._next(reply)
                if again is None:
                    yield self._received(job, reply)
                    again, job = None, waiting.pop(0) if waiting else None  # type: ignore[assignment]
                if job is not None:
                    following = self._submit(job, again)
                    owner[following] = job
                    done.add(following)
                future.release()
        finally:
            with contextlib.suppress(Exception):
                self.client.cancel(list(owner), force=True)

    def _submit(self, job: Job, address: str | None = None) -> Any:
        """A point as a task. `address`: the worker that has been sent what it lacked."""
        there = {} if address is None else {"workers": [address], "allow_other_workers": True}
        key = f"onnxprune-sweep-{self.sweep}-{job.point.name}-{secrets.token_hex(4)}"
        return self.client.submit(
            remote.run_point,
            self.sweep,
            self.files.bundle,
            asdict(job.point),
            job.options,
            self.wanted,
            key=key,
            pure=False,
            **there,
        )

    def _reply(self, future: Any) -> dict[str, Any]:
        from distributed import KilledWorker

        try:
            found: dict[str, Any] = future.result()
        except KilledWorker as error:
            text = f"every worker that tried it was lost ({_said(error)})"
            failure = {"type": "Crashed", "message": text, "hint": "Not enough memory on the workers?", "exit_code": 3}
            return {"found": {"failure": failure, "duration_s": 0.0}, "files": {}, "digests": {}}
        return found

    def _next(self, reply: Mapping[str, Any]) -> str | None:
        """The worker that the point can be given again, now that it has what it lacked; None if it is done."""
        if "versions" in reply:
            _same(reply["address"], reply["versions"], self.wanted)
        if reply.get("stopped"):
            raise ClusterError(f"worker {reply['address']} ended the sweep.")
        if "missing" not in reply:
            return None
        address = str(reply["address"])
        with _lost():
            if address in self.client.nthreads():
                _send(self.client, self.files, address)
        return address

    def _received(self, job: Job, reply: Mapping[str, Any]) -> Reply:
        """The files as they came, in a folder of their own. Raises ClusterError, OutputError."""
        folder = self.work / job.point.name
        paths = {}
        try:
            folder.mkdir()
            for name, data in reply["files"].items():
                if hashlib.sha256(data).hexdigest() != reply["digests"][name]:
                    raise ClusterError(f"{name} did not arrive as it was sent")
                paths[name] = folder / name
                paths[name].write_bytes(data)
        except OSError as error:
            raise OutputError(f"cannot write the model of {job.point.name}: {error.strerror or error}") from error
        return Reply(job, reply["found"], paths)


def _send(client: Any, files: Shipped, address: str) -> None:
    """What a worker does not have yet, in pieces."""
    lacking = client.run(remote.needed, files.bundle, workers=[address]).get(address, [])
    for name in lacking:
        with open(files.sources[name], "rb") as file:
            offset, size = 0, os.fstat(file.fileno()).st_size
            while offset < size or not offset:
                data = file.read(PIECE)
                client.run(remote.receive, files.bundle, name, offset, data, workers=[address])
                offset += len(data) or 1


@contextlib.contextmanager
def _lost() -> Iterator[None]:
    """What distributed raises when the scheduler is gone, as ClusterError."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:
        raise ClusterError(
            f"the cluster failed: {_said(error)}", hint="Finished points are kept: start the same command again."
        ) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
