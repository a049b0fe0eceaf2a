"""A Dask cluster whose workers compute for us: files are shipped to them, results come back; what lost workers had is
repeated by others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.errors import ClusterError, UsageError
from onnxprune.model.load import Model
from onnxprune.results.units import plural
from onnxprune.sweeping import remote
from onnxprune.sweeping.remote import PROCESSOR

PIECE = 16 << 20  # bytes of a file that are sent at once
CONNECT_S, WORKERS_S, CLOSE_S = 15, 30, 10
MOST_UNSENT = 20  # files that workers did not get
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


@dataclass(frozen=True)
class Task:
    """`function` runs on a worker with the `arguments`, which name the `files` that it needs there. It replies with a
    mapping: `address` of the worker, and what came of it, or `missing`, `versions` or `stopped` (`remote.hindered`).
    """

    name: str
    function: Callable[..., dict[str, Any]]
    arguments: tuple[Any, ...]
    files: tuple[Shipped, ...]


@contextlib.contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at `address`. Raises ClusterError."""
    from distributed import Client

    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="onnxprune")
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


def described(client: Any, what: str) -> str:
    """The cluster in words; `what` it computes."""
    threads = client.nthreads()
    return f"{plural(len(threads), 'worker')} of {client.scheduler.address}, {sum(threads.values())} {what} at a time"


def shipped(model: Model, path: Path, data: Path | None, samples: int | None) -> Shipped:
    """The files of a run: the model, what it refers to by the names that it uses, and the samples."""
    sources = {f"model/{path.name}": path}
    sources |= {f"model/{location}": file for location, file in model.locations.items()}
    if data is not None:
        sources[f"data/{data.name}"] = data
    return bundled(sources, samples)


def bundled(sources: Mapping[str, Path], samples: int | None = None) -> Shipped:
    """Files by the names that workers know them by."""
    files = [(name, source.stat().st_size, _sha256(source)) for name, source in sources.items()]
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    return Shipped({"digest": digest, "files": files, "samples": samples}, sources)


def expected(names: Sequence[str] = SAME) -> dict[str, str | None]:
    """What every worker must have, as this machine has it: versions of packages, and `remote.PROCESSOR`."""
    return remote.versions(names)


def check_versions(client: Any, wanted: Mapping[str, str | None]) -> None:
    """Raises ClusterError if a worker has not what this machine has."""
    try:
        found = client.run(remote.versions, list(wanted))
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
            hint="Results would differ: "
            + ("take workers of one kind." if PROCESSOR in wrong[0] else "install the same versions on every worker."),
        )


class Replies:
    """What workers say to the tasks of one run. One that was lost with its worker is given to another; one whose worker
    lacked files is given again when it has them. To any worker: Dask never gives a task that is for one worker to those
    that come when that is lost.
    """

    def __init__(self, client: Any, run: str, expected: Mapping[str, str | None], kept: str) -> None:
        """`expected`: what versions all workers must have. `kept`: a hint, if the cluster is lost."""
        self.client, self.run, self.expected, self._kept = client, run, expected, kept
        self._unsent = 0

    def of(self, tasks: Sequence[Task], at_once: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number of the task, reply) in the order in which they come; of a task that every worker was lost with, how
        it was `lost`. Raises ClusterError; what has come stays.
        """
        from distributed import as_completed

        waiting = list(range(at_once, len(tasks)))
        with lost(self._kept):
            owner = {self._submit(tasks[number]): number for number in range(min(at_once, len(tasks)))}
        done = as_completed(list(owner), loop=self.client.loop)
        try:
            for future in done:
                number: int | None = owner.pop(future)
                assert number is not None
                with lost(self._kept):
                    reply = self._reply(future)
                    again = self._lacked(tasks[number], reply)
                if not again:
                    yield number, reply
                    number = waiting.pop(0) if waiting else None
                if number is not None:
                    with lost(self._kept):
                        following = self._submit(tasks[number])
                    owner[following] = number
                    done.add(following)
                future.release()
        finally:
            with contextlib.suppress(Exception):
                self.client.cancel(list(owner), force=True)

    def _submit(self, task: Task) -> Any:
        key = f"onnxprune-{self.run}-{task.name}-{secrets.token_hex(4)}"
        return self.client.submit(task.function, *task.arguments, key=key, pure=False)

    def _reply(self, future: Any) -> dict[str, Any]:
        from distributed import KilledWorker

        try:
            found: dict[str, Any] = future.result()
        except KilledWorker as error:
            return {"lost": f"every worker that tried it was lost ({_said(error)})"}
        return found

    def _lacked(self, task: Task, reply: Mapping[str, Any]) -> bool:
        """Whether a worker could not do it because of files that it lacked; it has been sent them."""
        if "versions" in reply:
            _same(reply["address"], reply["versions"], self.expected)
        if reply.get("stopped"):
            raise ClusterError(f"worker {reply['address']} ended the run.")
        if "missing" not in reply:
            return False
        address = str(reply["address"])
        try:
            if address in self.client.nthreads():
                for files in task.files:
                    send(self.client, files, address)
        except OSError:  # it may be lost, or its disk be full: another one may do it
            self._unsent += 1
            if self._unsent > MOST_UNSENT:
                raise
        return True


def send(client: Any, files: Shipped, address: str) -> None:
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
def lost(kept: str) -> Iterator[None]:
    """What distributed raises when the scheduler is gone, as ClusterError; `kept` says how to go on."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:
        raise ClusterError(f"the cluster failed: {_said(error)}", hint=kept) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
