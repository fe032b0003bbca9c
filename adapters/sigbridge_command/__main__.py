"""`python -m sigbridge_command` is the `sigbridge` command."""

import sys

from sigbridge_command.command import main

sys.exit(main())
