"""The rules of the requests, one file for each kind.

A rule takes a session, a request and the time, and returns a reply, or a `Pending` of one where another node must be
asked. It raises SignalingError before it changes anything. Checks come in the order of `docs/protocol.md`, section
"Errors": fields, announced or not, signalling oneself, rights, target, capacity. A right is asked of the identity that
the session has at that moment.
"""
