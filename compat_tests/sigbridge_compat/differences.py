"""Where a protocol must differ, with the reason: these scenarios are expected to fail there, and must.

Kept empty as long as it can be. What a protocol's *client* cannot even say is no difference of this kind, since the
scenarios stay within what both can say; the tests of each adapter cover it: metadata values that are not strings and an
`sdp_mline_index` beyond 32 bits cannot be sent on gRPC, whose schema has no room for them.
"""

DIFFERENCES: dict[tuple[str, str, str], str] = {}
"""By (scenario, sender's way in, receiver's way in): why it cannot hold there."""
