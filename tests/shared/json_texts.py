"""Texts of JSON-RPC as different libraries write them, and as nobody would: strategies for differential tests."""

import json

import msgspec
from hypothesis import strategies as st

from clock import NOW

TEXTS = st.one_of(
    st.sampled_from(
        ["", "bob", "alice", "nobody", "v=0\r\n", "\0", "é😀\u2028", "x" * 300, "offer", "answer", "pranswer"]
    ),
    st.text(max_size=8),
)
VALUES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-2, 2**33), st.floats(allow_nan=False, allow_infinity=False),
    st.just([]), st.just({}), st.sampled_from([0, 1, -1, 2**32 - 1, 2**32, 10**30, 1.0]),
)  # fmt: skip


def likely(values, among=VALUES):
    """Mostly as usual, now and then anything."""
    # Not `one_of`, which would take each of the many kinds of anything for as likely as what is usual.
    return st.sampled_from([False] * 14 + [True]).flatmap(lambda odd: among if odd else values)


class Members(list):
    """Pairs of a name and a value that are written as one object, in this order, doubles and all."""


def written(value, ascii_only):
    """A value as JSON."""
    if isinstance(value, Members):
        pairs = (written(name, ascii_only) + b":" + written(one, ascii_only) for name, one in value)
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(written(one, ascii_only) for one in value) + b"]"
    return json.dumps(value).encode() if ascii_only else msgspec.json.encode(value)


def members(*likely_ones, **kinds):
    """The members of an object in any order: the likely ones mostly once, the others sometimes, each with its kind."""
    pairs = {name: st.tuples(st.just(name), kind) for name, kind in kinds.items()}
    usual = st.tuples(*(pairs[name] for name in likely_ones)).map(list)
    return st.tuples(usual, st.lists(st.one_of(*pairs.values()), max_size=2)).flatmap(
        lambda both: st.permutations(both[0] + both[1])
    )


OBJECTS = st.dictionaries(TEXTS, st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3)), max_size=3)
CAPABILITIES = members(
    audio=likely(st.booleans()),
    video=st.booleans(),
    data=likely(st.booleans()),
    screen_share=VALUES,
    extensions=OBJECTS,
).map(Members)
OFFER_IDS = likely(
    st.one_of(
        st.sampled_from([None, "", "x" * 1000, "x" * 1001]),
        # Those of the first offers of a hub whose time stands still.
        st.builds(
            lambda pair, more: f"{pair}_{int(NOW.unix * 1000) + more}",
            st.sampled_from(["alice_bob", "bob_alice"]),
            st.integers(0, 3),
        ),
    )
)


def calls(methods, params):
    """Whole calls of these methods, nearly all with these params."""
    return members(
        "jsonrpc",
        "method",
        "params",
        "id",
        jsonrpc=likely(st.just("2.0")),
        method=st.sampled_from(methods),
        params=likely(params.map(Members)),
        id=likely(st.one_of(st.integers(), st.text(max_size=3), st.none())),
        traceparent=likely(TEXTS),
        other=VALUES,
    ).map(Members)


@st.composite
def texts_of(draw, any_calls):
    """Texts of calls and batches of them; now and then with a byte changed."""
    call = draw(likely(any_calls, st.lists(any_calls, max_size=3)))
    text = written(call, draw(st.booleans()))
    if draw(st.sampled_from([False] * 5 + [True])):
        at = draw(st.integers(0, len(text) - 1))
        text = text[:at] + draw(st.binary(max_size=2)) + text[at + 1 :]
    return text
