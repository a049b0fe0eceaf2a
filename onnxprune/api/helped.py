"""`--scheduler` of a run: workers of a cluster capture and try parts of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxprune.capture.kept import digest_of
from onnxprune.capture.samples import Samples
from onnxprune.choose.request import GIVE_DATA
from onnxprune.data import Calibration
from onnxprune.errors import UsageError
from onnxprune.options.compressing import CompressOptions
from onnxprune.options.shrinking import ShrinkOptions
from onnxprune.results.clock import Clock
from onnxprune.results.providers import CPU, short_provider
from onnxprune.trace import Trace

if TYPE_CHECKING:
    from onnxprune.sweeping.crew import Workers


class Help:
    """The connection of a run, and what it was good for. Without --scheduler there is none."""

    def __init__(self, stack: contextlib.ExitStack, client: Any, clock: Clock) -> None:
        self._stack, self._client, self.clock = stack, client, clock
        self._workers: Workers | None = None

    def begin(
        self,
        options: ShrinkOptions | CompressOptions,
        traced: Trace,
        given: Calibration | None,
        samples: Samples | None,
    ) -> None:
        """Send the workers the model, and the samples as the network is fed them. Raises ClusterError."""
        if self._client is None or given is None or samples is None:
            return
        from onnxprune.sweeping.cluster import described, shipped
        from onnxprune.sweeping.crew import Workers
        from onnxprune.sweeping.samples import model_file, pack

        work = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxprune-")))
        model = traced.graph.model
        packed = pack(given, work / "samples")
        files = shipped(model, model_file(model, work), packed.path, packed.samples)
        world = {
            "units": traced.units_mode,
            "seed": options.seed,
            "max_memory": options.max_memory,
            "digest": digest_of(samples),
        }
        self._workers = Workers(self._client, model, files, world, work)
        self._stack.callback(self._workers.close)
        self.clock.say(described(self._client, "parts"))
        self.clock.crew = self._workers

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of it: that it was good for nothing."""
        if self._workers is None or self._workers.parts:
            return ()
        return ("--scheduler had no effect: there was nothing that workers could capture or try",)


@contextlib.contextmanager
def helped(options: ShrinkOptions | CompressOptions, clock: Clock) -> Iterator[Help]:
    """A connection to the cluster while this lasts, if one is asked for. Raises UsageError, ClusterError."""
    with contextlib.ExitStack() as stack:
        client = None
        if options.scheduler is not None:
            from onnxprune.sweeping import cluster

            if options.data is None:
                raise UsageError(
                    "--scheduler has no effect without --data: nothing is captured.",
                    hint=f"{GIVE_DATA}, or leave out --scheduler.",
                )
            if options.provider != short_provider(CPU):
                raise UsageError(
                    f"--scheduler and --provider {options.provider} exclude each other: workers compute on processors.",
                    hint="Leave out one of them.",
                )
            cluster.require()
            client = stack.enter_context(cluster.connected(options.scheduler))
        try:
            yield Help(stack, client, clock)
        finally:
            clock.crew = None
