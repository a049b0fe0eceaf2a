"""Calibration data: where it comes from, how it is prepared, and whether it fits the model."""

from onnxprune.data.calibration import Calibration, More
from onnxprune.data.code import anchored
from onnxprune.data.sources import open_data
from onnxprune.data.specs import InputSpec, input_specs

__all__ = ["Calibration", "InputSpec", "More", "anchored", "input_specs", "open_data"]
