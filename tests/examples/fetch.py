"""Prints a page, for tests of commands that use curl, which need not be installed."""

import sys
from urllib.request import urlopen

with urlopen(sys.argv[1], timeout=20) as page:
    sys.stdout.write(page.read().decode())
