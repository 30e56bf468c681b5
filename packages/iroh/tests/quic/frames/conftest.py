"""Lets the tests here import frames_kit."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
