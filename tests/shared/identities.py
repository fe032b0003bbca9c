"""Identities of `alice` that lack rights, or come to an end."""

from sigbridge.auth import ALL_RIGHTS, Identity


def without(*rights):
    return Identity("alice", rights=ALL_RIGHTS - set(rights))


def ending(stage, seconds, **more):
    return Identity("alice", expires_at=stage.now.unix + seconds, **more)
