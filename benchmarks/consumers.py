"""How long the consumer criteria take: `python benchmarks/consumers.py [CRITERION ...]`.

Layers of random, correlated inputs; the moments are made before the clock starts. On a busy machine set
OPENBLAS_NUM_THREADS=1: threads that wait for each other cost more than they save.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from onnxprune.choose.score.consumers import Consumer, criteria, get

SIZES = ((64, 9, 64), (256, 9, 256), (512, 9, 512), (512, 1, 128), (2048, 1, 512))  # units, features each, outputs


def layer(n: int, b: int, outputs: int, seed: int = 0) -> Consumer:
    """Rectified, correlated inputs with a bias, twice as many positions as features."""
    rng = np.random.default_rng(seed)
    d = n * b
    mix = np.eye(d) + 0.3 / np.sqrt(d) * rng.standard_normal((d, d))
    x = np.append(np.maximum(rng.standard_normal((2 * d, d)) @ mix, 0.0), np.ones((2 * d, 1)), axis=1)
    weight = rng.standard_normal((d + 1, outputs)) / np.sqrt(d)
    y = x @ weight
    unit = np.append(np.repeat(np.arange(n), b), -1)
    return Consumer("layer", x.T @ x / len(x), x.T @ y / len(x), weight, unit, float(y.var(axis=0).sum()))


def main() -> None:
    names = sys.argv[1:] or [entry.name for entry in criteria()]
    print("units x features -> outputs".ljust(30) + "".join(name.rjust(12) for name in names))
    for n, b, outputs in SIZES:
        consumer = layer(n, b, outputs)
        print(f"{n:5} x {b} -> {outputs}".ljust(30), end="", flush=True)
        for name in names:
            start = time.perf_counter()
            get(name)([consumer], n)
            print(f"{time.perf_counter() - start:10.2f} s", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
