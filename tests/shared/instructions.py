"""Bytes as instructions, for fuzzers: what a fuzzer changes in them is what is done, and with what."""

from collections.abc import Iterator

MOST = 400
"""The most instructions of one run."""


def instructions(data: bytes, *, longest: int = 64) -> Iterator[tuple[int, int, int, bytes]]:
    """Yields instructions: a kind, a choice, a length, and a payload of at most `longest` - 1 bytes.

    Each begins with three bytes. The payload follows them, and is as long as the third says, modulo `longest`.
    """
    at = 0
    for _ in range(MOST):
        if at + 3 > len(data):
            break
        kind, choice, length = data[at : at + 3]
        at += 3
        payload = data[at : at + length % longest]
        at += len(payload)
        yield kind, choice, length, payload
