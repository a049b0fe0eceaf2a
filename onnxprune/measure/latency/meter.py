"""Measures networks on this machine: the original once, layers by need, candidates against the original, in turn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.capture.samples import facts_for
from onnxprune.errors import ModelError, UsageError
from onnxprune.measure.files import as_file
from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.network import Network, Profile
from onnxprune.measure.latency.runtime import Feed, kernel_times, layer_times
from onnxprune.measure.latency.table import Measure, Table
from onnxprune.measure.timing import clock_of, interleaved, paired_ratio, timed_session, undisturbed, warm_up
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.model.strangers import require_known
from onnxprune.trace.groups import Trace

SECONDS, LEAST, MOST = 2.0, 15, 300  # how long two models are run in turn, and in how many rounds


class Meter:
    """`feed` is what the models are run on; `measure` times layers (for tests: any function). `form`: what files have
    of the networks; by default the networks themselves. `table`: of layers that were timed before.
    """

    def __init__(
        self,
        trace: Trace,
        feed: Feed,
        threads: int = 0,
        *,
        form: Form | None = None,
        measure: Measure | None = None,
        table: Table | None = None,
    ) -> None:
        self._original, self._feed, self._threads, self.form = trace.graph.model, feed, threads, form
        self.facts: Facts = facts_for(trace, {name: array.shape for name, array in feed.items()})
        self.spread = 1.0
        """the largest quotient of the upper and the lower quartile of the ratios of a measurement"""
        self.table = table or Table(measure or (lambda signature, points: layer_times(signature, points, threads)))

    @functools.cached_property
    def before(self) -> float:
        """Seconds of the original as it is. Raises UsageError, or ModelError, if it cannot be run."""
        return self.profile.whole if self.form is None else self._profile(self._original).whole

    @functools.cached_property
    def profile(self) -> Profile:
        """The original in the form of files. Raises UsageError, or ModelError, if it cannot be run."""
        return self._profile(self._original if self.form is None else self.form.written(self._original))

    def _profile(self, model: Model) -> Profile:
        try:
            with as_file(model) as path:
                session = timed_session(path, self._threads)
                run = functools.partial(session.run, None, self._feed)
                once = warm_up(run)
                whole = float(np.median(undisturbed(interleaved([run], _rounds(once), clock=clock_of(self._threads)))))
                del session
                kernels: dict[str, float] = {}
                times = kernel_times(path, self._feed, self._threads)
                for (_, operator, _), seconds in times.items():
                    kernels[operator] = kernels.get(operator, 0.0) + seconds
        except UsageError:
            raise
        except Exception as error:  # onnxruntime raises many types
            require_known(self._original)
            text = error.message if isinstance(error, ModelError) else str(error)
            raise UsageError(
                f"the model cannot be run to be timed: {text}", hint="Give inputs that it accepts with --data."
            ) from error
        return Profile(whole, kernels, len(times))

    def network(self, trace: Trace) -> Network:
        """What any choice would take. Measures what is not known yet."""
        integers = frozenset[str]() if self.form is None else self.form.integers
        return Network(trace, self.facts, self.table, self.profile, integers)

    def against_original(self, candidate: Model) -> tuple[float, float]:
        """(the median of the paired ratios candidate / original, the median of the candidate's seconds), both of runs
        that were not disturbed. The candidate, which is a network, is run in the form of files.
        """
        made = candidate if self.form is None else self.form.written(candidate)
        with as_file(self._original) as first, as_file(made) as second:
            runs = [self._runner(path) for path in (first, second)]
            once = sum(warm_up(run) for run in runs)
            times = undisturbed(interleaved(runs, _rounds(once), clock=clock_of(self._threads)))
        low, high = np.quantile(times[:, 1] / times[:, 0], (0.25, 0.75))
        self.spread = max(self.spread, float(high / low))
        return paired_ratio(times), float(np.median(times[:, 1]))

    def _runner(self, path: Path) -> Callable[[], Any]:
        return functools.partial(timed_session(path, self._threads).run, None, self._feed)


def _rounds(seconds: float) -> int:
    return int(min(max(SECONDS / max(seconds, 2e-3), LEAST), MOST))
