"""Lets the tests here import quic_sim, the two engines over a virtual network."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
