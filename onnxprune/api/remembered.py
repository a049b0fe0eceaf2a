"""What a long run found so far, kept beside its output: which run it is, and when it is forgotten."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxprune import native
from onnxprune.api.environment import environment
from onnxprune.capture.kept import digest_of
from onnxprune.capture.samples import Samples
from onnxprune.errors import ClusterError, OutputError, Terminated, UsageError
from onnxprune.model.abandoned import remove_abandoned
from onnxprune.model.container import shown_path
from onnxprune.model.load import Model
from onnxprune.model.sources import Place
from onnxprune.options.declare import declared
from onnxprune.options.running import Result
from onnxprune.results.clock import Clock
from onnxprune.results.kept.memory import EVERY_S, Memory, manifest_of
from onnxprune.results.system import version

SCHEMA = "onnxprune.run/1"
SUFFIX = ".onnxprune-run"
SECONDS = "ONNXPRUNE_KEEP_SECONDS"
"""Variable of the environment: how often what was found is written."""
ELSEWHERE = frozenset({"data", "output", "plan"})
"""Options that the identity has in another form, or not at all."""
Identity = dict[str, Any]


@contextlib.contextmanager
def remembering(clock: Clock) -> Iterator[None]:
    """Forget what was kept when this ends, however it does, unless the process is told to end, or the cluster is gone
    that was to compute: then it may go on.
    """
    try:
        yield
    except Terminated:
        raise
    except ClusterError:
        clock.memory.flush()
        raise
    except BaseException:
        clock.memory.clear()
        raise
    clock.memory.clear()


def remember(options: Result, source: Model, samples: Samples | None, place: Place, clock: Clock) -> None:
    """Let the run keep what it finds, and take what an earlier one found.

    Raises OutputError if what is there is of another run, or of none.
    """
    if place.in_memory or options.dry_run or samples is None:
        return
    every_s = _seconds()
    path = place.target.with_name(f"{place.target.name}{SUFFIX}")
    there = manifest_of(path)

    def identity() -> Identity:
        return _identity(options, source, samples)

    if there is not None and there.get("schema") != SCHEMA:
        raise OutputError(
            f"{shown_path(path)!r} is where a long run keeps what it finds, and it holds something else.",
            hint="Move it away, or give another output with -o.",
        )
    if there is not None and options.fresh:
        shutil.rmtree(path, ignore_errors=True)
        remove_abandoned(place.target)
        there = None
    if there is not None:
        differing = differences(there, identity())
        if differing:
            raise OutputError(
                f"{shown_path(path)!r} holds what another run found: {'; '.join(differing)}.",
                hint="To go on with that run, give what it was given. To begin anew, give --fresh, or delete the "
                "folder.",
            )
        remove_abandoned(place.target)  # of the run that was killed
        clock.say(f"goes on with what an earlier run found: {path.name}")
    clock.memory = Memory(path, identity, every_s=every_s)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What distinguishes two runs, in words."""
    found = [f"{part} was another one" for part in ("model", "data") if before.get(part) != now.get(part)]
    for part, word in (("options", "--"), ("versions", "")):
        old, new = before.get(part) or {}, now.get(part) or {}
        for key in dict.fromkeys((*old, *new)):
            if old.get(key) != new.get(key):
                name = key.replace("_", "-") if word else key
                found.append(f"{word}{name} was {_told(old.get(key))}, now {_told(new.get(key))}")
    return found


def _identity(options: Result, source: Model, samples: Samples) -> Identity:
    """What the result depends on."""
    asked = {one.name: getattr(options, one.name) for one in declared(type(options)) if not one.spec.silent}
    given = {name: _plain(value) for name, value in asked.items() if name not in ELSEWHERE}
    plan = getattr(options, "plan", None)
    machine = environment()
    return {
        "schema": SCHEMA,
        "command": options.NAME,
        "model": source.sha256,
        "data": digest_of(samples),
        "options": given | ({} if plan is None else {"plan": plan.digest}),
        "versions": {
            "onnxprune": machine.onnxprune,
            **{name: version(name) for name in ("onnxruntime", "numpy", "scipy")},
            "processor": machine.cpu,
            "sparse_operators": "" if native.problem() else "there",
        },
    }


def _plain(value: Any) -> Any:
    """As JSON has it, and has it again."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return os.fspath(value) if isinstance(value, Path) else getattr(value, "__qualname__", type(value).__name__)


def _told(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "not given"
    return "not given" if value is None else str(value)


def _seconds() -> float:
    """Raises UsageError."""
    text = os.environ.get(SECONDS, str(EVERY_S))
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise UsageError(f"{SECONDS} is a number of seconds, found {text!r}")
    return found
