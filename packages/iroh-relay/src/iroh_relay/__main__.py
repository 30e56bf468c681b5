"""`python -m iroh_relay` is the program `iroh-relay`."""

import sys

from .cli import main

sys.exit(main())
