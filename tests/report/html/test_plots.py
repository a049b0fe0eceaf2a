"""Single plots: what Matplotlib draws is what the page shows."""

from __future__ import annotations

import re

from page_parser import Page

from onnxprune.report.html.plots import INKS, Plot


def drawn(name: str = "a", label: str = "A plot") -> str:
    with Plot(label) as plot:
        plot.axes.plot([1, 2, 3], [0.00012, 0.00034, 0.00056], color=INKS["kept"])
        plot.axes.set_yticks([0.00012, 0.00056], ["0.00012", "0.00056"])
        plot.axes.set_xlabel(plot.name(name))
    return plot.svg


def test_numbers_keep_their_digits_and_coordinates_lose_theirs() -> None:
    svg = drawn()
    assert ">0.00012<" in svg and ">0.00056<" in svg
    tags = "".join(re.findall(r"<[^>]*>", svg))
    assert re.search(r"\d\.\d\d\b", tags) and not re.search(r"\d\.\d{3}", tags)


def test_colours_are_those_of_the_page() -> None:
    svg = drawn()
    assert "var(--kept)" in svg and "var(--ink)" in svg
    assert not re.search(r": *#[0-9a-f]{6}\b", svg), "a colour that no theme changes"


def test_names_are_drawn_as_they_are() -> None:
    svg = drawn("$x_1$ <b>&amp; #010205 @0@", 'say "no" </svg>')
    assert "$x_1$ &lt;b&gt;&amp;amp; #010205 @0@" in svg
    assert 'aria-label="say &quot;no&quot; &lt;/svg&gt;"' in svg
    Page(svg).check()


def test_identifiers_of_several_plots_differ() -> None:
    Page(drawn(label="one") + drawn(label="two")).check()
    assert drawn() == drawn(), "and are the same every time"


def test_settings_of_the_user_neither_matter_nor_change() -> None:
    import matplotlib

    before = drawn()
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30.0}):
        assert drawn() == before
        assert matplotlib.rcParams["font.size"] == 30.0
