"""The contract is what deployed clients know, and the checked-in code is made from it."""

import subprocess
import sys
from pathlib import Path

import grpc
from google.protobuf.descriptor import FieldDescriptor

from sigbridge_grpc.generated import webrtc_signaling_pb2 as pb
from sigbridge_grpc.generated import webrtc_signaling_pb2_grpc as pb_grpc
from sigbridge_grpc.service import SERVICE_NAME

ROOT = Path(__file__).resolve().parents[2]

SDP_REQUEST = "1 to_peer_id string, 2 sdp string, 3 type string"
CANDIDATE = (
    "2 candidate string, 3 sdp_mid optional string, 4 sdp_mline_index optional uint32, "
    "5 username_fragment optional string, 6 offer_id string"
)
LIST_REQUEST = "1 room optional string, 2 page_size uint32, 3 page_token string"
LIST_RESPONSE = "1 peers repeated PeerInfo, 2 count uint32, 3 next_page_token string"
CONTRACT = {
    "SignalingRequest": "1 request_id string, 10 announce AnnounceRequest, 11 offer OfferRequest, "
    "12 answer AnswerRequest, 13 ice_candidate IceCandidateRequest, 14 disconnect DisconnectRequest, "
    "15 list_peers ListPeersRequest, 16 authenticate AuthenticateRequest, 17 get_ice_servers GetIceServersRequest",
    "AnnounceRequest": "1 peer_id string, 2 capabilities PeerCapabilities, 3 metadata map<string,string>, "
    "4 room string, 5 resumable bool, 6 resume_token string, 7 last_seq uint64, 8 ice_servers bool, 9 notices bool",
    "OfferRequest": SDP_REQUEST,
    "AnswerRequest": f"{SDP_REQUEST}, 4 offer_id string",
    "IceCandidateRequest": f"1 to_peer_id string, {CANDIDATE}",
    "DisconnectRequest": "1 peer_id string, 2 offer_id string",
    "ListPeersRequest": LIST_REQUEST,
    "AuthenticateRequest": "1 token string",
    "GetIceServersRequest": "",
    "GetPeersRequest": LIST_REQUEST,
    "HealthCheckRequest": "",
    "SignalingResponse": "1 request_id string, 2 seq uint64, 10 ack AckResponse, 11 peer_list PeerListResponse, "
    "12 notification SignalingNotification, 13 error ErrorResponse",
    "AckResponse": "1 message string, 2 data string",
    "PeerListResponse": LIST_RESPONSE,
    "GetPeersResponse": LIST_RESPONSE,
    "SignalingNotification": "1 peer_joined PeerJoinedNotification, 2 peer_left PeerLeftNotification, "
    "3 offer OfferNotification, 4 answer AnswerNotification, 5 ice_candidate IceCandidateNotification, "
    "6 peer_disconnected PeerDisconnectedNotification, 7 server_notice ServerNoticeNotification, "
    "8 ice_servers IceServersNotification",
    "PeerJoinedNotification": "1 peer_id string, 2 capabilities PeerCapabilities, 3 metadata map<string,string>",
    "PeerLeftNotification": "1 peer_id string",
    "PeerDisconnectedNotification": "1 peer_id string, 2 offer_id string",
    "OfferNotification": "1 from_peer_id string, 2 offer_id string, 3 sdp string, 4 type string",
    "AnswerNotification": "1 from_peer_id string, 2 sdp string, 3 type string, 4 offer_id string",
    "IceCandidateNotification": f"1 from_peer_id string, {CANDIDATE}",
    "ServerNoticeNotification": "1 kind string, 2 message string, 3 reconnect_after_ms uint32, "
    "4 deadline_unix_ms uint64, 5 data string",
    "IceServersNotification": "1 servers string, 2 expires_unix_ms uint64",
    "ErrorResponse": "1 code uint32, 2 message string, 3 details string",
    "HealthCheckResponse": "1 status string, 2 uptime_seconds uint64, 3 connected_peers uint32, 4 metrics string",
    "PeerInfo": "1 peer_id string, 2 capabilities PeerCapabilities, 3 state PeerState, "
    "4 metadata map<string,string>, 5 connected_at uint64",
    "PeerCapabilities": "1 audio bool, 2 video bool, 3 data bool, 4 extensions string",
}
ONEOFS = {
    "SignalingRequest": ("request", 8),
    "SignalingResponse": ("response", 4),
    "SignalingNotification": ("notification", 8),
}
SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
}


def _type(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return field.enum_type.name
    message = field.message_type
    if message is None:
        return SCALARS[field.type]
    if message.GetOptions().map_entry:
        return f"map<{','.join(_type(entry) for entry in message.fields)}>"
    return f"repeated {message.name}" if field.is_repeated else message.name


def _optional(field: FieldDescriptor) -> str:
    # An `optional` field is a oneof of its own.
    oneof = field.containing_oneof
    return "optional " if oneof is not None and len(oneof.fields) == 1 else ""


def test_field_numbers_and_types_are_those_of_deployed_clients() -> None:
    found = {
        name: ", ".join(
            f"{field.number} {field.name} {_optional(field)}{_type(field)}"
            for field in sorted(message.fields, key=lambda field: field.number)
        )
        for name, message in pb.DESCRIPTOR.message_types_by_name.items()
    }
    assert found == CONTRACT


def test_oneofs() -> None:
    for name, (oneof, size) in ONEOFS.items():
        assert len(pb.DESCRIPTOR.message_types_by_name[name].oneofs_by_name[oneof].fields) == size


def test_peer_states() -> None:
    assert dict(pb.PeerState.items()) == {
        "PEER_STATE_UNSPECIFIED": 0,
        "PEER_STATE_AVAILABLE": 1,
        "PEER_STATE_BUSY": 2,
        "PEER_STATE_AWAY": 3,
        "PEER_STATE_OFFLINE": 4,
    }


def test_service() -> None:
    service = pb.DESCRIPTOR.services_by_name["WebRtcSignaling"]
    assert service.full_name == SERVICE_NAME
    assert {
        method.name: (method.input_type.name, method.output_type.name, method.client_streaming, method.server_streaming)
        for method in service.methods
    } == {
        "Signal": ("SignalingRequest", "SignalingResponse", True, True),
        "GetPeers": ("GetPeersRequest", "GetPeersResponse", False, False),
        "HealthCheck": ("HealthCheckRequest", "HealthCheckResponse", False, False),
    }


def test_every_message_is_described() -> None:
    source = (ROOT / "protos" / "webrtc_signaling.proto").read_text().splitlines()
    for number, line in enumerate(source):
        if line.startswith(("message ", "enum ")):
            assert source[number - 1].startswith("//"), line


def test_the_checked_in_code_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "generate_protos.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stub_is_importable_where_it_lies() -> None:
    channel = grpc.insecure_channel("127.0.0.1:1")
    stub = pb_grpc.WebRtcSignalingStub(channel)
    assert stub.Signal is not None
    channel.close()
