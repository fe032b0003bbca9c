"""The benchmark's header blocks are those of real clients: byte for byte with the values of captured ones."""

import re
from pathlib import Path

import hpack
import pytest

from sigbridge_bench.header_blocks import AUTHORIZATION, CLIENTS, SIGNAL_PATH, STYLES, header_block
from sigbridge_http2.decoder import FieldDecoder
from sigbridge_http2.events import Header

BLOCKS = Path(__file__).parents[1] / "http2" / "blocks"
CAPTURED = [
    pytest.param(client, captured, id=captured)
    for client, captured in (
        ("grpcio", "grpcio"),
        ("grpcio", "grpcio-aio"),  # the same library, by another name in `user-agent`
        ("grpc-go", "grpc-go"),
        ("grpc-js", "grpc-js"),
        ("tonic", "tonic"),
    )
]
TOKEN_FROM = 4
"""The first block of a capture that has a token, and a `traceparent` beside it."""


def read(captured: str) -> list[tuple[bytes, list[Header]]]:
    """The blocks of one connection, and their fields."""
    decoder = hpack.Decoder()
    blocks = [bytes.fromhex(line) for line in (BLOCKS / f"{captured}.hex").read_text().split()]
    return [
        (block, [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]) for block in blocks
    ]


def fields_of(client, token=""):
    return FieldDecoder(65536).decode(header_block(client, "127.0.0.1:50051", token))


def test_every_captured_library_has_a_style():
    assert {param.values[1] for param in CAPTURED} == {file.stem for file in BLOCKS.glob("*.hex")}
    assert set(STYLES) == set(CLIENTS)


@pytest.mark.parametrize(("client", "captured"), CAPTURED)
def test_the_first_block_of_a_connection_is_made_byte_for_byte(client, captured):
    block, fields = read(captured)[0]
    assert STYLES[client].block(tuple(fields)) == block


@pytest.mark.parametrize(("client", "captured"), CAPTURED)
def test_the_token_is_written_as_in_a_captured_block(client, captured):
    # It was first sent when other fields were entries already; its own bytes depend on none of these.
    block, fields = read(captured)[TOKEN_FROM]
    value = dict(fields)[AUTHORIZATION]
    assert value == b"Bearer a-token"
    assert block.count(STYLES[client].field(AUTHORIZATION, value)) == 1


@pytest.mark.parametrize(("client", "captured"), CAPTURED)
def test_the_fields_are_those_of_a_captured_block_in_their_order(client, captured):
    blocks = read(captured)
    without, with_token = blocks[0][1], blocks[TOKEN_FROM][1]
    assert [name for name, _ in fields_of(client)] == [name for name, _ in without]
    # Where a traceparent stands beside a token is left to chance by some; it is not sent here.
    names = [name for name, _ in with_token if name != b"traceparent"]
    assert [name for name, _ in fields_of(client, "a-token")] == names
    of_the_call = (b":path", b":authority", b"user-agent")
    for (name, ours), (_, theirs) in zip(fields_of(client), without, strict=True):
        assert ours == theirs or name in of_the_call


@pytest.mark.parametrize(("client", "captured"), CAPTURED)
def test_the_user_agent_is_the_captured_one_but_for_versions(client, captured):
    def names(fields):
        return re.sub(rb"\d+", b"0", dict(fields)[b"user-agent"])

    assert names(fields_of(client)) == names(read(captured)[0][1]).replace(b"python-asyncio", b"python")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("token", ["", "a-token", "x" * 300])
def test_a_block_says_what_a_call_needs(client, token):
    block = header_block(client, "[::1]:50051", token)
    fields = FieldDecoder(65536).decode(block)
    assert fields == [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]
    said = dict(fields)
    assert len(said) == len(fields)
    needed = {
        b":method": b"POST",
        b":scheme": b"http",
        b":path": SIGNAL_PATH.encode(),
        b":authority": b"[::1]:50051",
        b"content-type": b"application/grpc",
        b"te": b"trailers",
    }
    assert needed.items() <= said.items()
    assert said.get(AUTHORIZATION) == (f"Bearer {token}".encode() if token else None)


def test_plain_headers_are_literals_that_need_no_table():
    assert header_block("plain", "a", "b") == b"".join(
        b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value
        for name, value in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", SIGNAL_PATH.encode()),
            (b":authority", b"a"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"authorization", b"Bearer b"),
        )
    )
