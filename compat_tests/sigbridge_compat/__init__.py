"""The compatibility suite: scenarios that any server and any pairing of protocols must pass alike."""
