"""Places and types that the tests of the command line share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import Result

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "models" / "digits.onnx"

Call = Callable[..., Result]
Document = Callable[..., Any]
Spawn = Callable[..., "subprocess.CompletedProcess[str]"]
