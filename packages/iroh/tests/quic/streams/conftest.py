"""Lets the tests here import streams_kit, two ends of streams over a wire made of lists."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
