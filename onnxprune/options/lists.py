"""What `--help` and completion list: criteria and methods. A test keeps them equal to the registries, whose import
would take longer than `--help` may.
"""

from __future__ import annotations

CRITERIA = {
    "bn-scale": "Scale |gamma| of the batch normalisation that follows; norm of the filter where it is fused.",
    "filter-sketch": "Share of a filter in the directions that a Frequent-Directions sketch of all filters preserves.",
    "geometric-median": "Sum of the distances to the other filters: low near the geometric median.",
    "l1": "Sum of the absolute weights of a filter.",
    "l2": "Euclidean norm of the weights of a filter.",
    "nisp": "Importance of the outputs, carried back through the absolute weights.",
    "random": "Uniform random numbers from the layer's seed: the baseline.",
    "similarity": "Cosine distance to the nearest other filter, greedily: of two alike, the weaker one goes.",
}
READER_CRITERIA = {
    "lasso": "The price at which a unit's scalar vanishes from the LASSO fit of the consumers' outputs.",
    "obd-output": "Mean square of what a unit alone contributes to the consumers' outputs, the others unchanged.",
    "obs": "What the consumers' outputs lose if a unit leaves and the weights of all others follow (OBS).",
    "thinet": "Greedily the set of units whose joint contribution to the consumers' outputs is least.",
    "wanda": "Absolute weights times the root mean square of their inputs, summed over all that read a unit.",
}
SAMPLE_CRITERIA = {
    "ablation": "Change of the network's outputs when a unit is masked: one run of the network per unit.",
    "apoz": "Share of the activations of a channel that are not zero: 1 - APoZ.",
    "entropy": "Entropy (nats) of the histogram of a channel's global average over the samples.",
    "hrank": "Mean rank of the feature maps of a channel.",
    "mean-activation": "Mean of the absolute activations of a channel.",
    "std-activation": "Standard deviation of the activations of a channel: a constant one can move into biases.",
}
METHODS = {
    "magnitude": "The smallest absolute weights leave.",
    "net-trim": "The least sum of absolute weights that gives the same behind the activation (convex, by ADMM).",
    "obs": "What the output loses if a weight leaves and all others follow (OBS): the cheapest leave.",
    "wanda": "Weights times the norm of their inputs, |W_ij| |x_j|: the smallest of every output leave.",
}
