"""What users and package indexes read about a release: the change log agrees with the version."""

from __future__ import annotations

import re
from pathlib import Path

import onnxprune

ROOT = Path(__file__).resolve().parents[1]
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""Headings that Keep a Changelog knows."""


def _lines() -> list[str]:
    return (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()


def test_the_change_log_begins_with_what_is_unreleased_or_with_this_version() -> None:
    heads = [line.removeprefix("## ") for line in _lines() if line.startswith("## ")]
    released = [head for head in heads if head != "[Unreleased]"]
    assert heads[0] in ("[Unreleased]", released[0]) and heads.count("[Unreleased]") <= 1
    assert re.match(rf"\[{re.escape(onnxprune.__version__)}\]( - \d{{4}}-\d{{2}}-\d{{2}})?$", released[0]), released[0]


def test_the_change_log_has_headings_of_the_usual_kinds() -> None:
    assert {line.removeprefix("### ") for line in _lines() if line.startswith("### ")} <= KINDS
