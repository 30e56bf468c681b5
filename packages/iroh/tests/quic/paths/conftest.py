"""Lets the tests here import paths_kit, two ends of a multipath connection without packets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
