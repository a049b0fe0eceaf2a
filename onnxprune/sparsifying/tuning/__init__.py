"""Which layers become sparse, and in which blocks: chosen by times measured on this machine."""

from __future__ import annotations

from onnxprune.sparsifying.tuning.choose import Choice, choose
from onnxprune.sparsifying.tuning.depthwise import depthwise_beside
from onnxprune.sparsifying.tuning.times import LayerTimes, layer_times
from onnxprune.sparsifying.tuning.whole import Selection, Tried, select

__all__ = ["Choice", "LayerTimes", "Selection", "Tried", "choose", "depthwise_beside", "layer_times", "select"]
