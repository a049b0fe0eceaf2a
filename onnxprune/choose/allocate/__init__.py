"""How many, and which, units each group loses: arrays in, arrays out."""

from onnxprune.choose.allocate.global_ import global_
from onnxprune.choose.allocate.groups import Allocator, GroupScores, Mask, check_ratio, parse_min_keep
from onnxprune.choose.allocate.local import local
from onnxprune.choose.allocate.scopes import SCOPES, scope
from onnxprune.choose.allocate.widths import finer, keep_mask, widths

__all__ = [
    "SCOPES",
    "Allocator",
    "GroupScores",
    "Mask",
    "check_ratio",
    "finer",
    "global_",
    "keep_mask",
    "local",
    "parse_min_keep",
    "scope",
    "widths",
]
