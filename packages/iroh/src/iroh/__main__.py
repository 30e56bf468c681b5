"""`python -m iroh` is the program `iroh`."""

import sys

from iroh.cli import main

if __name__ == "__main__":
    sys.exit(main())
