"""python -m onnxprune.native: build the library into the installed package."""

from __future__ import annotations

import sys

from onnxprune.native.build import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
