"""Scenarios in which a protocol must differ, with the reason: these scenarios are expected to fail there, and must.

Kept empty as long as it can be. What a protocol's *client* cannot even say is no difference of this kind, since the
scenarios stay within what both can say; the tests of each adapter cover it: metadata values that are not strings and an
`sdp_mline_index` beyond 32 bits cannot be sent on gRPC, whose schema has no room for them.
"""

DIFFERENCES: dict[tuple[str, str, str], str] = {}
"""By (scenario, sender's way in, receiver's way in): why it cannot hold there."""

UNSAYABLE_IN_DOTTED: dict[str, str] = {
    "extensions_are_kept": "its array of capabilities has no room for an extension that is not true",
    "numbers_that_no_float_holds_are_kept": "the same",
    "indices_of_32_bits_are_kept": "its index of a media section has 16 bits, and a larger one is a wrong field",
}
"""By scenario: what it says that the dotted dialect has no words for. It is played on all other ways; what it proves
beside that stands in another scenario, which is played on this one, too."""

UNSAYABLE_IN_JAVASCRIPT: dict[str, str] = {
    "extensions_named_like_numbers_keep_their_order": "its objects have such members before all others",
    "numbers_that_no_float_holds_are_kept": "its numbers are floats of 64 bits, and 1.0 is 1",
}
"""The same of clients in JavaScript, which can neither say nor hear it: there they are expected to fail, and must."""
