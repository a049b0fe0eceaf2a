"""Sparse operators against dense onnxruntime, in fp32 and int8, side by side in one run: `make bench-sparse`.

Networks have random weights: what counts for speed is their shapes and the share of zeros. Every layer that an operator
stands for is pruned to the same sparsity by magnitude, except those with fewer than 16 inputs a filter. Sessions take
turns, so that whatever slows the machine slows all of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import sparse_models
import sparse_quantized
from numpy.typing import NDArray
from onnx import ModelProto

from onnxprune import native
from onnxprune.benching import rounds
from onnxprune.benching.preemption import Samples, paired
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.results.system import environment
from onnxprune.sparse import Mask, Pattern, dense_zeros, parse_pattern, rewrite
from onnxprune.sparse.quantized import quantized_weight

LEAST_INPUTS = 16
RIVAL = "rival"
FLOAT = ("4x1:0.7", "4x1:0.8", "4x1:0.9", "unstructured:0.8", "unstructured:0.9")
INTEGER = ("1x4:0.8", "4x4:0.8", "4x4:0.9")
NETWORKS: dict[str, Callable[[], ModelProto]] = {
    "resnet50": sparse_models.resnet50,
    "bert": sparse_models.bert,
    "mobilenet_v2": sparse_models.mobilenet_v2,
}
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Entry:
    """A session in the race. relative_error: against a dense session with the same weights, None for dense ones."""

    name: str
    session: onnxruntime.InferenceSession
    size_bytes: int
    relative_error: float | None = None


@dataclass(frozen=True)
class Rival:
    """Other operators, in a library of their own, and a folder of networks that use them: `resnet50-4x1-0.8.onnx`."""

    library: Path
    models: Path

    def entry(self, network: str, text: str, threads: int) -> Entry | None:
        path = self.models / f"{network}-{text.replace(':', '-')}.onnx"
        if not path.is_file():
            return None
        options = session_options(threads)
        options.register_custom_ops_library(str(self.library))
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return Entry(f"{RIVAL} {text}", session, path.stat().st_size)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=40, help="runs of each session")
    parser.add_argument("--report", type=Path, help="also write a Markdown page")
    parser.add_argument(
        "--save", type=Path, metavar="FOLDER", help="only write the dense networks, for a rival to read"
    )
    parser.add_argument("--rival", type=Path, metavar="LIBRARY", help="other operators, which run in turn with ours")
    parser.add_argument(
        "--rival-models", type=Path, metavar="FOLDER", help="networks for it: resnet50-4x1-0.8.onnx, ..."
    )
    options = parser.parse_args(arguments)
    if (options.rival is None) != (options.rival_models is None):
        parser.error("--rival and --rival-models go together")
    if options.save is not None:
        return save(options.networks, options.save)
    rival = Rival(options.rival.resolve(), options.rival_models) if options.rival else None
    if native.library_path() is None:
        print(f"the sparse operators are {native.problem()}", file=sys.stderr)
        return 1
    machine = environment()
    lines = [
        "# Sparse operators: how fast they are",
        "",
        "Written by `make bench-sparse`. Latency of whole networks with random weights, batch 1: sessions run in turn,",
        "what they waited for cores that other programs had is taken out, medians of paired rounds; and how many times",
        "faster that is than the dense network in fp32 and in int8 (quantised by ONNX Runtime: statically for CNNs,",
        "dynamically for BERT). BERT: three layers, 128 tokens. Error: largest difference from dense onnxruntime with",
        "the same zeros, relative to the largest output. That of BERT in int8 is what rounding does to it: dense, its",
        "output changes as much when the input is multiplied by 1.000001.",
        "",
        f"onnxruntime {onnxruntime.__version__}, {machine.cpu}, {machine.cores} cores, {native.instruction_set()};",
        f"load {os.getloadavg()[0]:.1f} when it began; with much load, several threads are an estimate.",
    ]
    for name in options.networks:
        for threads in options.threads:
            entries = race(name, threads, rival)
            lines += [
                "",
                f"## {name}, {threads} thread{'s' if threads > 1 else ''}",
                "",
                *table(entries, options.rounds, threads),
            ]
            print(
                "\n".join(lines[lines.index(f"## {name}, {threads} thread{'s' if threads > 1 else ''}") :]), flush=True
            )
    if options.report:
        options.report.write_text("\n".join(lines) + "\n", "utf-8")
    return 0


def save(networks: Sequence[str], folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    for name in networks:
        (folder / f"{name}.onnx").write_bytes(NETWORKS[name]().SerializeToString())
    return 0


def race(name: str, threads: int, rival: Rival | None = None) -> list[Entry]:
    """Sessions of all versions of a network."""
    dense = NETWORKS[name]()
    shape = [size.dim_value for size in dense.graph.input[0].type.tensor_type.shape.dim]
    sample = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    quantise = sparse_quantized.dynamic if name == "bert" else lambda m: sparse_quantized.static_qdq(m, sample)
    entries = [entry("dense fp32", dense, threads), entry("dense int8", quantise(dense), threads)]
    for text in FLOAT:
        masks, narrow = float_masks(load(dense), text)
        model = load(dense)
        done = rewrite(model, masks, depthwise=narrow)
        entries.append(checked(f"fp32 {text}", done.model, dense_zeros(model, masks), sample, threads))
        other = rival.entry(name, text, threads) if rival is not None else None
        if other is not None:
            entries.append(other)
    for text in INTEGER if name != "mobilenet_v2" else ():
        # Pruned before it is quantised, as one does: the ranges of the activations then fit.
        masks, _ = float_masks(load(dense), text)
        model = load(quantise(rescaled(load(dense), masks).complete_proto()))
        zeros = integer_masks(model, parse_pattern(text.partition(":")[0]))
        entries.append(checked(f"int8 {text}", rewrite(model, zeros).model, model, sample, threads))
    return entries


def float_masks(model: Model, text: str) -> tuple[dict[str, Mask], list[str]]:
    """Masks of the layers that are pruned, and the weights of depthwise layers, which become operators as they are."""
    pattern, _, sparsity = text.partition(":")
    masks, narrow = {}, []
    for node in build(model).nodes:
        weight = model.tensors.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or node.op_type not in ("Conv", "MatMul"):
            continue
        if node.op_type == "Conv" and weight.shape[1] == 1:
            narrow.append(weight.name)
        elif node.op_type == "MatMul" or weight.shape[1] >= LEAST_INPUTS:
            transposed = node.op_type == "MatMul"
            array = weight.array().T if transposed else weight.array()
            keep = magnitude(array, parse_pattern(pattern), float(sparsity))
            masks[weight.name] = Mask(keep.T if transposed else keep, parse_pattern(pattern))
    return masks, narrow


def magnitude(weight: NDArray[np.floating], pattern: Pattern, sparsity: float) -> NDArray[np.bool_]:
    """The blocks with the largest sums of absolute values; outputs first, inputs second."""
    count, depth = weight.shape[:2]
    rows, columns = pattern.rows, pattern.columns
    padded = np.pad(np.abs(weight).reshape(count, depth, -1), ((0, -count % rows), (0, -depth % columns), (0, 0)))
    sums = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns, -1).sum((1, 3))
    keep = sums >= np.partition(sums.ravel(), int(sums.size * sparsity))[int(sums.size * sparsity)]
    return np.repeat(np.repeat(keep, rows, 0), columns, 1)[:count, :depth].reshape(weight.shape)


def rescaled(model: Model, masks: dict[str, Mask]) -> Model:
    """Pruned, with the remaining weights enlarged so that activations keep their size, as training would see to."""
    pruned = dense_zeros(model, masks)
    tensors = dict(pruned.tensors)
    for name, mask in masks.items():
        tensors[name] = tensors[name].with_array(tensors[name].array() / np.sqrt(np.float32(mask.keep.mean())))
    return pruned.replace(pruned.proto, tensors)


def integer_masks(model: Model, pattern: Pattern) -> dict[str, Mask]:
    """What is zero in a quantised model, for all its layers with many zeros."""
    graph = build(model)
    names = {quantized_weight(graph, node) for node in graph.nodes}
    arrays = {name: model.tensors[name].array() for name in names if name in model.tensors}
    return {name: Mask(array != 0, pattern) for name, array in arrays.items() if np.mean(array == 0) > 0.5}


def session_options(threads: int) -> onnxruntime.SessionOptions:
    """Threads stop when a run ends: those of one session would take their core from the next."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def entry(name: str, model: ModelProto, threads: int, error: float | None = None) -> Entry:
    options = session_options(threads)
    native.register(options)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Entry(name, session, len(data), error)


