"""The choice of the gRPC engine, by what is set and what is installed."""

import pytest

from sigbridge import SettingError, Settings
from sigbridge_server import engines
from sigbridge_server.server import Server

SAME = {"grpc_bind_address": "127.0.0.1:50051", "ws_bind_address": "127.0.0.1:50051"}


@pytest.mark.parametrize(
    ("asked", "installed", "chosen"),
    [
        ("", True, "native"),
        ("", False, "grpcio"),
        ("native", True, "native"),
        ("native", False, "native"),
        ("grpcio", True, "grpcio"),
        ("grpcio", False, "grpcio"),
    ],
)
def test_what_is_set_comes_before_what_is_installed(monkeypatch, asked, installed, chosen):
    monkeypatch.setattr(engines, "native_engine_is_installed", lambda: installed)
    assert engines.chosen_engine(Settings(grpc_engine=asked)) == chosen


def test_without_the_native_engine_two_protocols_on_one_address_are_refused(monkeypatch):
    settings = Settings(**SAME)
    monkeypatch.setattr(engines, "native_engine_is_installed", lambda: False)
    with pytest.raises(SettingError, match=r"^WS_BIND_ADDRESS is '127.0.0.1:50051', as GRPC_BIND_ADDRESS is: .*native"):
        Server(settings)
    monkeypatch.setattr(engines, "native_engine_is_installed", lambda: True)
    assert Server(settings).engine == "native"
