"""The server: one hub and its ways in, put together, and the `sigbridge` command."""
