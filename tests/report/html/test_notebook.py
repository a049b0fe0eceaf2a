"""Results in a notebook: what is shown of real ones, as a part of another page in which nothing acts."""

from __future__ import annotations

import html
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
from page_parser import Page

import onnxprune
from onnxprune.report.html import notebook
from tests.builders import Net

DATA = "digits_calib.npz"
WITHOUT_API = """
import pickle, sys
found = pickle.loads(sys.stdin.buffer.read())
assert "onnxprune.api" not in sys.modules
assert found._repr_html_() is None and repr(found).startswith("Inspection(digits.onnx: 10 groups")
"""


def shown(result: object) -> Page:
    """The fragment, which nests and neither loads nor acts."""
    page = Page(result._repr_html_())
    page.check()
    assert not {"script", "style", "body", "section"} & set(page.tags)
    return page


def text_of(result: object) -> str:
    return html.unescape(shown(result).source)


def test_runs_show_the_head_and_the_table_of_their_page(folder: Path) -> None:
    result = onnxprune.shrink("digits.onnx", "small.onnx", ratio=0.2, report="r.html")
    text, source = shown(result).source, Path("r.html").read_text()
    lead = source.split("</h1>")[1].split("<nav>")[0]
    assert "onnxprune shrink: digits.onnx</h3>" + lead in text
    table = source.split('<div class="wide">')[1].split("</div>")[0]
    assert table in text and "MACs" in table
    dry = onnxprune.shrink("digits.onnx", ratio=0.2, dry_run=True)
    assert "dry run: no model was written" in text_of(dry) and "would be" in text_of(dry)
    assert "nothing was removed" in text_of(onnxprune.shrink("digits.onnx", "none.onnx", ratio=0.0001))
    sparse = onnxprune.sparsify("digits.onnx", "sparse.onnx", sparsity=0.5)
    assert "onnxprune sparsify: digits.onnx" in text_of(sparse) and "weights not zero" in text_of(sparse)
    proven = text_of(onnxprune.verify("digits.onnx", "sparse.onnx"))
    assert "sparse.onnx is digits.onnx with the zeros of plan" in proven
    different = text_of(onnxprune.diff("digits.onnx", "small.onnx"))
    assert "digits.onnx" in different and "more rows" in different, "long tables are cut"
    quick: dict[str, Any] = {"data": DATA, "samples": 40, "repair": "least-squares", "bench": False, "jobs": 1}
    with_points = onnxprune.sweep("digits.onnx", "points", ratios=[0.2], **quick)
    assert "1 of 1 points finished" in text_of(with_points) and "the original" in text_of(with_points)


def test_others_show_what_their_command_prints(folder: Path) -> None:
    found = onnxprune.inspect("digits.onnx")
    assert "10 groups: 9 prunable" in text_of(found) and "stem.conv" in text_of(found)
    assert "2 residual blocks" in text_of(onnxprune.inspect("digits.onnx", units="blocks"))
    assert "latency p50 (95 % CI)" in text_of(onnxprune.bench("digits.onnx", runs=8))
    assert "budget" in text_of(onnxprune.check("digits.onnx", max_size="10kB"))
    packed = onnxprune.pack("digits.onnx", "digits.pack")
    assert "indices of shared values" in text_of(packed)
    assert "the model with its shared weights" in text_of(onnxprune.unpack("digits.pack", "again.onnx"))
    assert onnxprune.__version__ in text_of(onnxprune.environment())


def test_names_out_of_models_are_inert(folder: Path) -> None:
    names = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a&b\r\n\x1b[31m")
    net = Net()
    h = net.input(3, 8, 8)
    for name in names:
        h = net.relu(net.conv(h, 8, name=name))
    net.output(net.conv(h, 4, name="end"))
    onnx.save(net.model(), "<i>m&.onnx")
    inspected = onnxprune.inspect("<i>m&.onnx")
    cut = onnxprune.shrink("<i>m&.onnx", '"<b>".onnx', ratio=0.5)
    results = (inspected, cut, onnxprune.verify("<i>m&.onnx", '"<b>".onnx'), onnxprune.diff("<i>m&.onnx", '"<b>".onnx'))
    for result in results:
        page = shown(result)
        assert "<i>m&" in html.unescape(page.source) and not {"i", "b", "img", "script"} & set(page.tags)
        assert "\x1b" not in page.source and "\n" not in repr(result)
    assert all(name in text_of(inspected) for name in names[:2]), "shown, as text"
    assert "\\x1b" in repr(inspected.groups[2])


def test_it_needs_no_matplotlib_and_nothing_needs_it(folder: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None\nimport onnxprune\n"
    code += "r = onnxprune.inspect('digits.onnx')\nassert 'onnxprune.report.html.notebook' not in sys.modules\n"
    result = subprocess.run([sys.executable, "-c", code + "assert r._repr_html_()"], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


def test_without_the_functions_a_result_is_its_line(folder: Path) -> None:
    """IPython takes None for that."""
    import pickle

    found = pickle.dumps(onnxprune.inspect("digits.onnx"))
    result = subprocess.run([sys.executable, "-c", WITHOUT_API], input=found, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "name", [name for name in onnxprune.__all__ if hasattr(getattr(onnxprune, name), "_repr_html_")]
)
def test_every_kind_of_result_has_its_html(name: str) -> None:
    """Those that functions hand out."""
    assert name in Path(notebook.__file__).read_text()
