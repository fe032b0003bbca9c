"""The errors: codes, texts, and the data that goes with them."""

import grpc
import pytest

from sigbridge import Code, SignalingError, errors

TEXTS = [
    (
        errors.invalid_params("sdp", "is missing"),
        Code.INVALID_ARGUMENT,
        "Invalid params: sdp is missing",
        {"field": "sdp"},
    ),
    (errors.malformed_request(), Code.INVALID_ARGUMENT, "Malformed request", {}),
    (errors.no_request(), Code.INVALID_ARGUMENT, "No request provided", {}),
    (errors.method_not_found("x"), Code.UNIMPLEMENTED, "Method not found: x", {}),
    (errors.not_announced(), Code.FAILED_PRECONDITION, "Not announced: call announce first", {}),
    (errors.already_announced("a"), Code.ALREADY_EXISTS, "Peer a already announced", {"peer_id": "a"}),
    (errors.peer_not_found("a"), Code.NOT_FOUND, "Peer not found: a", {"peer_id": "a"}),
    (errors.peer_unavailable("a"), Code.UNAVAILABLE, "Peer unavailable: a", {"peer_id": "a"}),
    (errors.no_answer_in_time("a"), Code.DEADLINE_EXCEEDED, "No answer in time", {"peer_id": "a"}),
    (
        errors.sender_mismatch("a"),
        Code.PERMISSION_DENIED,
        "Peer ID mismatch: this session may not send as a",
        {"peer_id": "a"},
    ),
    (errors.internal_error(), Code.INTERNAL, "Internal error", {}),
]


@pytest.mark.parametrize(("error", "code", "text", "extra"), TEXTS)
def test_texts(error, code, text, extra):
    assert (error.code, error.message, error.extra, str(error)) == (code, text, extra, text)
    assert error.data() == {"code": int(code), "status": code.name, **extra}


def test_the_beginnings_that_programs_know():
    assert errors.room_mismatch().message.startswith("Room mismatch")
    assert errors.room_mismatch().code is Code.PERMISSION_DENIED
    assert errors.server_draining().code is Code.UNAVAILABLE
    assert errors.session_ended().code is Code.UNAVAILABLE


def test_a_limit_says_which_what_and_when():
    error = errors.limit_exceeded("sdp is too large", "LIMIT", 5, "send it smaller")
    assert error.message == "sdp is too large (limit LIMIT is 5): send it smaller"
    assert error.data() == {"code": 8, "status": "RESOURCE_EXHAUSTED", "limit": "LIMIT", "value": 5}


def test_codes_are_those_of_grpc():
    known = {status.value[0]: status.name for status in grpc.StatusCode}
    assert {int(code): code.name for code in Code} == {int(code): known[int(code)] for code in Code}


def test_a_long_method_name_is_cut():
    error = errors.method_not_found("x" * 10_000)
    assert error.message == "Method not found: " + "x" * 128 + "…"
    assert errors.method_not_found("y" * 128).message == "Method not found: " + "y" * 128


def test_dialects_know_two_refusals_by_their_class():
    assert type(errors.not_announced()) is errors.NotAnnounced
    assert type(errors.already_announced("a")) is errors.AlreadyAnnounced
    assert errors.not_announced() == SignalingError(Code.FAILED_PRECONDITION, "Not announced: call announce first")


def test_a_long_id_of_another_sender_is_cut():
    assert errors.sender_mismatch("x" * 10_000).extra == {"peer_id": "x" * 256 + "…"}


def test_equality_is_of_all_that_is_said():
    one = SignalingError(Code.NOT_FOUND, "text", a=1)
    assert one == SignalingError(Code.NOT_FOUND, "text", a=1)
    assert one != SignalingError(Code.INTERNAL, "text", a=1)
    assert one != SignalingError(Code.NOT_FOUND, "other", a=1)
    assert one != SignalingError(Code.NOT_FOUND, "text", a=2)
    assert one != ValueError("text")
    assert "NOT_FOUND" in repr(one)
    assert len({one, one}) == 1
