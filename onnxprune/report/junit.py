"""Verdicts as JUnit XML, which CI servers show: a suite per model, a case per budget.

JUnit knows no third verdict: what is undecided is a skipped case, unless it fails. A model that could not be checked
has one more case, with an error.
"""

from __future__ import annotations

from xml.etree import ElementTree

from onnxprune.checking.results import CheckedModel, CheckResult
from onnxprune.checking.verdicts import UNDECIDED
from onnxprune.checking.words import TITLES, sentence
from onnxprune.results.units import printable


def junit(result: CheckResult) -> str:
    """The document as text. Characters that XML cannot hold are escaped as in all reports."""
    root = ElementTree.Element("testsuites", name="onnxprune check", time=f"{result.seconds:.3f}")
    for model in result.models:
        root.append(_suite(result, model))
    for key in ("tests", "failures", "errors", "skipped"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in root)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(result: CheckResult, model: CheckedModel) -> ElementTree.Element:
    name = printable(model.name)
    suite = ElementTree.Element("testsuite", name=name)
    for check in model.checks:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name=TITLES[check.kind])
        text = printable(sentence(check))
        if result.failing(check):
            ElementTree.SubElement(case, "failure", message=text, type=check.verdict)
        elif check.verdict == UNDECIDED:
            ElementTree.SubElement(case, "skipped", message=text)
        else:
            ElementTree.SubElement(case, "system-out").text = text
    if model.error is not None:
        case = ElementTree.SubElement(suite, "testcase", classname=name, name="can be checked")
        ElementTree.SubElement(
            case, "error", message=printable(model.error.message), type=type(model.error).__name__
        ).text = printable(model.error.hint or "")
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    return suite
