"""Prints what every attack costs: bytes until its connection ends, and CPU time for each 16 KiB of it.

`python tests/http2/measure_attacks.py [MIB]` in an environment that has sigbridge, compiled or not.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from http2_attacks import ATTACKS, CHUNK_BYTES, Attack, victim
from sigbridge_http2 import connection


def measure(attack: Attack, most: int) -> str:
    client, sent, spent, worst = victim(), 0, 0.0, 0.0
    for chunk in attack.chunks():
        began = time.process_time()
        client.receive(chunk)
        if attack.reads:
            while client.server.output(65536):
                pass
        took = time.process_time() - began
        spent, worst, sent = spent + took, max(worst, took), sent + len(chunk)
        if client.server.over or sent >= most:
            break
    how = f"ended after {sent:9,} bytes" if client.server.over else "goes on               "
    return (
        f"{attack.name:68s} {how} {spent / sent * CHUNK_BYTES * 1e3:8.3f} ms for 16 KiB, at most {worst * 1e3:7.3f} ms"
    )


if __name__ == "__main__":
    compiled = not connection.__file__.endswith(".py")
    print(f"{'compiled' if compiled else 'not compiled'}; a chunk has 16 KiB")
    for each in ATTACKS:
        print(measure(each, int(sys.argv[1] if len(sys.argv) > 1 else 4) << 20), flush=True)
