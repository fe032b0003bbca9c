"""Addresses at which nobody is asked for anything: which of them are told, and by which protocols."""

import pytest

from sigbridge_server.open_doors import is_local, open_doors

OPEN = {"grpc": True, "websocket": True}


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:1",
        "127.255.0.9:1",
        "[::1]:1",
        "[::ffff:127.0.0.1]:1",
        "[::ffff:7f00:1]:0",
        "localhost:1",
        "LOCALHOST:1",
        "unix:/run/sigbridge.sock",
    ],
)
def test_what_only_this_machine_reaches(address):
    assert is_local(address)
    assert list(open_doors({"grpc": [address], "ws": [address]}, OPEN, native=True)) == []


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:1",
        ":1",
        "[::]:1",
        "192.0.2.1:1",
        "[2001:db8::1]:1",
        "[::ffff:192.0.2.1]:1",
        "example.org:1",
        "localhost.example.org:1",
        "127.0.0.1.example.org:1",
        "1.0.0.127:1",
    ],
)
def test_what_others_reach(address):
    assert not is_local(address)
    assert list(open_doors({"grpc": [address], "ws": []}, OPEN, native=True)) == [(address, "grpc and websocket")]


LISTS = {"grpc": ["127.0.0.1:1", "192.0.2.1:1", "unix:/a"], "ws": ["[::]:2", "192.0.2.1:1", "[::1]:2"]}


@pytest.mark.parametrize(
    ("unasked", "native", "told"),
    [
        (OPEN, True, [("192.0.2.1:1", "grpc and websocket"), ("[::]:2", "grpc and websocket")]),
        ({"grpc": False, "websocket": True}, True, [("192.0.2.1:1", "websocket"), ("[::]:2", "websocket")]),
        ({"grpc": True, "websocket": False}, True, [("192.0.2.1:1", "grpc"), ("[::]:2", "grpc")]),
        ({"grpc": False, "websocket": False}, True, []),
    ],
)
def test_every_address_of_a_list_is_told_once(unasked, native, told):
    assert list(open_doors(LISTS, unasked, native=native)) == told


@pytest.mark.parametrize(
    ("unasked", "told"),
    [
        ({"grpc": True, "websocket": False}, [(":1", "grpc"), (":2", "grpc")]),
        ({"grpc": False, "websocket": True}, [(":2", "websocket")]),
        (OPEN, [(":1", "grpc"), (":2", "grpc and websocket")]),
    ],
)
def test_grpcio_s_address_speaks_grpc_alone_and_websocket_s_grpc_web_too(unasked, told):
    assert list(open_doors({"grpc": [":1"], "ws": [":2"]}, unasked, native=False)) == told
