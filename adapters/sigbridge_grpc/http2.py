"""HTTP/2 without I/O, as the gRPC wire needs it: the one file that knows the library behind it (ngh2, on libnghttp2).

What nearly every frame is, DATA and the windows that hold it back, is read and written here: of what the library does
for one, nine tenths are for what none of them needs. So are pings, of which a flood must cost little. Everything else
is the library's: headers, settings, resets, goodbyes and the state of streams.

Rule 1: nothing of the library's is raised. Where a client breaks the rules the connection is `broken`, after what
arrived before; a stream or the connection may be gone while events are still being read, since one chunk of bytes can
begin and end it: what is sent then is dropped. Rule 2: what a stream is given to send while its window is closed is
kept, so the wire looks at `unsent` before it gives more. Rule 3: received data is acknowledged by the wire, when it has
been taken; of a stream that is gone, all is. Rule 4: a reset overtakes and drops what waits on its stream. Rule 5: from
a stream's request on the library sees none of its WINDOW_UPDATEs, and of its DATA that it ends and what is empty; all
of it where the request says a length, which the library compares. Frames for other streams are the library's to judge.
It sends no DATA at all, nor learns how large windows are, since it would keep trailers back until they open. Rule 6:
frames leave in the order in which they were given; the library's are fetched before one of ours is put behind them.
Rule 7: nothing that arrives lets data leave: where a window opens, that is told, and data goes when output is asked
for. So a client that does not read cannot have what waits cut into a heap of small frames.
Source: RFC 9113, sections 4.1, 5.2, 6.1 and 6.9.
"""

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Final, TypeAlias

import ngh2
from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    ErrorCode,
    GoAwayReceived,
    NGH2Error,
    PingAcknowledged,
    RequestReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    StreamReset,
    TrailersReceived,
)

from sigbridge_grpc.framing import BYTE

