"""`provider=`: on which execution provider samples are run.

A provider beside the CPU that needs no hardware is in most builds of ONNX Runtime: the remote one, which leaves every
node to the CPU. Users cannot choose it, so these tests lift the ban: what they run is real, and shows which sessions
the choice reaches.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxprune
from onnxprune.api.provided import blaming_provider, provided, threads_of
from onnxprune.api.remembered import differences
from onnxprune.capture.grad import native
from onnxprune.capture.session import open_session
from onnxprune.errors import DataError, UsageError
from onnxprune.options.shrinking import ShrinkOptions
from onnxprune.results import providers
from onnxprune.results.providers import CPU, DISTRIBUTIONS, Provider, installed, short_provider
from tests.small import small_network

OTHER = next((name for name in installed() if name != CPU), CPU)
DIGITS = Path(__file__).parents[2] / "models" / "digits.onnx"
MISSING = next(name for name in DISTRIBUTIONS if name not in map(short_provider, installed()))
LEARNERS = (
    *("onnxprune.choose.", "onnxprune.repair.", "onnxprune.sparsifying.masks."),
    *("onnxprune.quantizing.ranges", "onnxprune.quantizing.weights."),
)
"""What runs samples to choose and to repair."""
PROBES = ("onnxprune.capture.shapes", "onnxprune.capture.feeding", "onnxprune.measure.")
"""What asks for shapes, and what judges a result, is on the CPU also where learners call it."""
CALLS: dict[str, dict[str, Any]] = {
    "shrink": {"target": "macs=60%", "effort": 0.1},
    "sparsify": {"sparsity": 0.6, "pattern": "unstructured", "effort": 0.1},
    "quantize": {"scheme": "static", "effort": 0.1},
    "compress": {"target": "size=60%", "without": ["blocks"], "effort": 0.1},
}
MORE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("shrink", {"units": "blocks", "target": "macs=70%", "effort": 0.1}),
    ("shrink", {"ratio": 0.3, "repair": "scale-shift", "criterion": "ablation"}),
    ("shrink", {"ratio": 0.3, "repair": "bias", "criterion": "lasso", "schedule": "linear", "steps": 2}),
    ("shrink", {"ratio": 0.3, "sparsity": 0.5, "effort": 0.1}),
    ("quantize", {"scheme": "weights"}),
    ("quantize", {"scheme": "dynamic"}),
)
SAMPLES = {"image": np.random.default_rng(0).normal(size=(40, 1, 8, 8)).astype(np.float32)}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Of every session that is opened in this process: its first provider, and the modules on the way to it.

    Operators of the library, which only the CPU has, add up in another order: without them bytes are the same.
    """
    found: list[tuple[str, list[str]]] = []

    class Watched(onnxruntime.InferenceSession):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            frame, modules = sys._getframe(1), []
            while frame is not None:
                modules.append(frame.f_globals.get("__name__", ""))
                frame = frame.f_back  # type: ignore[assignment]
            found.append((self.get_providers()[0], modules))

    monkeypatch.setattr(onnxruntime, "InferenceSession", Watched)
    monkeypatch.setattr(providers, "REMOTE", "")
    monkeypatch.setattr(native, "is_there", lambda threads=0: False)
    return found


def weights(path: Path) -> dict[str, bytes]:
    return {one.name: one.SerializeToString() for one in onnx.load(path).graph.initializer}


@pytest.mark.parametrize(("command", "options"), [*CALLS.items(), *MORE])
def test_all_that_chooses_and_repairs_is_there_and_gives_the_same(
    tmp_path: Path, opened: list[tuple[str, list[str]]], command: str, options: dict[str, Any]
) -> None:
    model = DIGITS if "units" in options else small_network(tmp_path / "m.onnx")
    made: dict[str, Any] = {}
    for provider in ("cpu", OTHER):
        opened.clear()
        run = getattr(onnxprune, command)
        made[provider] = run(model, tmp_path / f"{provider}.onnx", data=SAMPLES, provider=provider, **options)
        learners = [
            first
            for first, modules in opened
            if any(m.startswith(LEARNERS) for m in modules) and not any(m.startswith(PROBES) for m in modules)
        ]
        full = CPU if provider == "cpu" else OTHER
        assert len(learners) > 1 and set(learners) == {full}
    assert weights(tmp_path / "cpu.onnx") == weights(tmp_path / f"{OTHER}.onnx")
    assert "provider" not in made["cpu"].plan.options
    if OTHER != CPU:
        assert made[OTHER].plan.options["provider"] == short_provider(OTHER)


@pytest.mark.parametrize("command", [*CALLS, "sweep"])
def test_one_that_is_not_installed_is_an_error_before_anything_is_read(tmp_path: Path, command: str) -> None:
    run = getattr(onnxprune, command)
    with pytest.raises(UsageError, match=f"^provider='{MISSING}' is not installed") as caught:
        run(tmp_path / "nothing.onnx", tmp_path / "out", data=SAMPLES, provider=MISSING, **CALLS.get(command, {}))
    assert DISTRIBUTIONS[MISSING] in str(caught.value) and "Installed: " in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_names_are_those_of_bench() -> None:
    for name in ("cpu", "CPU", CPU):
        assert provided(ShrinkOptions(provider=name)).provider == "cpu"
        assert threads_of(provided(ShrinkOptions(provider=name)), 3) == 3
    with pytest.raises(UsageError, match="remote service"):
        provided(ShrinkOptions(provider="azure"))
    with pytest.raises(UsageError, match="'cpuu' is not installed"):
        provided(ShrinkOptions(provider="cpuu"))
    elsewhere = provided(ShrinkOptions(provider="CUDAExecutionProvider"), here=False)
    assert elsewhere.provider == "cuda"  # workers of a cluster find out


def test_the_provider_is_carried_with_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "REMOTE", "")
    options = provided(ShrinkOptions(provider=OTHER))
    assert options.provider == short_provider(OTHER)
    assert threads_of(options, 2) == (2 if OTHER == CPU else Provider(OTHER, 2))


def test_failures_of_the_runtime_are_told_as_such() -> None:
    """On the CPU they are bugs of ours."""
    session = open_session(DIGITS)
    feed = {"image": np.zeros((1, 2, 8, 8), np.float32)}
    with (
        pytest.raises(DataError, match="provider='cuda' failed while it ran the samples: "),
        blaming_provider(ShrinkOptions(provider="cuda")),
    ):
        session.run(None, feed)
    with pytest.raises(Exception, match="Got: 2 Expected: 1") as caught, blaming_provider(ShrinkOptions()):
        session.run(None, feed)
    assert not isinstance(caught.value, DataError)
    with pytest.raises(ZeroDivisionError), blaming_provider(ShrinkOptions(provider="cuda")):
        print(1 / 0)


def test_runs_on_two_providers_differ() -> None:
    before, now = ({"options": {"provider": name}} for name in ("cuda", "cpu"))
    assert differences(before, now) == ["--provider was cuda, now cpu"]
