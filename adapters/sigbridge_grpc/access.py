"""Names of the standard services, and the calls that are asked for no token.

Rule 1: the standard health service asks nobody, since Kubernetes' probes can show no token. Rule 2: reflection asks
unless a setting opens it. Rule 3: everything else asks, unknown methods included. Source: `docs/security.md`.
"""

HEALTH_SERVICE_NAME = "grpc.health.v1.Health"
REFLECTION_SERVICE_NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")

_HEALTH = f"/{HEALTH_SERVICE_NAME}/"
_REFLECTION = tuple(f"/{name}/" for name in REFLECTION_SERVICE_NAMES)


def open_prefixes(*, reflection_requires_token: bool) -> tuple[str, ...]:
    """Returns the beginnings of the paths of calls that need no token."""
    return (_HEALTH,) if reflection_requires_token else (_HEALTH, *_REFLECTION)
