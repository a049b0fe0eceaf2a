"""Fine-grained masks for the weights of a network, and the refit of what stays.

Importing this package registers every mask method; a new one is a file, and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping

from onnxprune.sparsifying.masks import magnitude as _magnitude
from onnxprune.sparsifying.masks import net_trim as _net_trim
from onnxprune.sparsifying.masks import obs as _obs
from onnxprune.sparsifying.masks import wanda as _wanda
from onnxprune.sparsifying.masks.layers import Candidate, candidates
from onnxprune.sparsifying.masks.registry import get, mask_method, methods
from onnxprune.sparsifying.masks.run import masked
from onnxprune.sparsifying.masks.types import REPAIRS, SCOPES, Masked, MaskedLayer, MaskRequest

_METHODS = (_magnitude, _net_trim, _obs, _wanda)
METHODS: Mapping[str, str] = {method.name: method.doc for method in methods()}
"""Name -> one line of help; those that need no data come first."""
NEED_DATA: frozenset[str] = frozenset(method.name for method in methods() if method.needs_data)

__all__ = [
    "METHODS",
    "NEED_DATA",
    "REPAIRS",
    "SCOPES",
    "Candidate",
    "MaskRequest",
    "Masked",
    "MaskedLayer",
    "candidates",
    "get",
    "mask_method",
    "masked",
    "methods",
]
