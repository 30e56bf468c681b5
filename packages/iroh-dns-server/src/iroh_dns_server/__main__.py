"""`python -m iroh_dns_server` is the same as `iroh-dns-server`."""

import sys

from iroh_dns_server.cli import main

sys.exit(main())
