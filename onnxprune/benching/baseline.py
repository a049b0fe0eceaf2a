"""An earlier result of `bench` as the reference. It was measured at another time: such a comparison is weaker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.benching.results import Comparison, Estimate, Measurement, Setting
from onnxprune.benching.statistics import resolution, unpaired_ratio, verdict
from onnxprune.errors import DataError, UsageError

SCHEMA = "onnxprune.bench/1"
MAX_BYTES = 1 << 26
REMARK = (
    "measured at another time, not in turn: what else the machine did then and does now is part of this ratio, "
    "and of no interval"
)


@dataclass(frozen=True)
class Baseline:
    """What an earlier document says: latencies by setting and model, and where it was measured."""

    name: str
    latencies: Mapping[Setting, Mapping[str, tuple[Estimate, int]]]
    runtime: str
    cpu: str


def is_document(path: Path) -> bool:
    """Whether a file is JSON rather than a model; a file that cannot be read is not."""
    try:
        with open(path, "rb") as file:
            return file.read(64).lstrip()[:1] == b"{"
    except OSError:
        return False


def read_baseline(path: Path) -> Baseline:
    """Raises UsageError if there is no file, DataError if it is no result of `bench`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"--baseline {path.name} is too large for a result of bench")
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read --baseline {str(path)!r}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"--baseline {path.name} is not JSON: {error}") from error
    try:
        if document["schema"] != SCHEMA:
            raise DataError(
                f"--baseline {path.name} is a {document['schema']!r}, not {SCHEMA!r}",
                hint="Write one with onnxprune bench MODEL --export-json FILE.",
            )
        found = {}
        for entry in document["settings"]:
            setting = Setting(entry["threads_count"], entry["batch_count"], entry["provider"])
            found[setting] = {m["model"]: _latency(m) for m in entry["measurements"]}
        machine = document["machine"]
        return Baseline(path.name, found, machine["runtime"], machine["cpu"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"--baseline {path.name} is not a result of bench: {error!r}") from error


def _latency(entry: dict[str, Any]) -> tuple[Estimate, int]:
    low, high = entry["latency"]["interval_s"]
    found = Estimate(float(entry["latency"]["median_s"]), float(low), float(high))
    if not 0 < found.low <= found.value <= found.high:
        raise ValueError(f"a latency of {found}")
    return found, int(entry["samples_count"])


def compare_with(baseline: Baseline, setting: Setting, measured: Measurement, margin: float) -> Comparison | None:
    """The comparison with the model of the same name, or with the only one; None if it has none in this setting."""
    earlier = baseline.latencies.get(setting, {})
    name = measured.model if measured.model in earlier else next(iter(earlier)) if len(earlier) == 1 else None
    if name is None or earlier[name][1] != measured.samples:
        return None
    ratio = unpaired_ratio(measured.latency, earlier[name][0])
    return Comparison(
        measured.model,
        f"{name} in {baseline.name}",
        ratio,
        verdict(ratio, margin),
        False,
        0,
        resolution(ratio, margin),
        REMARK,
    )


def differences(baseline: Baseline, runtime: str, cpu: str) -> list[str]:
    """Notes on what was different then."""
    pairs = (("ONNX Runtime", baseline.runtime, runtime), ("the processor", baseline.cpu, cpu))
    return [f"{what} was {then!r} in {baseline.name}, now {now!r}" for what, then, now in pairs if then != now]
