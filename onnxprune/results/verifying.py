"""What `verify` gives back."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.errors import OnnxPruneError, VerificationError
from onnxprune.results.model import ModelSummary
from onnxprune.results.proof import ProofSummary
from onnxprune.results.quantization import GridSummary, SmallWeights
from onnxprune.results.shown import Shown
from onnxprune.results.sparse import SparseWeights


@dataclass(frozen=True, repr=False)
class VerifyResult(Shown):
    """Outcome of `verify`: at least one of the proofs is there.

    Attributes:
        original: The model before.
        pruned: The model that was checked.
        plan_digest: Eight hexadecimal digits that name the plan.
        proof: Of the cut; None if nothing was cut.
        refitted: The initializers in which the file differs from the bare cut.
        units: "channels", "heads" or "blocks".
        sparse: What the file has of sparse weights, with the proof of them; None if it has none.
        grids: What was shown of its integers; None if it has none.
        small: What was shown of weights in fewer bits; None if it has none.
    """

    original: ModelSummary
    pruned: ModelSummary
    plan_digest: str
    proof: ProofSummary | None
    refitted: tuple[str, ...]
    units: str = "channels"
    sparse: SparseWeights | None = None
    grids: GridSummary | None = None
    small: SmallWeights | None = None

    @property
    def sparse_proof(self) -> ProofSummary | None:
        """That of the sparse weights; None if the file has none."""
        return None if self.sparse is None else self.sparse.proof

    @property
    def proofs(self) -> tuple[ProofSummary, ...]:
        """One or two: of the cut, of the zeros, of weights in fewer bits."""
        small = None if self.small is None else self.small.proof
        return tuple(proof for proof in (self.proof, self.sparse_proof, small) if proof is not None)

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although nothing contradicts the result: the proof could not have failed."""
        unproven = [proof.unproven for proof in self.proofs if proof.unproven is not None]
        return VerificationError(unproven[0], hint="Give samples on which it matters: --data.") if unproven else None

    def _words(self) -> str:
        status = "proven" if all(proof.sensitive for proof in self.proofs) else "unproven"
        return f"{self.pruned.name} from {self.original.name}: {status}, plan {self.plan_digest}"
