"""docs/sweep.md: its commands are run, and print what it shows, but for what the machine decides."""

from __future__ import annotations

import re
from pathlib import Path

from test_readme import MEASURED, assert_a_clone_stays_clean, docs, stable

from onnxprune.cli import shrink, sweep

ROOT = Path(__file__).resolve().parents[1]
PAGE = docs.SWEEP.read_text(encoding="utf-8")
TIMED = re.compile(
    r"(faster|same|slower): |  (latency|size|MACs)[^\n]*|.* of that cost$|.*note: .*\n|\(.*, ONNX Runtime [^)\n]*\)",
    re.M,
)


def words(text: str) -> str:
    """Without figures, and without what follows from times: verdicts, the frontier, remarks on what was seen."""
    return re.sub(r"[#()\s-]+", " ", MEASURED.sub("#", stable(TIMED.sub("", text))))


def test_the_page_shows_what_its_commands_print(tmp_path: Path) -> None:
    """If it should show something else now: make docs. Which points -q shows depends on times."""
    found = docs.examples(PAGE)
    assert len(found) == 3
    printed = list(docs.outputs(found, tmp_path))
    for example, text in zip(found[::2], printed[::2], strict=True):
        assert words(text) == words(example.output), example.command
    last = "4 models in models/digits.sweep\n"
    assert printed[1].endswith(last) and found[1].output.endswith(last)
    assert_a_clone_stays_clean(tmp_path)
    assert "4 of 6 points finished" in printed[0] and printed[2].endswith("exit code 2\n")


def test_the_page_names_what_there_is() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    known = {option for c in (sweep.command, shrink.command) for parameter in c.params for option in parameter.opts}
    known |= {option for parameter in sweep.command.params for option in parameter.secondary_opts}
    assert named - known == {"--nthreads"}, "that of Dask"
    for target in re.findall(r"\]\(([^)#]+)", PAGE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
