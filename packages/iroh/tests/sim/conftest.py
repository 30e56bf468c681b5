"""The engines under test."""

import pytest

from .engines import PAIRS
from .pair import Kinds


@pytest.fixture(params=PAIRS)
def kinds(request: pytest.FixtureRequest) -> Kinds:
    """Give each pair of engines: client-server."""
    return Kinds.of(request.param)
