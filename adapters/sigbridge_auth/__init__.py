"""The sources of identities that a server is set up with. They read files, and no clock and no socket.

Rule 1: what a source says of a credential, it says at once; nothing waits here. Rule 2: a file is read in one step,
which may happen in any thread and changes nothing, and counts from another step on, which happens on the event loop.
Rule 3: no error, log line or text of an object holds anything of a token or a key. Source: `docs/security.md`.
"""
