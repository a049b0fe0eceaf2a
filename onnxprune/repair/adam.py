"""Adam with steps relative to the size of each tensor and a cosine decay (Kingma & Ba, ICLR 2015)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
FIRST, WARM_UP, SMALLEST = 0.9, 10, 1e-3
SECOND = 0.99  # not the usual 0.999: of a few hundred steps the squares of the first must not count to the end


class Adam:
    """Changes tensors in place. One step moves an element by about `rate` times the tensor's root mean square."""

    def __init__(self, tensors: Sequence[Tensor], rate: float, steps: int) -> None:
        self._tensors = tensors
        self._size = [_size(t) for t in tensors]
        self._mean = [np.zeros_like(t) for t in tensors]
        self._square = [np.zeros_like(t) for t in tensors]
        self._rate, self._steps, self._done = rate, steps, 0

    @property
    def state(self) -> list[Tensor]:
        """Means and squares of the gradients."""
        return [*self._mean, *self._square]

    def resume(self, state: Sequence[Tensor], done: int) -> None:
        """Go on after `done` steps from the state that it had then."""
        for mine, there in zip(self.state, state, strict=True):
            mine[...] = there
        self._done = done

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step down the gradients, in the order of the tensors."""
        self._done += 1
        n = self._done
        decay = 0.5 * (1 + math.cos(math.pi * min(n / self._steps, 1.0)))
        rate = self._rate * decay * min(1.0, n / WARM_UP) / (1 - FIRST**n)
        for tensor, size, mean, square, gradient in zip(
            self._tensors, self._size, self._mean, self._square, gradients, strict=True
        ):
            mean += (1 - FIRST) * (gradient - mean)
            square += (1 - SECOND) * (gradient * gradient - square)
            tensor -= (rate * size) * mean / (np.sqrt(square / (1 - SECOND**n)) + 1e-12)


def _size(tensor: Tensor) -> float:
    """The root mean square."""
    return max(float(np.sqrt(np.sum(tensor * tensor, dtype=np.float64) / max(tensor.size, 1))), SMALLEST)
