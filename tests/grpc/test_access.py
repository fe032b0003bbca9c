"""The calls that are asked for no token."""

import pytest

from sigbridge_grpc.access import HEALTH_SERVICE_NAME, REFLECTION_SERVICE_NAMES, open_prefixes


@pytest.mark.parametrize(
    ("path", "always", "where_open"),
    [
        ("/grpc.health.v1.Health/Check", True, True),
        ("/grpc.health.v1.Health/Watch", True, True),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", False, True),
        ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", False, True),
        ("/grpc.reflection.v1beta.ServerReflection/ServerReflectionInfo", False, False),
        ("/grpc.healthy.v1.Health/Check", False, False),
        ("/grpc.health.v1.Healthy/Check", False, False),
        ("/grpc.health.v1.Health", False, False),
        ("//grpc.health.v1.Health/Check", False, False),
        ("grpc.health.v1.Health/Check", False, False),
        ("/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck", False, False),
        ("/no.Service/Method", False, False),
        ("", False, False),
    ],
)
def test_a_call_is_open_by_the_beginning_of_its_path(path: str, always: bool, where_open: bool) -> None:
    assert path.startswith(open_prefixes(reflection_requires_token=True)) is always
    assert path.startswith(open_prefixes(reflection_requires_token=False)) is where_open


def test_the_names_are_the_standard_s() -> None:
    assert HEALTH_SERVICE_NAME == "grpc.health.v1.Health"
    assert REFLECTION_SERVICE_NAMES == (
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    )
