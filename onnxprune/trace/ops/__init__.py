"""What operators mean for indices: one small rule a family. Importing the package registers them all."""

from onnxprune.trace.ops import (  # noqa: F401
    attention,
    contraction,
    control,
    elementwise,
    indexed,
    integers,
    movement,
    normalization,
    packed,
    recurrent,
    reduction,
    repetition,
    reshape,
)
