"""Proof that a cut model is the original minus the removed indices, or a refusal."""
