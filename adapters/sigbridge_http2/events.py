"""The events of a connection, which `Connection.receive` returns in the order in which they happened."""

from typing import Final, TypeAlias

Header: TypeAlias = tuple[bytes, bytes]
"""A field's name and its value."""


class RequestReceived:
    """The header section of a request, which begins a stream."""

    __slots__ = ("end_stream", "headers", "stream_id")

    def __init__(self, stream_id: int, headers: list[Header], end_stream: bool) -> None:
        self.stream_id = stream_id
        self.headers = headers
        self.end_stream = end_stream


class DataReceived:
    """Part of a request's body; empty only where it ends one."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream


class TrailersReceived:
    """The end of a request that has trailers."""

    __slots__ = ("headers", "stream_id")

    def __init__(self, stream_id: int, headers: list[Header]) -> None:
        self.stream_id = stream_id
        self.headers = headers


class StreamReset:
    """The end of a stream before its time: by the client's wish, or for a fault of the client's."""

    __slots__ = ("error_code", "stream_id")

    def __init__(self, stream_id: int, error_code: int) -> None:
        self.stream_id = stream_id
        self.error_code = error_code


class WindowUpdated:
    """A stream that is blocked can send, with the next output."""

    __slots__ = ("stream_id",)

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


class SettingsReceived:
    """The client's settings, which hold now."""


class PingReceived:
    """A PING of the client's; its response is sent already."""


class PingAcknowledged:
    """The client's response to a PING of ours."""


class GoAwayReceived:
    """The client's word that it is leaving."""

    __slots__ = ("error_code",)

    def __init__(self, error_code: int) -> None:
        self.error_code = error_code


Event: TypeAlias = (
    DataReceived
    | GoAwayReceived
    | PingAcknowledged
    | PingReceived
    | RequestReceived
    | SettingsReceived
    | StreamReset
    | TrailersReceived
    | WindowUpdated
)

SETTINGS_RECEIVED: Final = SettingsReceived()
PING_RECEIVED: Final = PingReceived()
PING_ACKNOWLEDGED: Final = PingAcknowledged()
