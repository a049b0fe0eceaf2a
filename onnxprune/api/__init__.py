"""What the commands do, as functions: one file a public function, with its options and what it raises."""

from __future__ import annotations

from onnxprune.results.shown import Shown, show_with


def _in_notebooks(result: Shown) -> str | None:
    from onnxprune.report.html.notebook import notebook  # when the first one is shown: it knows all reports

    return notebook(result)


show_with(_in_notebooks)
