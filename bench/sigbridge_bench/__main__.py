"""`python -m sigbridge_bench`: the same as `sigbridge bench`."""

import sys

from sigbridge_bench.command import main

if __name__ == "__main__":
    sys.exit(main())
