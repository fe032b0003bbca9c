"""File descriptors: how many connections they leave room for, and who says so."""

import logging
import resource
import sys

import pytest

from sigbridge import Settings
from sigbridge_server import server as server_module
from sigbridge_server.descriptors import (
    LAST_DESCRIPTORS,
    LEAST_DESCRIPTORS,
    OPERATORS_LIMITS,
    RESERVED_DESCRIPTORS,
    DescriptorsError,
    clients_limits,
    descriptor_limit,
)
from sigbridge_server.server import Server


@pytest.mark.parametrize(
    ("settings", "descriptors", "connections"),
    [
        ({}, 65536, 41000),
        ({}, 1024, 960),
        ({}, sys.maxsize, 41000),
        ({"max_connections": 500}, 1024, 500),
        ({"max_connections": 5000}, 1024, 960),
        ({"max_sessions": 10}, 1024, 960),
        ({"max_sessions": 10}, 4096, 1020),
        ({"grpc_engine": "grpcio"}, 1024, 480),
        ({"grpc_engine": "grpcio", "max_connections": 400}, 1024, 400),
        ({}, LEAST_DESCRIPTORS, 16),
    ],
)
def test_connections_leave_some_descriptors_to_others(settings, descriptors, connections):
    limits = clients_limits(Settings(**settings), descriptors)
    assert limits.connections == connections
    assert limits.descriptors == descriptors - LAST_DESCRIPTORS
    assert not limits.idlest_gives_way
    assert ("RLIMIT_NOFILE" in limits.advice) == (connections < Settings(**settings).connection_limit)


def test_the_operators_address_fits_into_what_is_reserved():
    assert OPERATORS_LIMITS.connections < LAST_DESCRIPTORS < RESERVED_DESCRIPTORS
    assert OPERATORS_LIMITS.idlest_gives_way


def test_with_too_few_nothing_is_served(monkeypatch):
    monkeypatch.setattr(server_module, "descriptor_limit", lambda: LEAST_DESCRIPTORS - 1)
    with pytest.raises(DescriptorsError, match=r"may open 79 files: expected 80 or more \(RLIMIT_NOFILE"):
        Server(Settings())


@pytest.mark.parametrize(
    ("settings", "level"), [({"max_connections": 5000}, "WARNING"), ({}, "INFO"), ({"max_connections": 960}, None)]
)
def test_a_limit_that_is_lowered_is_told_once(monkeypatch, caplog, settings, level):
    monkeypatch.setattr(server_module, "descriptor_limit", lambda: 1024)
    caplog.set_level(logging.INFO, "sigbridge")
    server = Server(Settings(**settings))
    server._tell_of_few_descriptors()
    told = [record for record in caplog.records if "file descriptors" in record.message]
    assert [record.levelname for record in told] == ([] if level is None else [level])
    for record in told:
        assert (record.variable, record.limit) == ("SIGNALING_MAX_CONNECTIONS", 960)
        assert record.set == (settings.get("max_connections") or 41000)


def test_a_server_in_another_program_leaves_its_limit_alone():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = Server(Settings())
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    assert server._carrier.limits == clients_limits(Settings(), descriptor_limit())
