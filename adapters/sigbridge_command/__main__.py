"""`python -m sigbridge_command` is the `sigbridge` command."""

import sys

from sigbridge_command.start import main

sys.exit(main())
