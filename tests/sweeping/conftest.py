"""What the tests of sweeps borrow from those of the command line and of the pages."""

from __future__ import annotations

import sys
from pathlib import Path

for room in ("cli", "html"):
    sys.path.append(str(Path(__file__).parents[1] / room))
