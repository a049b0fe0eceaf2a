"""The page of quantize.py, from what was measured: tables, sampling errors, and what they amount to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation import UNITS, Row, machine, markdown
from quantize_stock import BUDGET, LABELS

ORIGINAL, OURS = "original", "onnxprune"
NOT_SLOWER = 0.97
"""Of the speed of what is compared: less is slower. Timing on a busy machine does not tell closer ones apart."""
HEAD = ["", "score", "faster (quartiles)", "size", "samples"]
TEXT = """# Integers, beside ONNX Runtime's quantiser

Made by `make bench-quantize`; do not edit. `onnxprune quantize MODEL --data SAMPLES --threads 1` with its
defaults, beside six static configurations of `onnxruntime.quantization` and its dynamic one, on the same samples.
Scores are those of labelled data that neither has seen. All files of a model run in turn in ONNX Runtime, one thread,
batch 1, on a real sample; the time is that of the thread, which stands still while other programs have the processor.
Quartiles are those of the ratios of runs next to each other. Ours chooses layers by times that it measures itself, by
the clock, on a machine that was busy: another run may choose others.

**Which six.** A user of `quantize_static` chooses the calibrator and the operators. *MinMax* takes all that was seen,
*Percentile* cuts the outermost values (0.001 % by default; also 0.01 %); each for all operators that the quantiser
knows, and for convolutions and matrix products only. *Entropy* is left out, since it gives the same files as MinMax,
byte for byte: with its defaults, which `quantize_static` cannot change, it has one range to choose from. The rest is
what is known to be best on x86: Q/DQ, unsigned bytes for activations, signed bytes and a scale per channel for weights,
opset 13 or later, after `quant_pre_process`. *dynamic* is `quantize_dynamic` with its defaults, on the same file.
Calibrators with histograms keep all activations: they get as many samples as fit into {budget} GB, as the tables say.

**How to read it.** "±" is the sampling error of a score, one standard deviation, where there is a formula for it:
`sqrt(p (1 - p) / n)` of a share, `(1 - r^2) / sqrt(n - 1)` of a correlation; of mAP and PSNR none is given. The
difference of two files on the same data is known better than that; but the best of seven scores is also the luckiest of
seven. "Best" is the most accurate of theirs, of equals the fastest.

{machine}

{summary}
{models}"""


@dataclass(frozen=True)
class Measured:
    """One model: rows of original, ours and theirs by name (`error`, or `scores`, `bytes`, `samples`), and times."""

    name: str
    rows: Mapping[str, Row]
    times: Row


def sampling_error(scored: Row) -> float | None:
    """One standard deviation of a score, in its unit; None where there is no formula."""
    share, count = scored["value"] / 100, scored["n"]
    if scored["metric"] == "top1_percent":
        return 100 * math.sqrt(max(share * (1 - share), 0) / count)
    if scored["metric"] == "spearman_x100":
        return 100 * (1 - share**2) / math.sqrt(max(count - 1, 1))
    return None


def best(measured: Measured, index: int) -> str:
    """Which of theirs is the most accurate by the score with this index; of equals the fastest."""
    return max(
        _scored(measured),
        key=lambda way: (measured.rows[way]["scores"][index]["value"], measured.times["faster"][way][0]),
    )


def verdicts(measured: Measured) -> list[list[str]]:
    """A line for every score: model, ours, best of theirs, as accurate, speed beside that one, not slower."""
    lines = []
    for index, ours in enumerate(measured.rows[OURS]["scores"]):
        way = best(measured, index)
        theirs = measured.rows[way]["scores"][index]
        speed = measured.times["beside"][way]
        lines.append(
            [
                _described(measured.name, ours),
                text_of(measured.rows[ORIGINAL]["scores"][index]),
                text_of(ours),
                f"{text_of(theirs)} ({LABELS[way]})",
                as_accurate(ours, theirs),
                f"{speed:.2f}x",
                "yes" if speed >= NOT_SLOWER else "no",
            ]
        )
    return lines


def as_accurate(ours: Row, theirs: Row) -> str:
    """Whether ours is at least as accurate; where it is not, by how much, and whether that may be chance."""
    lost, error = theirs["value"] - ours["value"], sampling_error(ours)
    if lost <= 0:
        return "yes"
    return f"{lost:.2f} less" + (", within the sampling error" if error is not None and lost <= error else "")


def better(measured: Measured) -> list[str]:
    """Of theirs, those that are no less accurate than ours by any score, and faster than the clock's error."""
    ours = measured.rows[OURS]["scores"]
    return [
        way
        for way in _scored(measured)
        if all(a["value"] >= b["value"] for a, b in zip(measured.rows[way]["scores"], ours, strict=True))
        and measured.times["beside"][way] < NOT_SLOWER
    ]


def _scored(measured: Measured) -> list[str]:
    return [way for way in LABELS if "scores" in measured.rows.get(way, {})]


def text_of(scored: Row) -> str:
    error = sampling_error(scored)
    return f"{scored['value']:.2f}" + (f" ± {error:.2f}" if error is not None else "")


def _described(name: str, scored: Row) -> str:
    return f"{name}, {UNITS.get(scored['metric'], scored['metric'])} ({scored['n']:,})"


def lines_of(measured: Measured) -> list[list[str]]:
    """The table of one model, below HEAD."""
    whole = measured.rows[ORIGINAL]["bytes"]
    lines = []
    for key, label in ((ORIGINAL, ORIGINAL), (OURS, f"`{OURS} quantize`"), *LABELS.items()):
        row = measured.rows.get(key)
        if row is None or "error" in row:
            lines.append([label, f"failed: {row['error']}" if row else "not run", "", "", ""])
            continue
        speed, low, high = measured.times["faster"][key]
        faster = (
            f"{1000 * measured.times['seconds']:.2f} ms" if key == ORIGINAL else f"{speed:.2f}x ({low:.2f}-{high:.2f})"
        )
        score = "; ".join(text_of(scored) for scored in row["scores"])
        lines.append([label, score, faster, f"{row['bytes'] / whole:.3f}", str(row["samples"] or "")])
    return lines


def section(measured: Measured) -> str:
    """A model's heading, its table and what stands out in it."""
    ours = measured.rows[OURS]
    scores = " and ".join(
        f"{UNITS.get(one['metric'], one['metric'])} of {one['n']:,} samples" for one in ours["scores"]
    )
    notes = [
        f"{scores[0].upper()}{scores[1:]}. Of ours {ours['integers']} of {ours['layers']} layers are integers"
        f" ({ours['scheme']}); the command took {ours['seconds']:.0f} s."
    ]
    found = better(measured)
    if found:
        said = ", ".join(f"{LABELS[way]} ({1 / measured.times['beside'][way]:.2f}x as fast as ours)" for way in found)
        notes.append(f"**Better than ours, as accurate and faster: {said}.**")
    return f"## {measured.name}\n\n" + " ".join(notes) + f"\n\n{markdown(HEAD, lines_of(measured))}\n"


def page(models: Sequence[Measured]) -> str:
    head = ["score (samples)", "original", "ours", "best of theirs", "as accurate", "ours by that one", "not slower"]
    summary = markdown(head, [line for one in models for line in verdicts(one)])
    return TEXT.format(
        budget=BUDGET // 10**9,
        machine=machine(),
        summary=summary + "\n",
        models="\n".join(section(one) for one in models),
    )
