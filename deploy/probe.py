"""Ask the server on this machine whether it is ready: exit code 0 where it is, 1 where it is not.

For health checks that can run a command and no more. It needs the standard library only, no token and no certificate:
it asks `/readyz` at the port of `HTTP_BIND_ADDRESS`.
"""

import os
import sys
import urllib.request

TIMEOUT_SECONDS = 2.0


def main() -> int:
    """Ask once."""
    port = os.environ.get("HTTP_BIND_ADDRESS", "127.0.0.1:9090").rpartition(":")[2]
    # A proxy that the environment names is none of ours.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=TIMEOUT_SECONDS) as page:
            print(page.read().decode().strip())
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
