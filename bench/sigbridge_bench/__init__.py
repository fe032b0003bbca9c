"""Benchmark of a relayed message's cost for the server, side by side for each pairing of protocols."""
