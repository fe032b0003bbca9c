"""Tokens that are shown in a session, in JSON-RPC."""

import json

import msgspec
import pytest

from json_rpc_messages import error, request, wrong_field
from sigbridge.disconnects import DisconnectReason
from sigbridge_compat.identities import BAD_TOKEN, DescribedIdentities, token_of


@pytest.fixture
def known(talk):
    """A talker whose tokens say whom they prove."""
    one = talk()
    one.session.authenticator = DescribedIdentities()
    return one


def test_a_new_token_is_answered_with_its_subject_and_end(known, clock):
    text = json.dumps(request("authenticate", {"token": token_of("alice"), "more": 1}, id="x")).encode()
    known.conversation.receive(text, clock.now)
    assert known.session.outbox.take(2**40) == [
        b'{"jsonrpc":"2.0","result":{"subject":"alice","expires_at":null},"id":"x"}'
    ]
    expires_at = int(clock.now.unix + 60.9)
    assert known.call("authenticate", token=token_of("alice", expires_in=60.9))["result"] == {
        "subject": "alice",
        "expires_at": expires_at,
    }


def test_a_bad_token_is_refused_with_data(known):
    data = {"code": 16, "status": "UNAUTHENTICATED"}
    assert known.ask(request("authenticate", {"token": BAD_TOKEN}, id=1)) == error(
        -32000, "Invalid or missing API token", 1, data
    )
    known.call("authenticate", token=token_of("alice"))
    data = {"code": 7, "status": "PERMISSION_DENIED"}
    assert known.ask(request("authenticate", {"token": token_of("bob")}, id=1)) == error(
        -32000, "Subject mismatch", 1, data
    )


@pytest.mark.parametrize("token", [None, 7, ["canary"], {"canary": "canary"}, True])
def test_a_token_is_text(known, token):
    assert known.ask(request("authenticate", {"token": token}, id=1)) == wrong_field("token", "must be a string")
    assert known.ask(request("authenticate", {}, id=1)) == wrong_field("token", "is missing")


def test_a_token_in_a_notification_counts(known):
    assert known.say(request("authenticate", {"token": token_of("alice", rights=())})) == []
    refusal = known.call("announce", peer_id="alice")["error"]
    assert (refusal["code"], refusal["message"]) == (-32000, "Right missing: announce")
    assert refusal["data"] == {"code": 7, "status": "PERMISSION_DENIED", "right": "announce"}


def test_who_is_revoked_within_a_batch_is_told_what_was_carried_out(known, talk, hub):
    bob = talk("bob")
    known.call("authenticate", token=token_of("alice"))
    known.call("announce", peer_id="alice")
    batch = [
        request("offer", {"to_peer_id": "bob", "sdp": "1"}, id=1),
        request("authenticate", {"token": token_of("alice", peer_ids=())}, id=2),
        request("offer", {"to_peer_id": "bob", "sdp": "2"}, id=3),
    ]
    (answers,) = known.say(batch)
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"] == {"subject": "alice", "expires_at": None}
    assert known.ended == [DisconnectReason.REVOKED]
    events = [event["method"] for event in bob.taken()]
    assert events == ["peer_joined", "offer", "peer_left"]
    assert known.session.request_count == 4


def test_tokens_of_a_batch_have_turns_of_their_own(known, hub, clock):
    known.call("authenticate", token=token_of("alice"))
    batch = [request("authenticate", {"token": token_of("alice")}, id=number) for number in range(50)]
    known.conversation.receive(msgspec.json.encode(batch), clock.now)
    assert 1 < known.session.request_count < 50
    known.rest()
    (answers,) = known.taken()
    assert [answer["id"] for answer in answers] == [*range(50)]
