"""The WebSocket adapter: translates between JSON-RPC 2.0 and the hub."""
