"""The methods of a signaling server, by their paths."""

from collections.abc import Mapping

from sigbridge.messages import HealthCheck, ListPeers
from sigbridge_grpc.access import HEALTH_SERVICE_NAME, REFLECTION_SERVICE_NAMES
from sigbridge_grpc.health import HealthBoard, WatchMethod
from sigbridge_grpc.method import MethodFactory, UnaryMethod
from sigbridge_grpc.reflection import Descriptors, ReflectionMethod
from sigbridge_grpc.service import SERVICE_NAME, SignalingService
from sigbridge_grpc.signal_method import SignalMethod


def signaling_methods(service: SignalingService, board: HealthBoard) -> Mapping[str, MethodFactory]:
    """Returns the methods of a signaling server, by path."""
    services = (SERVICE_NAME, HEALTH_SERVICE_NAME, *REFLECTION_SERVICE_NAMES)
    descriptors = Descriptors()
    hold_off = service.hub.hold_off
    return {
        f"/{SERVICE_NAME}/Signal": lambda call, caller, now: SignalMethod(service, call, caller, now),
        f"/{SERVICE_NAME}/GetPeers": lambda call, caller, _: UnaryMethod(
            call, caller, service.get_peers, ListPeers.kind, hold_off
        ),
        f"/{SERVICE_NAME}/HealthCheck": lambda call, caller, _: UnaryMethod(
            call, caller, service.health_check, HealthCheck.kind, hold_off
        ),
        f"/{HEALTH_SERVICE_NAME}/Check": lambda call, caller, _: UnaryMethod(call, caller, board.check),
        f"/{HEALTH_SERVICE_NAME}/Watch": lambda call, *_: WatchMethod(board, call),
        **{
            f"/{name}/ServerReflectionInfo": lambda call, *_: ReflectionMethod(call, services, descriptors)
            for name in REFLECTION_SERVICE_NAMES
        },
    }
