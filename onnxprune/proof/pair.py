"""The result and its reference, run on the same inputs, and what that shows.

The reference has masks (or weights) as inputs, so that one session serves the right plan and wrong ones. Nodes that
draw numbers draw the same in both. Where a decision lies between a change and an output, both are run once more with
the decisions of the reference (decisions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.model.load import Model, load
from onnxprune.model.random import is_random, seeded
from onnxprune.model.save import write_scratch
from onnxprune.proof.decisions import DECIDED, PREFIX, Arrays, at_random, deciding, given, inputs_for, keys_of
from onnxprune.proof.discontinuous import Jumps
from onnxprune.proof.inputs import SAMPLES, Case
from onnxprune.proof.judge import Judge, Proof, Wrong, check_loads
from onnxprune.proof.onnx_checks import file_of
from onnxprune.proof.scratch import Feed, read, save, scratch
from onnxprune.proof.tasks import imprecise, run_tasks
from onnxprune.proof.tolerance import tolerance
from onnxprune.proof.unrounded import unrounded
from onnxprune.proof.wrong import Bundle
from onnxprune.trace.groups import Trace
from onnxprune.trace.reference import add_outputs

Bools = NDArray[np.bool_]
Masks = tuple[str, ...]
"""Files of what is fed besides the inputs; what is in a later one counts."""
LARGE_BYTES = 256 << 20
ALONE = "by its own decisions the result does not run"


@dataclass(frozen=True)
class Asked:
    """What to compare: outputs and the values `extra`; with wrong plans, by `bundles`, on the first input or
    `everywhere`, `strong` ones or the least ones. `at_random`: with decisions at random as well.

    Not `rounded`: without the rounding of quantisers. `telling`: on more inputs than usual.
    """

    extra: tuple[str, ...] = ()
    bundles: tuple[Bundle, ...] = ()
    everywhere: bool = False
    strong: bool = False
    at_random: bool = False
    rounded: bool = True
    telling: bool = False


@dataclass(frozen=True)
class Pair:
    """`candidate` is to compute what `reference` (called `words`) does when it is fed `right` besides its inputs.

    `wrong` (bundle, strong) gives what of it is another for a wrong plan; `parts` are all that can be wrong. The
    candidate is run once per entry of `libraries`: with the library of sparse operators, or without. `roundable`: where
    quantisers round, both may be compared without.
    """

    trace: Trace
    keep: Bools
    parts: tuple[str, ...]
    reference: Model
    right: Feed
    wrong: Callable[[Bundle, bool], Feed]
    candidate: Path
    jumps: Jumps
    words: str = "the original without the removed channels"
    libraries: tuple[bool, ...] = (True,)
    roundable: bool = True
    threads: int = 0

    @cached_property
    def decided(self) -> Mapping[str, Mapping[int, str]]:
        """See `decisions.deciding`."""
        return deciding(self.jumps, self.trace.facts)

    @cached_property
    def random(self) -> bool:
        """Whether numbers are drawn."""
        return is_random(self.reference.proto)

    def compared(self, feeds: Sequence[Case], asked: Asked, *, optimise: bool) -> Proof:
        """Raises AlwaysRounds if it is to be not `rounded` and cannot be, ModelError and VerificationError."""
        with scratch() as here:
            return _Comparison(self, asked, optimise, here).run(feeds)


@dataclass(frozen=True)
class _Comparison:
    pair: Pair
    asked: Asked
    optimise: bool
    here: Path

    def run(self, feeds: Sequence[Case]) -> Proof:
        pair, decided = self.pair, self.pair.decided
        wanted = self._wanted(range(len(feeds)))
        plain = [self._feed(k, case.feed) for k, case in enumerate(feeds)]
        right = [(feed, self._right) for feed in plain]
        wrong = [] if decided else [(plain[case], self._wrong(bundle)) for bundle, case in wanted]
        reference = self._reference([*self.asked.extra, *keys_of(decided)])
        original, *results = self._tasks(reference, [*right, *wrong], self._candidate(), right, checked=True)
        for result in results:
            check_loads(pair.trace.graph.model, original, result)
        notes = imprecise([original, *results])
        if decided and any("error" not in outcome for outcome in original.get("cases", ())):
            # what is fed in place of a value that enters a decision hides it: it is compared itself
            more = [key for key in keys_of(decided) if key not in self.asked.extra]
            closer = replace(self, asked=replace(self.asked, extra=(*self.asked.extra, *more)))
            proofs = closer._decided(feeds, original, results)
            if proofs:
                return _together(proofs, notes)
        count = len(feeds)
        outcomes = [Wrong(*w, outcome) for w, outcome in zip(wanted, original["cases"][count:], strict=not decided)]
        behind = pair.jumps.outputs(pair.trace, decided=False) if self.asked.extra else set()
        return _together([self._judge(behind).judged(feeds, original, result, outcomes) for result in results], notes)

    def _decided(
        self, feeds: Sequence[Case], original: Mapping[str, Any], results: Sequence[Mapping[str, Any]]
    ) -> list[Proof]:
        """With the decisions of the reference, and others; nothing if the runtime refuses such models."""
        pair, facts = self.pair, self.pair.trace.facts
        chosen = {
            k: inputs_for(pair.decided, self._values(outcome))
            for k, outcome in enumerate(original["cases"])
            if "error" not in outcome
        }
        cases, fed = list(feeds), dict(chosen)
        first, last = min(chosen), max(chosen)
        for k in (k for k in chosen if self.asked.at_random and (k in (first, last) or feeds[k].name == SAMPLES)):
            for number, values in enumerate(at_random(chosen[k], k)):
                fed[len(cases)] = values
                cases.append(Case(f"{feeds[k].name}, {DECIDED} ({number + 1})", feeds[k].feed, True))
        whole = {k: self._feed(f"{k}.whole", {**cases[k].feed, **fed[k]}) for k in fed}
        kept = {k: self._feed(f"{k}.kept", {**cases[k].feed, **self._kept(fed[k])}) for k in fed}
        added = range(len(feeds), len(cases))
        wanted = [(bundle, k) for bundle, k in self._wanted(range(len(cases)), first) if k in fed]
        runs = [(whole[k], self._right) for k in added] + [(whole[k], self._wrong(bundle)) for bundle, k in wanted]
        candidate = self._candidate(pair.decided)
        there = [(kept[k], self._right) for k in fed]
        lean = given(self._reference(self.asked.extra), pair.decided, facts)
        again, *found = self._tasks(lean, runs, candidate, there, checked=False)
        if "load" in again or any("load" in one for one in found):
            return []
        whole_original = {**original, "cases": [*original["cases"], *again["cases"][: len(added)]]}
        outcomes = [Wrong(*w, outcome) for w, outcome in zip(wanted, again["cases"][len(added) :], strict=True)]
        judge = self._judge(pair.jumps.outputs(pair.trace, decided=True))
        proofs = []
        for natural, one in zip(results, found, strict=True):
            by_case = dict(zip(fed, one["cases"], strict=True))
            here = {**natural, "cases": [by_case.get(k, {"error": "not run"}) for k in range(len(cases))]}
            proof = judge.judged(cases, whole_original, here, outcomes)
            notes = [
                f"{ALONE} on {feeds[k].words}: {natural['cases'][k]['error'].splitlines()[0]}"
                for k in chosen
                if "error" in natural["cases"][k]
            ]
            proofs.append(replace(proof, notes=(*proof.notes, *notes)))
        return proofs

    # ---- models ------------------------------------------------------------------------------------------------
    def _reference(self, outputs: Sequence[str]) -> Model:
        model = _with_outputs(self.pair.reference, self.pair.trace, outputs)
        model = model.replace(seeded(model.proto), model.tensors)
        return model if self.asked.rounded else unrounded(model, self.pair.trace.facts)

    def _candidate(self, decided: Mapping[str, Mapping[int, str]] | None = None) -> Path:
        """The candidate itself, if nothing has to be changed about it."""
        pair, asked = self.pair, self.asked
        if not asked.extra and asked.rounded and not pair.random and not decided:
            return pair.candidate
        model = load(pair.candidate).inlined()  # values inside of functions have names then
        model = _with_outputs(model, pair.trace, asked.extra)
        model = model.replace(seeded(model.proto), model.tensors)
        if not asked.rounded:
            model = unrounded(model, pair.trace.facts)
        if decided:
            model = given(model, decided, pair.trace.facts)
        target = self.here / ("decided.onnx" if decided else "candidate.onnx")
        write_scratch(model, target)
        return target

    def _tasks(
        self,
        reference: Model,
        a: Sequence[tuple[str, Masks]],
        candidate: Path,
        b: Sequence[tuple[str, Masks]],
        *,
        checked: bool,
    ) -> list[dict[str, Any]]:
        """Outcomes of the reference on the feeds (with masks) `a`, and of the candidate on `b`, once a library."""
        pair = self.pair
        path = self.here / ("reference.onnx" if checked else "given.onnx")
        # weights in a file of their own are mapped by the runtime, not copied into its protobuf first
        write_scratch(reference, path)
        common = {"optimise": self.optimise, "fresh": pair.random}
        tasks: list[dict[str, Any]] = [
            {
                **common,
                "model": str(path),
                "feeds": [feed for feed, _ in a],
                "masks": [mask for _, mask in a],
                "check": str(file_of(pair.trace.graph.model, self.here / "original.onnx")) if checked else "",
                "frugal": pair.trace.graph.model.size_bytes > LARGE_BYTES,
            }
        ]
        for library in pair.libraries:
            check = str(pair.candidate) if checked else ""
            feeds = [feed for feed, _ in b]
            tasks.append({**common, "model": str(candidate), "feeds": feeds, "check": check, "library": library})
        for number, task in enumerate(tasks):
            task["name"], task["out"] = f"run{number}", str(self.here / f"run{number}.{checked:d}")
        pair.trace.graph.model.release_pages()
        return run_tasks(self.here, tasks, pair.threads)

    # ---- feeds -------------------------------------------------------------------------------------------------
    def _wanted(self, cases: Sequence[int], first: int = 0) -> list[tuple[Bundle, int]]:
        """Wrong plans, and the case that each is run on."""
        on = cases if self.asked.everywhere else [first]
        return [(bundle, k) for bundle in self.asked.bundles for k in on]

    def _feed(self, name: object, arrays: Feed) -> str:
        return save(self.here / f"feed{name}", arrays)

    @cached_property
    def _right(self) -> Masks:
        return (save(self.here / "right", self.pair.right),)

    def _wrong(self, bundle: Bundle) -> Masks:
        """What of it is wrong comes on top of what is right."""
        path = self.here / f"wrong{self.asked.bundles.index(bundle)}"
        return (*self._right, str(path) if path.exists() else save(path, self.pair.wrong(bundle, self.asked.strong)))

    def _values(self, outcome: Mapping[str, Any]) -> Arrays:
        keys = set(keys_of(self.pair.decided))
        found = zip(outcome["names"], outcome["places"], strict=True)
        return {name: read(place) for name, place in found if name in keys}

    def _kept(self, fed: Arrays) -> Arrays:
        """As the candidate has them."""
        part = self.pair.trace.kept_part
        return {name: part(name.removeprefix(PREFIX), self.pair.keep, value) for name, value in fed.items()}

    def _judge(self, behind: set[str]) -> Judge:
        pair = self.pair
        allowed = tolerance(pair.trace, rounded=self.asked.rounded)
        return Judge(pair.trace, pair.keep, pair.parts, pair.words, allowed, behind)


def _together(proofs: Sequence[Proof], notes: Sequence[str]) -> Proof:
    """Of one reference and several runs of a candidate: each must show everything."""
    untold = {name: None for proof in proofs for name in proof.untold}
    return replace(
        proofs[0],
        comparisons=tuple(item for proof in proofs for item in proof.comparisons),
        untold=tuple(untold),
        notes=tuple(dict.fromkeys((*(note for proof in proofs for note in proof.notes), *notes))),
        refused=tuple(dict.fromkeys(name for proof in proofs for name in proof.refused)),
    )


def _with_outputs(model: Model, trace: Trace, names: Sequence[str]) -> Model:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    add_outputs(proto, trace, names)
    return model.replace(proto, model.tensors)
