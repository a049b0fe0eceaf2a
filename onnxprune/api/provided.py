"""`--provider`: which execution provider runs the samples, checked before anything is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from onnxprune.capture.session import first_line, require_provider
from onnxprune.errors import DataError, OnnxPruneError
from onnxprune.options.running import Calibration
from onnxprune.results.providers import CPU, Provider, Threads, installed, provider, short_provider

O = TypeVar("O", bound=Calibration)  # noqa: E741


def provided(options: O, *, here: bool = True) -> O:
    """The options with the short name of the provider. Raises UsageError for one that is not installed or cannot be
    used; not `here`: that is for others to find out.
    """
    name = short_provider(options.provider)
    if here and name != short_provider(CPU):
        full = provider(options.provider, installed())
        require_provider(Provider(full))
        name = short_provider(full)
    return options if name == options.provider else replace(options, provider=name)


def threads_of(options: Calibration, number: int) -> Threads:
    """`number` threads on the provider of the options, which is there."""
    if options.provider == short_provider(CPU):
        return number
    return Provider(provider(options.provider, installed()), number)


@contextlib.contextmanager
def blaming_provider(options: Calibration) -> Iterator[None]:
    """What goes wrong in another provider than the CPU while it runs, such as too little memory, is no bug of ours."""
    try:
        yield
    except OnnxPruneError:
        raise
    except Exception as error:
        if options.provider == short_provider(CPU) or not type(error).__module__.startswith("onnxruntime."):
            raise
        raise DataError(
            f"--provider {options.provider!r} failed while it ran the samples: {first_line(error)}.",
            hint="If its memory was too little, give samples of smaller size; or leave out --provider.",
        ) from error
