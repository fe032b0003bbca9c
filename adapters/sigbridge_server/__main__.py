"""`python -m sigbridge_server` is the `sigbridge` command."""

import sys

from sigbridge_server.command import main

sys.exit(main())
