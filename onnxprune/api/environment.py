"""The function of the API that says what onnxprune runs on: `environment`."""

from __future__ import annotations

from onnxprune.results.system import Environment
from onnxprune.results.system import environment as read


def environment() -> Environment:
    """Versions and hardware, for bug reports. Only ONNX Runtime is imported, to ask it for its providers.

    Returns:
        What a report should say, without names of users, machines or folders.
    """
    return read()
