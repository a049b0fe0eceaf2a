"""The workers of a cluster as one run uses them: parts of it are asked of them, and what they give is the same as here.

What no worker can compute is computed here, where it gives its result or its error.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxprune.errors import ClusterError
from onnxprune.results.kept.codec import Unreadable, encoded
from onnxprune.results.kept.files import put, taken
from onnxprune.sweeping import remote
from onnxprune.sweeping.cluster import SAME, Replies, Shipped, Task, bundled, check_versions, expected, lost, send
from onnxprune.sweeping.remote import OPERATORS, PROCESSOR
from onnxprune.sweeping.remote_parts import ASKED, GIVEN, run_part

KEPT = "What was found is kept: the same command goes on there, with --scheduler or without."


class Workers:
    """A crew (see `results.crew`). `world`: how a worker opens the model and the samples."""

    def __init__(self, client: Any, model: object, files: Shipped, world: dict[str, Any], work: Path) -> None:
        """`model`: the original as the stages have it. `work`: a folder for what is on its way. Raises ClusterError."""
        self._client, self._model, self._files, self._world, self._work = client, model, files, world, work
        self._run, self._expected = secrets.token_hex(8), expected((*SAME, OPERATORS, PROCESSOR))
        self.parts = 0
        """that were computed by workers"""
        with lost(KEPT):
            check_versions(client, self._expected)
            for address in client.nthreads():
                send(client, files, address)

    def serves(self, model: object) -> bool:
        return model is self._model

    def each(self, kind: str, parts: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        """See `results.crew`."""
        if not parts:
            return
        run = f"{self._run}-{kind}"
        tasks = [self._task(run, kind, number, part) for number, part in enumerate(parts)]
        try:
            for number, reply in Replies(self._client, run, self._expected, KEPT).of(tasks, len(tasks)):
                for source in tasks[number].files[1].sources.values():
                    source.unlink(missing_ok=True)
                yield number, self._given(reply)
        except BaseException:
            self._stop()
            raise
        finally:  # a part may have been sent to a worker that another one was faster than
            with contextlib.suppress(Exception):
                self._client.run(remote.forget, [task.files[1].bundle["digest"] for task in tasks])

    def close(self) -> None:
        """End what the workers still do for this run."""
        self._stop()

    def _task(self, run: str, kind: str, number: int, part: Any) -> Task:
        path = self._work / f"{secrets.token_hex(8)}.npz"
        with open(path, "wb") as file:
            put(file, *encoded({"kind": kind, "part": part, "token": path.name}))
        files = bundled({ASKED: path})
        arguments = (self._run, self._files.bundle, files.bundle, self._world, self._expected)
        return Task(f"{kind}-{number}", run_part, arguments, (self._files, files))

    def _given(self, reply: dict[str, Any]) -> list[Any]:
        """The value of a reply. Raises ClusterError."""
        if "given" not in reply:
            return []
        if hashlib.sha256(reply["given"]).hexdigest() != reply["digest"]:
            raise ClusterError("what a worker found did not arrive as it was sent")
        path = self._work / GIVEN
        path.write_bytes(reply["given"])
        try:
            value = taken(path)
        except Unreadable as error:
            raise ClusterError(f"what a worker found cannot be read: {error}") from error
        finally:
            path.unlink(missing_ok=True)
        self.parts += 1
        return [value]

    def _stop(self) -> None:
        """Whatever is asked after this is another run of the workers."""
        with contextlib.suppress(Exception):
            self._client.run(remote.stop, self._run)
        self._run = secrets.token_hex(8)
