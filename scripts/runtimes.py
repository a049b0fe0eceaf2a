"""The sparse operators in several releases of ONNX Runtime: `make test-runtimes`, RUNTIMES="1.17.3 1.20.1".

Each release gets an environment of its own in out/runtimes, with nothing but onnxruntime and numpy. There, every
case of tests/sparse runs with the library (the kernel must take precedence) and without (the function must agree).
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from onnxprune import native  # noqa: E402
from tests.sparse.layers import GRID, OLD, OLD_OPSETS, TOLERANCE, Case, error  # noqa: E402
from tests.sparse.quantized import QUANTIZED, QuantizedCase  # noqa: E402
from tests.sparse.sessions import pair, quantized_pair, session  # noqa: E402

FOLDER = ROOT / "out" / "runtimes"
DEFAULT = ("1.17.3", "1.18.1", "1.20.1", "1.23.2", "newest")

# Runs in the other environment: each model with the library and without, results as arrays in one file.
RUNNER = """
import json, os, sys
import numpy as np
import onnxruntime as ort
folder, library = sys.argv[1:]
found = {}
for name in json.load(open(folder + "/names.json")):
    feed = dict(np.load(f"{folder}/{name}.npz"))
    for kind in ("library", "function", "wrong"):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 2
        options.log_severity_level = 4
        if kind != "function":
            options.register_custom_ops_library(library)
        path = f"{folder}/{name}{'.wrong' if kind == 'wrong' else ''}.onnx"
        if not os.path.exists(path):
            continue
        run = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run
        found[f"{kind}:{name}"] = run(None, feed)[0]
np.savez(f"{folder}/{ort.__version__}.npz", **found)
print(ort.__version__)
"""


def main(versions: list[str]) -> int:
    library = native.library_path()
    if library is None:
        print(f"the library is {native.problem()}", file=sys.stderr)
        return 1
    expected = write_cases()
    failed = 0
    for version in versions or DEFAULT:
        python = environment(version)
        if python is None:
            print(f"{version:10s} cannot be installed here: no wheel for this Python")
            continue
        command = [str(python), "-c", RUNNER, str(FOLDER), str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{version:10s} FAILED\n{done.stderr}")
            failed += 1
            continue
        result = np.load(FOLDER / f"{done.stdout.split()[-1]}.npz")
        worst = {kind: worst_of(result, expected, kind) for kind in KINDS}
        good = all(value <= TOLERANCE for value in worst.values())
        failed += not good
        shown = ", ".join(f"{what} {worst[kind]:.1e}" for kind, what in KINDS.items())
        print(
            f"{done.stdout.split()[-1]:10s} {'ok' if good else 'FAILED'}: {len(expected)} cases, largest error: {shown}"
        )
    return 1 if failed else 0


ONE_STEP = 0.02  # of the largest output, generously: bytes have 255
KINDS = {"library": "with the library", "function": "without", "wrong": "with it and a wrong function"}


def write_cases() -> dict[str, np.ndarray]:
    """Models and inputs as files; what this environment's runtime gives for the dense models."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    expected = {}
    cases: list[tuple[str, Case | QuantizedCase, int]]
    cases = [(title, case, 17) for title, case in GRID.items()]
    cases += [(title, integers, 17) for title, integers in QUANTIZED.items()]
    cases += [(f"{title} {opset}", GRID[title], opset) for title in OLD for opset in OLD_OPSETS]
    for title, case, opset in cases:
        quantised = isinstance(case, QuantizedCase)
        name = ("int8_" if quantised else "") + title.replace(" ", "_").replace(",", "")
        sparse, dense = quantized_pair(case, opset) if isinstance(case, QuantizedCase) else pair(case, opset)
        feed: dict[str, Any] = case.feed()
        expected[name] = session(dense, library=False).run(None, feed)[0]
        np.savez(FOLDER / f"{name}.npz", **feed)
        onnx.save(sparse, FOLDER / f"{name}.onnx")
        if not quantised:  # negated results tell which of the two ran
            body = sparse.functions[0].node
            body[-1].output[0] = "right"
            body.append(onnx.helper.make_node("Neg", ["right"], ["y"]))
            onnx.save(sparse, FOLDER / f"{name}.wrong.onnx")
    (FOLDER / "names.json").write_text(json.dumps(list(expected)), "utf-8")
    return expected


def worst_of(result: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], kind: str) -> float:
    """The largest error of a kind; quantised outputs that are one step off count as equal if they are few."""
    worst = 0.0
    for name, value in expected.items():
        if f"{kind}:{name}" not in result:
            continue
        found = result[f"{kind}:{name}"]
        difference = error(found, value)
        if name.startswith("int8_") and difference < ONE_STEP and np.mean(found != value) < 0.01:
            continue
        worst = max(worst, difference)
    return worst


def environment(version: str) -> Path | None:
    """The Python of an environment with that release; None if there is none for this Python."""
    folder = FOLDER / version
    python = folder / "bin" / "python"
    if (folder / "ready").exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    numpy = "numpy<2" if version.startswith(("1.17", "1.18")) else "numpy"
    wanted = "onnxruntime" if version == "newest" else f"onnxruntime=={version}"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    done = subprocess.run([*command, wanted, numpy], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    (folder / "ready").touch()
    return python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
