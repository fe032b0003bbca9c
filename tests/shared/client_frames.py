"""Frames of a WebSocket client, masked with nought, and the close frames of a server."""


def frame(payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload


def announce(peer_id: str) -> bytes:
    return frame(b'{"jsonrpc":"2.0","method":"announce","params":{"peer_id":"%b"},"id":0}' % peer_id.encode())


def close_frame(code: int, word: str) -> bytes:
    payload = code.to_bytes(2, "big") + word.encode()
    return bytes([0x88, len(payload)]) + payload