def checked(name: str, sparse: Model, dense: Model, sample: Array, threads: int) -> Entry:
    made = entry(name, sparse.complete_proto(), threads)
    expected = entry(name, dense.complete_proto(), threads).session.run(None, {"x": sample})[0]
    difference = np.abs(made.session.run(None, {"x": sample})[0] - expected).max() / np.abs(expected).max()
    return Entry(name, made.session, made.size_bytes, float(difference))


def table(entries: list[Entry], count: int, threads: int) -> list[str]:
    """Sessions in turn, `count` rounds; waiting for cores that other programs have is taken out, as `bench` does."""
    shape = entries[0].session.get_inputs()[0].shape
    feed = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    subjects: list[rounds.Subject] = [lambda _, one=one: one.session.run(None, feed) for one in entries]  # type: ignore[misc]
    timing = rounds.measure(lambda: subjects, 1, seconds=0.0, rounds=count, seed=0)
    samples = Samples(timing.times, timing.waited, timing.cpu, timing.blocks, threads)
    place = {one.name: k for k, one in enumerate(entries)}

    def faster(name: str, than: str) -> str:
        return f"{1 / paired(samples, place[name], place[than]).ratio.value:.2f}x"

    def ms(name: str) -> str:
        return f"{np.median(samples.corrected[:, place[name]]) * 1e3:.2f}"

    rivals = any(one.name.startswith(RIVAL) for one in entries)
    lines = [
        f"| | ms | faster than fp32 | than int8 | {'rival, ms | than the rival | ' * rivals}MB | error |",
        f"| --- | ---: | ---: | ---: | {'---: | ---: | ' * rivals}---: | ---: |",
    ]
    for one in entries:
        if one.name.startswith(RIVAL):
            continue
        error = "" if one.relative_error is None else f"{one.relative_error:.1e}"
        other = f"{RIVAL} {one.name.partition(' ')[2]}"
        known = one.name.startswith("fp32") and other in place
        beside = f"{ms(other)} | {faster(one.name, other)} | " if known else " | | " * rivals
        lines.append(
            f"| {one.name} | {ms(one.name)} | {faster(one.name, 'dense fp32')} | {faster(one.name, 'dense int8')} | "
            f"{beside}{one.size_bytes / 1e6:.1f} | {error} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