__all__ = [
    "DataReceived",
    "ErrorCode",
    "Event",
    "GoAwayReceived",
    "Header",
    "Http2",
    "PingAcknowledged",
    "PingReceived",
    "RequestReceived",
    "SettingsReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

Header: TypeAlias = tuple[bytes, bytes]

RECEIVE_WINDOW_BYTES: Final = 65536
"""What a stream may send before it is acknowledged."""

MOST_PINGS_AT_ONCE: Final = 128
"""Where more pings come before the answers are out, the rest is not even looked at, and nothing more is said."""

_PREFACE_BYTES: Final = 24
_HEAD_BYTES: Final = 9
_FRAME_BYTES: Final = 16384
"""The largest payload of a frame, ours and theirs: what HTTP/2 begins with, and we never ask for more."""
_FIRST_WINDOW_BYTES: Final = 65535
_FIRST_WINDOW: Final = b"\0\4\0\0\xff\xff"
"""That, as a setting."""
_MOST_WINDOW_BYTES: Final = 0x7FFFFFFF
_CREDIT_LUMP_BYTES: Final = 1 << 20
"""After so many acknowledged bytes, the connection's own window is widened again."""
_MOST_FETCHED_BYTES: Final = 4 << 20
"""What the library may have to say to a client that takes nothing: answers to its pings, its calls that are refused."""
_FRAME_COSTS_BYTES: Final = 64

_DATA: Final = 0x0
_HEADERS: Final = 0x1
_RST_STREAM: Final = 0x3
_SETTINGS: Final = 0x4
_PING: Final = 0x6
_WINDOW_UPDATE: Final = 0x8
_CONTINUATION: Final = 0x9
_OURS: Final = (_DATA, _PING, _WINDOW_UPDATE)
_PING_HEAD: Final = b"\0\0\x08\x06\0\0\0\0\0"
_PONG_HEAD: Final = b"\0\0\x08\x06\x01\0\0\0\0"
_END_STREAM: Final = 0x1
_ACK: Final = 0x1
_END_HEADERS: Final = 0x4
_PADDED: Final = 0x8
_INITIAL_WINDOW_SIZE: Final = 0x4


class DataReceived:
    """Part of a body."""

    __slots__ = ("data", "end_stream", "stream_id")

    def __init__(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        self.stream_id = stream_id
        self.data = data
        self.end_stream = end_stream


class WindowUpdated:
    """A stream that waits may go on, with the next output."""

    __slots__ = ("stream_id",)

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


class PingReceived:
    """The client has asked whether we are there, and has its answer."""


_PING_RECEIVED: Final = PingReceived()


Event: TypeAlias = (
    DataReceived
    | WindowUpdated
    | GoAwayReceived
    | PingAcknowledged
    | PingReceived
    | RequestReceived
    | SettingsReceived
    | StreamClosed
    | StreamReset
    | TrailersReceived
)


class _Stream:
    """What is ours of one stream: its windows, and what waits for them."""

    __slots__ = ("acknowledged", "id", "kept", "measured", "number", "receiving", "trailers", "unsent", "window")

    def __init__(self, stream_id: int, *, receiving: bool, measured: bool) -> None:
        self.id = stream_id
        self.number = stream_id.to_bytes(4, "big")
        self.window = 0
        """How much more may be sent on it than the window with which streams begin; often less than nothing."""
        self.receiving = receiving
        """Whether its client has not ended its own side."""
        self.measured = measured
        """Whether its body is the library's, since its request says how long that is."""
        self.kept = 0
        """How much has arrived on it and is not acknowledged."""
        self.acknowledged = 0
        """How much has been, without its client being told."""
        self.unsent = b""
        self.trailers: list[Header] | None = None
        """What comes after that."""


def _head(size: int, kind: int, flags: int, stream_id: int) -> bytes:
    """A frame's head."""
    return b"%b%b%b%b" % (size.to_bytes(3, "big"), BYTE[kind], BYTE[flags], stream_id.to_bytes(4, "big"))


class Http2:
    """The server's side of one HTTP/2 connection."""

    def __init__(self, *, max_streams: int, max_header_bytes: int, most_header_bytes: int) -> None:
        """Begin a connection. Clients are told `max_header_bytes`; headers above `most_header_bytes` break it."""
        self.broken = False
        """Whether the client has broken the rules: what is left to send says why."""
        self._connection = Connection(Role.SERVER, _configuration(most_header_bytes))
        self._connection.initiate_connection(
            {
                Setting.MAX_CONCURRENT_STREAMS: max_streams,
                Setting.INITIAL_WINDOW_SIZE: RECEIVE_WINDOW_BYTES,
                Setting.MAX_HEADER_LIST_SIZE: max_header_bytes,
            }
        )
        # So large that streams which are held back leave the others their window; twice that, since the library tells
        # of what it has counted only when it is half of all.
        self._most_kept = 2 * (max_streams * RECEIVE_WINDOW_BYTES + _CREDIT_LUMP_BYTES)
        self._connection.set_local_window_size(self._most_kept)
        self._kept = 0
        """How much has arrived on all streams together, with the client not told that it may send as much again."""
        self._acknowledged = 0
        """How much of that has been acknowledged."""
        self._streams: dict[int, _Stream] = {}
        self._last_stream = 0
        """The latest that a client has begun."""
        self._first_window = _FIRST_WINDOW_BYTES
        """The window with which streams begin, as the client's settings say."""
        self._widest = 0
        """No stream's `window` is larger."""
        self._window = _FIRST_WINDOW_BYTES
        """How much may be sent on all streams together."""
        self._waiting: dict[_Stream, None] = {}
        """Streams that have something to send, and no window."""
        self._may_go_on = False
        """Whether some of them may be able to go on, which is seen when all that has come is looked at."""
        self._can_go_on = False
        """Whether some are."""
        self._next = b""
        """What is to be written next: nearly always a frame, and nothing after it."""
        self._more: list[bytes] = []
        self.unwritten = False
        """Whether the last output was not all that there was."""
        self._stale = True
        """Whether the library may have frames that have not been fetched yet."""
        self._fetched = 0
        """What has been, since there last was nothing to write."""
        self._preface_left = _PREFACE_BYTES
        self._rest = b""
        """The beginning of a frame, and how long it must be before it is looked at again."""
        self._rest_needs = 0
        self._pings = 0
        """How many have been answered since everything was out."""
        self._next_is_fixed = True
        """Whether the next frame must be a certain one, as the library sees: the first settings, or more headers."""

    # What arrives.

    def receive(self, data: bytes) -> list[Event]:
        """Take bytes; returns what they mean."""
        events: list[Event] = []
        if self.broken:
            return events
        if self._preface_left:
            size = min(self._preface_left, len(data))
            self._preface_left -= size
            self._give(data[:size], events)
            data = data[size:]
        if self._rest:
            data = self._rest + data
            if len(data) < self._rest_needs:
                self._rest = data
                return events
            self._rest = b""
        at = self._take_frames(data, events)
        if at < len(data) and not self.broken:
            self._rest = data[at:]
            self._rest_needs = _frame_end(self._rest, 0)
        if self._may_go_on:
            self._may_go_on = False
            self._tell_who_goes_on(events)
        return events

    def _take_frames(self, data: bytes, events: list[Event]) -> int:
        """Take the frames that are whole; returns where the first begins that is not."""
        at, given, end = 0, 0, len(data)
        while at < end and not self.broken:
            stop = _frame_end(data, at)
            if stop > end:
                break
            kind = data[at + 3]
            if kind == _SETTINGS or (kind in _OURS and not self._next_is_fixed):
                if at > given:
                    # The request that this belongs to may be in there, or a fault.
                    fault = not self._give(data[given:at], events)
                    given = at
                    if fault:
                        break
                if kind == _DATA:
                    ours = self._take_data(data, at, stop, events)
                elif kind == _PING:
                    ours = self._take_ping(data, at, stop, events)
                elif kind == _WINDOW_UPDATE:
                    ours = self._take_window(data, at, stop, events)
                else:
                    ours = self._take_settings(data, at, stop, events)
                if ours:
                    given = stop
            else:
                self._pass_by(kind, data, at)
            at = stop
        if at > given and not self.broken:
            self._give(data[given:at], events)
        return at

    def _pass_by(self, kind: int, data: bytes, at: int) -> None:
        """See what a frame that is the library's means for ours."""
        flags = data[at + 4]
        if self._next_is_fixed:
            # Anything but their end is a fault, which the library finds.
            self._next_is_fixed = kind != _CONTINUATION or not flags & _END_HEADERS
        elif kind == _HEADERS:
            self._next_is_fixed = not flags & _END_HEADERS
            stream = self._streams.get(_stream_id(data, at))
            if stream is not None:
                # These are trailers.
                stream.receiving = False
        elif kind == _RST_STREAM:
            self._drop(_stream_id(data, at))

    def _give(self, data: bytes, events: list[Event]) -> bool:
        """Give frames to the library, and keep in step with what it makes of them; False where there is a fault."""
        try:
            self._connection.receive_data(data)
        except NGH2Error:
            self._break()
        self._learn(events)
        if self._fetch():
            # It knows what it has put an end to when that is on its way.
            self._learn(events)
            if self._fetched > _MOST_FETCHED_BYTES:
                self._break()
        return not self.broken

    def _learn(self, events: list[Event]) -> None:
        """Hear of the library what has come."""
        try:
            found = self._connection.events()
        except NGH2Error:
            return
        for event in found:
            if isinstance(event, ngh2.DataReceived):
                self._keep(event.stream_id, len(event.data))
                events.append(DataReceived(event.stream_id, event.data, event.end_stream))
                continue
            if isinstance(event, RequestReceived):
                self._begin(event)
            elif isinstance(event, StreamReset | StreamClosed):
                self._drop(event.stream_id)
            elif isinstance(event, TrailersReceived):
                self._end_receiving(event.stream_id)
            elif isinstance(event, ConnectionClosed):
                if event.error_code:
                    self._break()
                continue
            elif not isinstance(event, GoAwayReceived | PingAcknowledged | PingReceived | SettingsReceived):
                continue
            events.append(event)

    def _begin(self, request: RequestReceived) -> None:
        stream_id = self._last_stream = request.stream_id
        measured = any(name == b"content-length" for name, _ in request.headers)
        self._streams[stream_id] = _Stream(stream_id, receiving=not request.end_stream, measured=measured)

    def _end_receiving(self, stream_id: int) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.receiving = False

    def _keep(self, stream_id: int, size: int) -> None:
        """Count what the library has received."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._acknowledge_measured(stream_id, size)
        else:
            stream.kept += size

    def _drop(self, stream_id: int) -> None:
        """A stream is over: what was kept of it is nobody's any more."""
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if stream.measured:
            self._acknowledge_measured(stream_id, stream.kept)
        else:
            self._acknowledged += stream.kept
            self._widen_connection()
        if stream.unsent:
            stream.unsent = b""
            del self._waiting[stream]

    def _break(self, code: ErrorCode | None = None) -> None:
        """The client has broken the rules; with a code the library has not seen it, and says so."""
        self.broken = True
        self._stale = True
        # Nothing of theirs comes behind the goodbye.
        self._streams.clear()
        self._waiting.clear()
        if code is not None:
            with suppress(NGH2Error):
                self._connection.terminate_connection(int(code))

    def _take_data(self, data: bytes, at: int, stop: int, events: list[Event]) -> bool:
        """Take a DATA frame; False where it is the library's."""
        stream_id = _stream_id(data, at)
        stream = self._streams.get(stream_id)
        if stream is None or not stream.receiving or stream.measured:
            return False
        start, flags = at + _HEAD_BYTES, data[at + 4]
        size = stop - start
        if not size:
            # The library counts these, and puts an end to floods of them.
            stream.receiving = not flags & _END_STREAM
            return False
        stream.kept += size
        self._kept += size
        if stream.kept + stream.acknowledged > RECEIVE_WINDOW_BYTES or self._kept > self._most_kept:
            self._break(ErrorCode.FLOW_CONTROL_ERROR)
            return True
        if flags & _PADDED:
            if data[start] >= size:
                self._break(ErrorCode.PROTOCOL_ERROR)
                return True
            padding = 1 + data[start]
            stop -= padding - 1
            start += 1
            self.acknowledge(stream_id, padding)
        if stop > start:
            events.append(DataReceived(stream_id, data[start:stop], False))
        if flags & _END_STREAM:
            stream.receiving = False
            self._give(_head(0, _DATA, _END_STREAM, stream_id), events)
        return True

    def _take_window(self, data: bytes, at: int, stop: int, events: list[Event]) -> bool:
        """Take a WINDOW_UPDATE frame; False where it is the library's."""
        stream_id = _stream_id(data, at)
        stream = self._streams.get(stream_id)
        more = int.from_bytes(data[at + _HEAD_BYTES : stop], "big") & _MOST_WINDOW_BYTES
        if stream is None and 0 < stream_id <= self._last_stream and stop - at == _HEAD_BYTES + 4:
            # A stream that is over, also where the library has not said so yet.
            return True
        if stop - at != _HEAD_BYTES + 4 or not more or (stream_id and stream is None):
            return False
        if stream is not None:
            before = stream.window + self._first_window
            stream.window += more
            if before + more > _MOST_WINDOW_BYTES:
                self.reset(stream_id, ErrorCode.FLOW_CONTROL_ERROR)
                events.append(StreamReset(stream_id, int(ErrorCode.FLOW_CONTROL_ERROR)))
                return True
            self._widest = max(self._widest, stream.window)
            if stream.unsent and before <= 0 < before + more and self._window > 0:
                self._can_go_on = True
                events.append(WindowUpdated(stream_id))
        else:
            self._window += more
            if self._window > _MOST_WINDOW_BYTES:
                self._break(ErrorCode.FLOW_CONTROL_ERROR)
            else:
                # Once for all such frames of a chunk: each is small, and many streams may wait.
                self._may_go_on = bool(self._waiting)
        return True

    def _take_ping(self, data: bytes, at: int, stop: int, events: list[Event]) -> bool:
        """Answer a PING frame; False where it is the library's: an answer, or none that the rules know."""
        if data[at : at + _HEAD_BYTES] != _PING_HEAD:
            return False
        self._pings += 1
        if self._pings > MOST_PINGS_AT_ONCE:
            self._break()
            return True
        self._write(_PONG_HEAD + data[at + _HEAD_BYTES : stop])
        events.append(_PING_RECEIVED)
        return True

    def _take_settings(self, data: bytes, at: int, stop: int, events: list[Event]) -> bool:
        """See what windows the client wishes; the rest, and what is wrong with it, is for the library."""
        if data[at + 4] & _ACK:
            return False
        self._next_is_fixed = False
        settings = data[at + _HEAD_BYTES : stop]
        hidden: list[bytes] = []
        done = 0
        for start in range(0, len(settings) - 5, 6):
            if settings[start] << 8 | settings[start + 1] == _INITIAL_WINDOW_SIZE:
                size = int.from_bytes(settings[start + 2 : start + 6], "big")
                if size > _MOST_WINDOW_BYTES:
                    return False
                self._first_window = size
                if size + self._widest > _MOST_WINDOW_BYTES and self._find_widest() + size > _MOST_WINDOW_BYTES:
                    self._break(ErrorCode.FLOW_CONTROL_ERROR)
                    return True
                hidden += settings[done:start], _FIRST_WINDOW
                done = start + 6
        if not hidden:
            return False
        self._may_go_on = bool(self._waiting)
        self._give(data[at : at + _HEAD_BYTES] + b"".join(hidden) + settings[done:], events)
        return True

    def _find_widest(self) -> int:
        """Look again: the stream with the widest window may be gone."""
        self._widest = 0
        for stream in self._streams.values():
            self._widest = max(self._widest, stream.window)
        return self._widest

    def acknowledge(self, stream_id: int, size: int) -> None:
        """Let a client send so much more, on its stream and on the connection."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.kept -= size
        if stream.measured:
            self._acknowledge_measured(stream_id, size)
            return
        stream.acknowledged += size
        self._acknowledged += size
        if stream.acknowledged >= RECEIVE_WINDOW_BYTES // 2 and stream.receiving:
            self._widen(stream_id, stream.acknowledged)
            stream.acknowledged = 0
        self._widen_connection()

    def _acknowledge_measured(self, stream_id: int, size: int) -> None:
        """The library counts these; of streams that are gone, too."""
        self._stale = True
        with suppress(NGH2Error, ValueError):
            self._connection.acknowledge_received_data(size, stream_id)

    def _widen_connection(self) -> None:
        """Tell the client, where it is worth a frame."""
        if self._acknowledged >= _CREDIT_LUMP_BYTES:
            self._widen(0, self._acknowledged)
            self._kept -= self._acknowledged
            self._acknowledged = 0

    def _widen(self, stream_id: int, size: int) -> None:
        self._write(_head(4, _WINDOW_UPDATE, 0, stream_id) + size.to_bytes(4, "big"))

    # What is sent.

    def output(self, most: int) -> bytes:
        """What to write now, at most about so many bytes."""
        if self._can_go_on:
            self._go_on()
        if self._stale:
            self._fetch()
        taken = self._next
        if len(taken) <= most and not self._more:
            self._next = b""
            self._fetched = 0
            self.unwritten = False
            self._pings = 0
            return taken
        count, size = 0, len(taken)
        while count < len(self._more) and size + len(self._more[count]) <= most:
            size += len(self._more[count])
            count += 1
        taken += b"".join(self._more[:count])
        del self._more[:count]
        if len(taken) > most:
            taken, self._next = taken[:most], taken[most:]
        else:
            self._next = self._more.pop(0) if self._more else b""
        self.unwritten = bool(self._next)
        return taken

    def _fetch(self) -> bool:
        """Put behind what is there already what the library has to say; whether there is any."""
        self._stale = False
        try:
            data = self._connection.data_to_send()
        except NGH2Error:
            self.broken = True
            return False
        if data:
            self._fetched += len(data) + _FRAME_COSTS_BYTES
            self._put(data)
        return bool(data)

    def _write(self, frame: bytes) -> None:
        if self._stale:
            self._fetch()
        self._put(frame)

    def _put(self, frames: bytes) -> None:
        if self._next:
            self._more.append(frames)
        else:
            self._next = frames

    @property
    def over(self) -> bool:
        """Whether nothing that arrives is looked at any more: the rules were broken, or a GOAWAY has been obeyed."""
        try:
            return self.broken or not self._connection.want_read
        except NGH2Error:
            return True

    @property
    def wants_write(self) -> bool:
        """Whether there is something to send that windows allow."""
        try:
            return bool(self._next) or self._can_go_on or self._connection.want_write
        except NGH2Error:
            return False

    def send_headers(self, stream_id: int, headers: Iterable[Header], *, end: bool = False) -> None:
        """Begin a response, and with `end` end it."""
        self._stale = True
        with suppress(NGH2Error):
            self._connection.send_response(stream_id, headers, end_stream=end)

    def send_data(self, stream_id: int, data: bytes) -> None:
        """Send part of a body."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if self._can_go_on:
            # Those that wait are first.
            self._go_on()
        size = len(data)
        if (
            size <= _FRAME_BYTES
            and size <= stream.window + self._first_window
            and size <= self._window
            and not stream.unsent
        ):
            self._send_frame(stream, data, size)
        elif stream.unsent:
            stream.unsent += data
        else:
            stream.unsent = data
            self._send(stream)

    def _send_frame(self, stream: _Stream, data: bytes, size: int) -> None:
        stream.window -= size
        self._window -= size
        self._write(b"\0%b%b\0\0%b%b" % (BYTE[size >> 8], BYTE[size & 255], stream.number, data))

    def _send(self, stream: _Stream) -> None:
        """Send what windows allow, and what comes after it."""
        while stream.unsent:
            size = min(len(stream.unsent), _FRAME_BYTES, stream.window + self._first_window, self._window)
            if size <= 0:
                self._waiting[stream] = None
                return
            part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
            self._send_frame(stream, part, size)
        if stream.trailers is not None:
            self.send_trailers(stream.id, stream.trailers)

    def _tell_who_goes_on(self, events: list[Event]) -> None:
        """There may be more window: tell of those that can go on, in the order in which they will."""
        room = self._window
        for stream in self._waiting:
            if room <= 0:
                break
            size = min(len(stream.unsent), stream.window + self._first_window)
            if size > 0:
                room -= size
                self._can_go_on = True
                events.append(WindowUpdated(stream.id))

    def _go_on(self) -> None:
        """Let those that wait go on; where one cannot with all it has, it waits behind the others."""
        self._can_go_on = False
        for stream in list(self._waiting):
            if self._window <= 0:
                break
            if stream.window + self._first_window > 0:
                del self._waiting[stream]
                self._send(stream)

    def send_trailers(self, stream_id: int, headers: Iterable[Header]) -> None:
        """End a response, after what waits."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream.unsent:
            stream.trailers = list(headers)
            return
        self._stale = True
        with suppress(NGH2Error):
            self._connection.send_trailers(stream_id, headers)
        if stream is not None and not stream.receiving and not stream.measured:
            self._drop(stream_id)

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream at once; what waits to be sent on it is dropped."""
        self._drop(stream_id)
        self._stale = True
        with suppress(NGH2Error):
            self._connection.reset_stream(stream_id, int(code))

    def unsent(self, stream_id: int) -> int:
        """How many bytes of a body are kept: the window is closed."""
        if self._can_go_on:
            self._go_on()
        stream = self._streams.get(stream_id)
        return len(stream.unsent) if stream is not None else 0

    def ping(self) -> None:
        """Ask whether the client is there."""
        self._stale = True
        with suppress(NGH2Error):
            self._connection.ping(b"sigbridg")

    def announce_shutdown(self) -> None:
        """Say that there will be no more streams soon (GOAWAY, first step; RFC 9113, section 6.8)."""
        self._stale = True
        with suppress(NGH2Error):
            self._connection.send_shutdown_notice()

    def goaway(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Say that there are no more streams (GOAWAY, second step)."""
        self._stale = True
        with suppress(NGH2Error):
            self._connection.send_goaway(int(code), debug_data=debug)


@lru_cache
def _configuration(most_header_bytes: int) -> Configuration:
    """What the library is told, which is the same for all connections of a server."""
    return Configuration(
        auto_window_update=False,
        max_inbound_header_list_size=most_header_bytes,
        max_outbound_ack=MOST_PINGS_AT_ONCE,
    )


def _frame_end(data: bytes, at: int) -> int:
    """Where the frame ends that begins there, as far as can be seen; of one that is too long the head will do."""
    if len(data) - at < _HEAD_BYTES:
        return at + _HEAD_BYTES
    size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
    return at + _HEAD_BYTES + (size if size <= _FRAME_BYTES else 0)


def _stream_id(data: bytes, at: int) -> int:
    """The stream of the frame that begins there; its highest bit says nothing."""
    return (data[at + 5] & 0x7F) << 24 | data[at + 6] << 16 | data[at + 7] << 8 | data[at + 8]
