"""One number per removable index: arrays in, arrays out.

Importing this package registers every criterion; a new one is a file, and a line here.
"""

from onnxprune.choose.score import bn_scale as _bn_scale
from onnxprune.choose.score import filter_sketch as _filter_sketch
from onnxprune.choose.score import geometric_median as _geometric_median
from onnxprune.choose.score import l1 as _l1
from onnxprune.choose.score import l2 as _l2
from onnxprune.choose.score import random_baseline as _random_baseline
from onnxprune.choose.score import similarity as _similarity
from onnxprune.choose.score.aggregate import Combine, Normalise, aggregate, normalise
from onnxprune.choose.score.registry import Criterion, FloatArray, Layer, Needs, criteria, criterion, get, layer_seed

_CRITERIA = (_bn_scale, _filter_sketch, _geometric_median, _l1, _l2, _random_baseline, _similarity)

__all__ = [
    "Combine",
    "Criterion",
    "FloatArray",
    "Layer",
    "Needs",
    "Normalise",
    "aggregate",
    "criteria",
    "criterion",
    "get",
    "layer_seed",
    "normalise",
]
