"""The choice of the engine that serves gRPC, by what is set and what is installed."""

import importlib.util
from typing import Literal, TypeAlias

from sigbridge.settings import Settings

Engine: TypeAlias = Literal["native", "grpcio"]


def native_engine_is_installed() -> bool:
    """True where the library that the native engine needs is there; loads nothing. Not every platform has it."""
    return importlib.util.find_spec("ngh2") is not None


def chosen_engine(settings: Settings) -> Engine:
    """The engine that is set, else the native one where it is installed.

    Raises SettingError where it cannot serve the addresses that are set.
    """
    native = settings.grpc_engine == "native" or (not settings.grpc_engine and native_engine_is_installed())
    engine: Engine = "native" if native else "grpcio"
    settings.check_engine(engine)
    return engine
