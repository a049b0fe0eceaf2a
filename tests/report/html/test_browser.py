"""What a browser makes of a page: light, dark, on a phone. Needs chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxprune

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
DARK = "--blink-settings=preferredColorScheme=0"


def pictured(page: Path, name: str, width: int, *options: str) -> np.ndarray:
    """The page as pixels (height, width, 3), 0 to 255."""
    target = page.with_name(name)
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options),
        *(f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},1400", f"--screenshot={target}"),
        page.as_uri(),
    ]
    subprocess.run(command, capture_output=True, check=True)
    with Image.open(target) as image:
        return np.asarray(image.convert("RGB"))


def shares(picture: np.ndarray, *colours: tuple[int, int, int]) -> list[float]:
    return [float((np.abs(picture.astype(int) - colour).max(axis=2) <= 2).mean()) for colour in colours]


def test_light_dark_and_narrow(folder: Path) -> None:
    onnxprune.shrink("digits.onnx", "o.onnx", ratio=0.5, report="r.html")
    page = folder / "r.html"
    paper, ink, kept, removed = (255, 255, 255), (28, 31, 35), (31, 111, 180), (216, 162, 90)
    light = shares(pictured(page, "light.png", 1000), paper, ink, kept, removed)
    assert light[0] > 0.6 and light[1] > 0.001 and light[2] > 0.005 and light[3] > 0.002
    paper, ink, kept, removed = (21, 24, 28), (228, 231, 234), (88, 166, 232), (168, 117, 47)
    dark = pictured(page, "dark.png", 1000, DARK)
    found = shares(dark, paper, ink, kept, removed)
    assert found[0] > 0.6 and found[1] > 0.001 and found[2] > 0.005 and found[3] > 0.002
    assert shares(dark, (255, 255, 255))[0] < 0.001, "something stayed light"


def test_a_phone_shows_it_without_scrolling_sideways(folder: Path) -> None:
    """Chromium draws no window narrower than 500 pixels; a frame of 360 pixels is a phone."""
    onnxprune.shrink("digits.onnx", "o.onnx", ratio=0.5, report="r.html")
    frame = folder / "frame.html"
    frame.write_text(
        '<body style="margin:0;background:#f0f"><iframe src="r.html" width="360" height="1400" style="border:0">'
    )
    picture = pictured(frame, "phone.png", 500)[:, :360]
    right = picture[:, 344:360].reshape(-1, 3)
    assert (right == 255).all(), "the margin on the right is empty: nothing reaches over it"
    assert shares(picture, (31, 111, 180))[0] > 0.005
