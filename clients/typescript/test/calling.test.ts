/** Calls: the states of their negotiation, and what peers, servers and connections do to them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Calls } from "../src/call/calls.js";
import { isBefore, identityOf, isOther } from "../src/call/connection.js";
import { refused, settled } from "./played.js";
import { playCalls, PretendedConnection, sdpOf } from "./played_calls.js";

// One calls.

test("a call is offered, and connected when its answer is set", () =>
  playCalls(async (c) => {
    const call = c.call();
    assert.deepEqual([call.peerId, call.state, call.connection], ["bob", "connecting", undefined]);
    assert.equal(c.calls.call("bob"), call);
    assert.deepEqual(await c.sent(), ["offer"]);
    assert.equal(call.connection, c.connection);
    await c.takesOffer("a1");
    await c.hearsAnswer("a1");
    assert.deepEqual(c.connection.done, ["createOffer", "local offer", "remote answer"]);
    c.connection.becomes("connected");
    assert.deepEqual([call.state, c.heard, c.built.length], ["connected", ["connected"], 1]);
    call.hangUp();
    assert.deepEqual([call.state, call.reason, call.connection?.connectionState], ["ended", "hung_up", "closed"]);
    assert.deepEqual(await c.sent(), ["disconnect a1"]);
    assert.deepEqual(c.heard, ["connected", "hung_up"]);
    call.hangUp();
    assert.deepEqual(await c.sent(), []);
  }));

test("candidates are sent behind their description, with the id of its offer", () =>
  playCalls(async (c) => {
    c.call();
    await c.sent();
    c.connection.finds("one");
    assert.deepEqual(await c.sent(), []);
    await c.takesOffer("a1");
    c.connection.finds("two");
    c.connection.finds(null);
    assert.deepEqual(await c.sent(), ["ice_candidate one a1", "ice_candidate two a1", "ice_candidate a1"]);
  }));

test("candidates that come before their description wait for it, and those of other offers are dropped", () =>
  playCalls(async (c) => {
    c.call();
    await c.sent();
    await c.hearsCandidate("early", "a1");
    await c.takesOffer("a1");
    await c.hearsCandidate("one", "a1");
    await c.hearsCandidate("of another", "a0");
    await c.hearsCandidate("of none");
    await c.hearsCandidate("candidate:1 1 udp 1 4b1c.local 9 typ host", "a1");
    await c.hearsAnswer("a1");
    await c.hearsCandidate("two", "a1");
    await c.hearsCandidate("of another", "a0");
    await c.hearsCandidate("", "a1");
    assert.deepEqual(
      c.connection.added.map((one) => one?.candidate),
      ["early", "one", "of none", "candidate:1 1 udp 1 4b1c.local 9 typ host", "two", undefined],
    );
    assert.equal(c.connection.added[0]?.sdpMid, "0");
  }));

test("a bounded number of them waits, and one that cannot be used does no harm", () =>
  playCalls(async (c) => {
    c.call();
    await c.sent();
    await c.takesOffer("a1");
    for (let i = 0; i < 200; i++) await c.hearsCandidate(`${i}`, "a1");
    c.connection.faults["addIceCandidate"] = 1;
    await c.hearsAnswer("a1");
    assert.equal(c.connection.added.length, 127);
    assert.equal(c.connection.added.at(-1)?.candidate, "199");
  }));

test("a peer that calls is answered, with candidates that came before it", () =>
  playCalls(async (c) => {
    await c.hearsCandidate("early", "b1");
    await c.hearsOffer("b1");
    const [call] = c.called;
    assert.equal(call?.peerId, "bob");
    assert.deepEqual(await c.sent(), ["answer b1"]);
    assert.deepEqual(c.connection.done, ["remote offer", "addIceCandidate", "createAnswer", "local answer"]);
    c.connection.finds("one");
    assert.deepEqual(await c.sent(), ["ice_candidate one b1"]);
    c.connection.becomes("connected");
    assert.equal(call?.state, "connected");
    call?.hangUp();
    assert.deepEqual(await c.sent(), ["disconnect b1"]);
  }));

test("a call is refused by hanging up, and no connection is built", () =>
  playCalls(async (c) => {
    c.calls.addEventListener("call", ({ detail }) => detail.hangUp());
    await c.hearsOffer("b1");
    assert.deepEqual(await c.sent(), ["disconnect b1"]);
    assert.deepEqual([c.built.length, c.heard], [0, ["hung_up"]]);
  }));

test("a call that rings is taken when its connection is built, and its connection closed where it ended before", () =>
  playCalls(async (c) => {
    let take = () => {};
    c.building = () => new Promise<void>((resolve) => (take = resolve));
    await c.hearsOffer("b1");
    assert.deepEqual(await c.sent(), []);
    await c.hearsHangUp("b1");
    assert.deepEqual(c.heard, ["peer_hung_up"]);
    take();
    await settled();
    assert.deepEqual([c.built.length, c.connection.connectionState], [1, "closed"]);
    await c.hearsOffer("b2");
    take();
    assert.deepEqual(await c.sent(), ["answer b2"]);
  }));

test("what a program throws that builds is the end, and the peer is told", () =>
  playCalls(async (c) => {
    const error = new Error("no microphone");
    c.building = () => Promise.reject(error);
    await c.hearsOffer("b1");
    assert.deepEqual(await c.sent(), ["disconnect b1"]);
    assert.deepEqual([c.called[0]?.reason, c.called[0]?.error], ["failed", error]);
  }));

// Ends.

for (const [code, reason] of [
  ["NOT_FOUND", "peer_not_found"],
  ["PERMISSION_DENIED", "refused"],
] as const)
  test(`a call whose offer is refused with ${code} has ended as ${reason}`, () =>
    playCalls(async (c) => {
      const call = c.call();
      await c.takes("offer", refused(code));
      assert.deepEqual([call.state, call.reason], ["ended", reason]);
      assert.deepEqual(await c.sent(), ["offer"]);
      assert.notEqual(c.call(), call);
    }));

test("a peer that leaves, and a client that is closed, end it", () =>
  playCalls(async (c) => {
    await c.talks();
    await c.hears({ kind: "peer_left", peerId: "carol" }, { kind: "peer_left", peerId: "bob" });
    assert.deepEqual(c.heard, ["connected", "peer_left"]);
    assert.deepEqual(await c.sent(), []);
    await c.talks("a2");
    await c.played.client.close();
    await settled();
    assert.deepEqual(c.heard.slice(2), ["connected", "closed"]);
    const late = c.call();
    await settled();
    assert.equal(late.reason, "closed");
  }));

test("a client has one Calls at a time", () =>
  playCalls(async (c) => {
    const another = () => new Calls(c.played.client, () => new PretendedConnection({}));
    assert.throws(another, /one Calls at a time/);
    const call = await c.talks();
    c.calls.close();
    assert.equal(call.reason, "hung_up");
    const next = another();
    c.calls.close();
    assert.throws(another, /one Calls at a time/);
    next.close();
  }));

test("a hang-up ends the call that it says, or any where it says none", () =>
  playCalls(async (c) => {
    await c.talks();
    await c.hearsHangUp("a0");
    assert.deepEqual(c.heard, ["connected"]);
    await c.hearsHangUp("a1");
    assert.deepEqual(c.heard, ["connected", "peer_hung_up"]);
    await c.talks("a2");
    await c.hearsHangUp();
    assert.deepEqual(c.heard.slice(2), ["connected", "peer_hung_up"]);
    assert.deepEqual(await c.sent(), []);
  }));

test("who hangs up before the id is known says it when it is, and the next call waits for that", () =>
  playCalls(async (c) => {
    c.call().hangUp();
    assert.deepEqual(await c.sent(), []);
    const second = c.call();
    await settled();
    second.hangUp();
    const third = c.call();
    assert.deepEqual(await c.sent(), ["offer"]);
    await c.takesOffer("a1");
    assert.deepEqual(await c.sent(), ["disconnect a1", "offer"]);
    await c.takesOffer("a2");
    await c.hearsHangUp("a1");
    await c.hearsAnswer("a2");
    assert.equal(third.state, "connecting");
    c.connection.becomes("connected");
    assert.equal(third.state, "connected");
  }));

test("a hang-up that comes before the id of its offer is known ends it", () =>
  playCalls(async (c) => {
    c.call();
    await settled();
    await c.hearsHangUp("a1");
    assert.deepEqual(c.heard, []);
    await c.takesOffer("a1");
    assert.deepEqual(c.heard, ["peer_hung_up"]);
  }));

test("a new call of who hung up is another one, with another connection", () =>
  playCalls(async (c) => {
    const call = await c.talks();
    await c.hears(
      { kind: "peer_disconnected", peerId: "bob", offerId: "a1" },
      { kind: "offer", fromPeerId: "bob", offerId: "b1", type: "offer", sdp: sdpOf("anew") },
    );
    assert.deepEqual([call.reason, c.called.length, c.built.length], ["peer_hung_up", 1, 2]);
    assert.deepEqual(await c.sent(), ["answer b1"]);
  }));

test("an offer that was on its way when this side hung up is no call", () =>
  playCalls(async (c) => {
    (await c.talks()).hangUp();
    await c.sent();
    await c.hearsOffer("b1");
    assert.deepEqual([await c.sent(), c.called.length], [["disconnect b1"], 0]);
    await c.hearsOffer("b2", "another");
    assert.deepEqual([await c.sent(), c.called.length], [["answer b2"], 1]);
  }));

test("close hangs up on all and leaves the client open", () =>
  playCalls(async (c) => {
    await c.talks();
    c.calls.close();
    assert.deepEqual(await c.sent(), ["disconnect a1"]);
    await c.hearsOffer("b1");
    assert.deepEqual([c.called.length, c.played.client.closed], [0, undefined]);
    const late = c.call();
    await settled();
    assert.equal(late.reason, "closed");
  }));

// Two offers.

for (const id of ["zoe", "bobby"])
  test(`the impolite side, ${id}, ignores an offer that crosses its own, with its candidates and its hang-up`, () =>
    playCalls(
      async (c) => {
        const call = c.call();
        await c.sent();
        await c.hearsOffer("b1");
        await c.hearsCandidate("ignored", "b1");
        await c.takesOffer("a1");
        await c.hearsHangUp("b1");
        await c.hearsOffer("b2");
        await c.hearsCandidate("ignored", "b2");
        await c.hearsCandidate("one", "a1");
        await c.hearsAnswer("a1");
        assert.deepEqual(c.connection.done, ["createOffer", "local offer", "remote answer", "addIceCandidate"]);
        assert.equal(c.connection.added[0]?.candidate, "one");
        assert.deepEqual([call.state, c.called.length], ["connecting", 0]);
        assert.deepEqual(await c.sent(), []);
      },
      { id },
    ));

test("an offer that was taken back while this side made its own is no end", () =>
  playCalls(
    async (c) => {
      const call = c.call();
      await settled();
      await c.hearsOffer("b1");
      await c.hearsHangUp("b1");
      await c.takesOffer("a1");
      await c.hearsAnswer("a1");
      c.connection.becomes("connected");
      assert.equal(call.state, "connected");
    },
    { id: "zoe" },
  ));

test("the polite side takes its own back, and answers", () =>
  playCalls(async (c) => {
    const call = c.call();
    await c.takesOffer("a1");
    c.connection.finds("of mine");
    await c.sent();
    await c.hearsOffer("b1");
    c.connection.finds("one");
    assert.deepEqual(await c.sent(), ["answer b1", "ice_candidate one b1"]);
    assert.deepEqual(c.connection.done.slice(2), ["local rollback", "remote offer", "createAnswer", "local answer"]);
    await c.hearsAnswer("a1");
    await c.hearsCandidate("of the other", "a1");
    assert.deepEqual([c.connection.added, c.calls.call("bob"), c.called.length], [[], call, 0]);
  }));

test("a stack that rolls nothing back answers by a new connection", () =>
  playCalls(async (c) => {
    c.call();
    await c.takesOffer("a1");
    c.connection.faults["local rollback"] = 1;
    await c.hearsOffer("b1");
    assert.deepEqual([c.built.length, c.built[0]?.connectionState], [2, "closed"]);
    assert.deepEqual((await c.sent()).at(-1), "answer b1");
  }));

test("an offer that comes before this side's own was sent is answered in its place", () =>
  playCalls(
    async (c) => {
      let built = () => {};
      c.building = () => new Promise<void>((resolve) => (built = resolve));
      c.call();
      await c.hearsOffer("b1");
      built();
      assert.deepEqual(await c.sent(), ["answer b1"]);
      assert.equal(c.built.length, 1);
    },
    { id: "zoe" },
  ));

test("an offer that is refused while one of the peer has come gives way to that", () =>
  playCalls(
    async (c) => {
      c.call();
      await settled();
      await c.hearsOffer("b1");
      await c.takes("offer", refused("UNAVAILABLE"));
      assert.deepEqual(await c.sent(), ["offer", "answer b1"]);
      assert.deepEqual(c.heard, []);
    },
    { id: "zoe" },
  ));

test("an offer behind the answer to this side's own is none that crosses it", () =>
  playCalls(
    async (c) => {
      await c.talks();
      c.connection.dispatchEvent(new Event("negotiationneeded"));
      assert.deepEqual(await c.sent(), ["offer"]);
      await c.takesOffer("a2");
      await c.hears(
        { kind: "answer", fromPeerId: "bob", offerId: "a2", type: "answer", sdp: sdpOf("bob") },
        { kind: "offer", fromPeerId: "bob", offerId: "b1", type: "offer", sdp: sdpOf("bob") },
      );
      assert.deepEqual(await c.sent(), ["answer b1"]);
      assert.equal(c.built.length, 1);
    },
    { id: "zoe" },
  ));

test("ids are compared by the bytes of their UTF-8", () => {
  assert.ok("\u{10000}" < "\uffff");
  assert.ok(isBefore("\uffff", "\u{10000}"));
  assert.ok(!isBefore("\u{10000}", "\uffff"));
  assert.ok(isBefore("a", "ab") && isBefore("Z", "a") && isBefore("z", "ä") && !isBefore("a", "a"));
});

for (const [id, peerId, isPolite] of [
  ["\uffff", "\u{10000}", true],
  ["\u{10000}", "\uffff", false],
] as const)
  test(`${encodeURI(id)} is ${isPolite ? "polite" : "impolite"} with ${encodeURI(peerId)}`, () =>
    playCalls(
      async (c) => {
        c.call(peerId);
        await c.takes("offer", { offerId: "a1", toPeerId: peerId });
        await c.hears({ kind: "offer", fromPeerId: peerId, offerId: "b1", type: "offer", sdp: sdpOf("other") });
        assert.deepEqual(await c.sent(), isPolite ? ["offer", "answer b1"] : ["offer"]);
      },
      { id },
    ));

// Later offers.

test("a connection that asks early makes one offer, and one that asks later another one", () =>
  playCalls(async (c) => {
    c.call();
    await settled();
    c.connection.dispatchEvent(new Event("negotiationneeded"));
    await c.takesOffer("a1");
    await c.hearsAnswer("a1");
    assert.deepEqual(await c.sent(), ["offer"]);
    c.connection.dispatchEvent(new Event("negotiationneeded"));
    assert.deepEqual(await c.sent(), ["offer"]);
  }));

test("what a connection asks for while its answer is relayed is offered behind that", () =>
  playCalls(
    async (c) => {
      await c.hearsOffer("b1");
      c.connection.dispatchEvent(new Event("negotiationneeded"));
      assert.deepEqual(await c.sent(), ["answer b1"]);
      await c.takes("answer", { toPeerId: "bob" });
      assert.deepEqual(await c.sent(), ["offer"]);
    },
    {},
    (server) => server.silentTo.push("answer"),
  ));

test("an offer of another connection of the peer is answered by a new one, of the same by the same", () =>
  playCalls(async (c) => {
    const call = await c.talks();
    await c.hearsOffer("b1", "bob", { fragment: "restarted" });
    assert.equal(c.built.length, 1);
    await c.hearsOffer("b2", "bob-later", { fingerprint: "bob", fragment: "restarted" });
    assert.equal(c.built.length, 1);
    assert.equal(call.state, "connected");
    await c.hearsOffer("b3", "bob-anew");
    assert.deepEqual([c.built.length, c.built[0]?.connectionState, call.state], [2, "closed", "connecting"]);
    assert.deepEqual(await c.sent(), ["answer b1", "answer b2", "answer b3"]);
    c.connection.becomes("connected");
    assert.equal(call.state, "connected");
  }));

test("whose connection a description is of", () => {
  const one = identityOf(sdpOf("s"));
  const other = (session: string, more = {}) => isOther(identityOf(sdpOf(session, { fingerprint: "s", fragment: "s", ...more })), one);
  assert.ok(!other("s") && !other("s", { fragment: "t" }), "of one that restarts ICE");
  assert.ok(!other("t"), "of one that writes a session id into each description, as aiortc does");
  assert.ok(other("t", { fragment: "t" }), "of a program that has one certificate for all");
  assert.ok(other("s", { fingerprint: "t" }));
  assert.ok(!isOther(identityOf(sdpOf("s").replace(/a=fingerprint.*\r\n/, "")), one), "of one that rejects every section");
});

test("an answer of another connection, or one that cannot be set, has this side offer with a new one", () =>
  playCalls(async (c) => {
    await c.talks();
    c.connection.dispatchEvent(new Event("negotiationneeded"));
    await c.takesOffer("a2");
    await c.hearsAnswer("a2", "bob-anew");
    assert.deepEqual([c.built.length, (await c.sent()).length], [2, 2]);
    await c.takesOffer("a3");
    c.connection.faults["remote answer"] = 1;
    await c.hearsAnswer("a3", "bob-anew");
    assert.deepEqual([c.built.length, await c.sent()], [3, ["offer"]]);
    await c.takesOffer("a4");
    await c.hearsAnswer("a4", "bob-anew");
    c.connection.becomes("connected");
    assert.deepEqual(c.heard, ["connected", "connected"]);
  }));

test("a peer that makes a new connection with every offer is hung up on in the end", () =>
  playCalls(async (c) => {
    for (let i = 0; i < 40 && !c.heard.length; i++) await c.hearsOffer(`b${i}`, `bob-${i}`);
    assert.deepEqual([c.heard, c.built.length], [["failed"], 16]);
    assert.equal((await c.sent()).filter((said) => said.startsWith("disconnect")).length > 0, true);
  }));

test("an answer that comes too late is no fault", () =>
  playCalls(
    async (c) => {
      await c.hearsOffer("b1");
      await c.takes("answer", refused("FAILED_PRECONDITION"));
      assert.deepEqual(c.heard, ["peer_hung_up"]);
      await c.hearsOffer("b2");
      await c.hearsOffer("b3");
      await c.takes("answer", refused("FAILED_PRECONDITION"));
      await c.takes("answer", { toPeerId: "bob" });
      assert.deepEqual([c.heard.length, c.called.length], [1, 2]);
      assert.deepEqual((await c.sent()).filter((said) => said.startsWith("answer")), ["answer b1", "answer b2", "answer b3"]);
    },
    {},
    (server) => server.silentTo.push("answer"),
  ));

// Connections that fail.

test("a connection that stood restarts ICE, three times at most until it stands again", () =>
  playCalls(async (c, clock) => {
    const call = await c.talks();
    for (let i = 1; i <= 3; i++) {
      c.connection.becomes("failed");
      assert.deepEqual([call.state, c.connection.restarts], ["connecting", i]);
      await c.takesOffer(`r${i}`);
      await c.hearsAnswer(`r${i}`);
    }
    c.connection.becomes("connected");
    for (let i = 4; i <= 6; i++) {
      c.connection.becomes("failed");
      await c.takesOffer(`r${i}`);
      await c.hearsAnswer(`r${i}`);
    }
    c.connection.becomes("failed");
    assert.deepEqual([call.reason, c.built.length, clock.waiting], ["failed", 1, 0]);
    assert.equal((await c.sent()).at(-1), "disconnect r6");
  }));

test("one that never stood is replaced, and one of which nothing comes as well", () =>
  playCalls(async (c, clock) => {
    c.call();
    await c.takesOffer("a1");
    await c.hearsAnswer("a1");
    c.connection.becomes("connecting");
    c.connection.becomes("failed");
    await c.takesOffer("a2");
    await c.hearsAnswer("a2");
    assert.equal(c.built.length, 2);
    await clock.pass(11);
    assert.equal(c.built.length, 3);
    await c.takesOffer("a3");
    await c.hearsAnswer("a3");
    c.connection.becomes("connecting");
    await clock.pass(25);
    assert.equal(c.built.length, 3);
    c.connection.becomes("connected");
    await clock.pass(60);
    assert.deepEqual([c.built.length, c.heard], [3, ["connected"]]);
  }));

test("a restart that nobody answers is offered again, and given up", () =>
  playCalls(async (c, clock) => {
    const call = await c.talks();
    c.connection.becomes("failed");
    for (let i = 1; call.state !== "ended" && i < 9; i++) {
      await c.takesOffer(`r${i}`);
      await clock.pass(31);
    }
    assert.deepEqual([call.reason, await c.sent()], ["failed", ["offer", "offer", "offer", "disconnect a1", "disconnect r3"]]);
  }));

test("a call that rings rings for as long as it likes", () =>
  playCalls(async (c, clock) => {
    const call = c.call();
    await c.takesOffer("a1");
    await clock.pass(600);
    assert.equal(call.state, "connecting");
    await c.hearsAnswer("a1");
    c.connection.becomes("connected");
    assert.equal(call.state, "connected");
  }));

test("a connection that fails while it negotiates is looked at again", () =>
  playCalls(async (c, clock) => {
    await c.talks();
    c.connection.dispatchEvent(new Event("negotiationneeded"));
    await settled();
    c.connection.becomes("failed");
    await c.takesOffer("a2");
    await c.hearsAnswer("a2");
    assert.equal(c.connection.restarts, 0);
    await clock.pass(11);
    assert.deepEqual([c.connection.restarts, (await c.sent()).length], [1, 2]);
  }));

test("a connection that its program closed is replaced", () =>
  playCalls(async (c) => {
    await c.talks();
    c.connection.becomes("closed");
    await settled();
    assert.deepEqual([c.built.length, await c.sent()], [2, ["offer"]]);
  }));

test("an offer without media is answered, and followed by this side's", () =>
  playCalls(async (c) => {
    const nothing = { more: "a=extmap-allow-mixed" };
    await c.talks();
    await c.hearsOffer("b1", "bob-2", nothing);
    assert.deepEqual([c.built.length, await c.sent()], [2, ["answer b1", "offer"]]);
    await c.takesOffer("a2");
    await c.hearsAnswer("a2", "bob-2");
    // Where neither has anything, neither goes on.
    c.connection.media = nothing.more;
    await c.hearsOffer("b2", "bob-2", nothing);
    assert.deepEqual([c.built.length, await c.sent()], [2, ["answer b2"]]);
    await c.hearsOffer("b3", "bob-2");
    assert.deepEqual(await c.sent(), ["answer b3"]);
  }));

// Sessions.

test("a session that resumes changes nothing", () =>
  playCalls(async (c) => {
    const call = await c.talks();
    await c.played.lose();
    assert.deepEqual([call.state, c.built.length, await c.sent()], ["connected", 1, []]);
    call.hangUp();
    const next = c.call();
    await settled();
    await c.played.lose();
    await c.takesOffer("a2");
    await c.hearsAnswer("a2");
    c.connection.becomes("connected");
    assert.equal(next.state, "connected");
  }));

test("where the session is lost, an offer that is out is made again, and a call that stands goes on", () =>
  playCalls(async (c) => {
    const call = c.call();
    await c.takesOffer("a1");
    await c.sent();
    c.played.server.isNew = true;
    await c.played.lose();
    assert.deepEqual(await c.sent(), ["offer"]);
    assert.deepEqual(c.connection.done, ["createOffer", "local offer"]);
    await c.takesOffer("a2");
    await c.hearsAnswer("a2");
    c.connection.becomes("connected");
    c.played.server.isNew = true;
    await c.played.lose();
    assert.deepEqual([call.state, await c.sent()], ["connected", []]);
  }));

test("where it is lost before the reply, the offer is made again as well", () =>
  playCalls(async (c) => {
    c.call();
    assert.deepEqual(await c.sent(), ["offer"]);
    c.played.server.isNew = true;
    await c.played.lose();
    assert.deepEqual(await c.sent(), ["offer"]);
    await c.takesOffer("a2");
    await c.hearsAnswer("a2");
    c.connection.becomes("connected");
    assert.deepEqual(c.heard, ["connected"]);
  }));

test("where it is lost while the peer is answered, this side offers", () =>
  playCalls(
    async (c) => {
      await c.hearsOffer("b1");
      c.played.server.isNew = true;
      await c.played.lose();
      assert.deepEqual(await c.sent(), ["answer b1", "offer"]);
      await c.takesOffer("a1");
      await c.hearsAnswer("a1", "bob-anew");
      assert.deepEqual([c.built.length, await c.sent()], [2, ["offer"]]);
    },
    {},
    (server) => server.silentTo.push("answer"),
  ));

// ICE servers.

const turn = { urls: "turn:host.example", username: "1", credential: "c" };

test("connections are made with the ICE servers of the server, which are asked for again before they end", () =>
  playCalls(
    async (c, clock) => {
      await c.talks();
      assert.deepEqual(c.connection.configuration, { iceServers: [turn] });
      const asked = () => c.played.session.methods.filter((method) => method === "get_ice_servers").length;
      (await c.talks()).hangUp();
      await c.talks("a2");
      assert.equal(asked(), 1);
      c.calls.call("bob").hangUp();
      clock.skip(575);
      await c.talks("a3");
      assert.equal(asked(), 2);
    },
    {},
    (server, clock) => {
      server.iceServers = { iceServers: [turn], iceServersExpireUnixMs: 1000 * (clock.unix() + 600) };
    },
  ));

test("a server that knows of none is no fault", () =>
  playCalls(
    async (c) => {
      await c.talks();
      assert.deepEqual(c.connection.configuration, { iceServers: [] });
    },
    {},
    (server) => {
      const { reply } = server;
      server.reply = (request) => (request.method === "get_ice_servers" ? refused("UNIMPLEMENTED") : reply(request));
    },
  ));

const newer = { ...turn, username: "2" };
const news = { kind: "ice_servers", servers: [newer], expiresUnixMs: 2e15 };

for (const relayed of [false, true])
  test(`newer ICE servers are given to connections, and ICE is ${relayed ? "" : "not "}restarted`, () =>
    playCalls(
      async (c) => {
        await c.talks();
        c.connection.relayed = relayed;
        await c.hears(news);
        assert.deepEqual(c.connection.configuration, { iceServers: [newer] });
        assert.deepEqual([c.connection.restarts, await c.sent()], relayed ? [1, ["offer"]] : [0, []]);
        c.calls.call("bob").hangUp();
        await c.talks("a2");
        assert.deepEqual(c.connection.configuration, { iceServers: [newer] });
      },
      { id: "zoe" },
    ));

test("the polite side leaves the restart for newer ICE servers to the other one, which serves both", () =>
  playCalls(async (c, clock) => {
    await c.talks();
    c.connection.relayed = true;
    await c.hears(news);
    assert.equal(c.connection.restarts, 0);
    await c.hearsOffer("b1", "bob", { fragment: "restarted" });
    await clock.pass(10);
    assert.deepEqual([c.connection.restarts, await c.sent()], [0, ["answer b1"]]);
    // Nobody restarts, or the other side only adds a track: it has to be this one.
    await c.hears(news);
    await c.hearsOffer("b2", "bob", { fragment: "restarted", more: "m=video 9" });
    await clock.pass(10);
    assert.deepEqual([c.connection.restarts, await c.sent()], [1, ["answer b2", "offer"]]);
    await c.hears(news);
    c.calls.close();
    assert.equal(clock.waiting, 0);
  }));

for (const code of ["UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"] as const)
  test(`a server that gives no ICE servers for ${code} is asked again for the next connection`, () =>
    playCalls(
      async (c) => {
        (await c.talks()).hangUp();
        assert.deepEqual(c.connection.configuration, { iceServers: [] });
        await c.talks("a2");
        assert.deepEqual(c.connection.configuration, { iceServers: [turn] });
      },
      {},
      (server) => {
        const { reply } = server;
        server.iceServers = { iceServers: [turn] };
        let asked = 0;
        server.reply = (request) =>
          request.method === "get_ice_servers" && !asked++ ? refused(code) : reply(request);
      },
    ));

// Hostile peers, and programs that err.

test("a peer that calls and hangs up without a pause is not heard for a while, and others are", () =>
  playCalls(async (c, clock) => {
    for (let i = 0; i < 400; i++) {
      await c.hearsOffer(`b${i}`, `bob-${i}`);
      await c.hearsHangUp(`b${i}`);
    }
    assert.deepEqual([c.called.length, c.built.length], [300, 300]);
    assert.equal((await c.sent()).filter((said) => said.startsWith("disconnect")).length, 0);
    await c.hears({ kind: "offer", fromPeerId: "carol", offerId: "c1", type: "offer", sdp: sdpOf("carol") });
    assert.equal(c.called.length, 301);
    await clock.pass(60);
    await c.hearsOffer("late", "bob-late");
    assert.equal(c.called.length, 302);
  }));

test("a connection that cannot be closed, and comes behind the end of its call, does no harm", () =>
  playCalls(async (c) => {
    const unheard: unknown[] = [];
    const hear = (error: unknown) => void unheard.push(error);
    process.on("unhandledRejection", hear);
    let take = () => {};
    c.building = () => new Promise<void>((resolve) => (take = resolve));
    const { close } = PretendedConnection.prototype;
    PretendedConnection.prototype.close = () => Promise.reject(new Error("never"));
    c.call().hangUp();
    c.call();
    await settled();
    c.calls.call("bob").hangUp();
    take();
    await settled();
    await settled();
    PretendedConnection.prototype.close = close;
    process.off("unhandledRejection", hear);
    assert.deepEqual([c.built.length, unheard], [1, []]);
  }));

test("where the session is lost while a connection is built that answers, this side offers", () =>
  playCalls(
    async (c) => {
      let take = () => {};
      c.building = () => new Promise<void>((resolve) => (take = resolve));
      await c.hearsOffer("b1");
      c.played.server.isNew = true;
      await c.played.lose();
      take();
      await c.takes("answer", refused("FAILED_PRECONDITION"));
      assert.deepEqual([await c.sent(), c.heard], [["answer b1", "offer"], []]);
    },
    {},
    (server) => server.silentTo.push("answer"),
  ));

test("a program may hang up, and call again, in whatever it is told", () =>
  playCalls(async (c) => {
    c.calls.addEventListener("call", ({ detail: call }) => call.hangUp(), { once: true });
    await c.hearsOffer("b1");
    assert.deepEqual([c.heard, c.built.length, await c.sent()], [["hung_up"], 0, ["disconnect b1"]]);
    c.building = (call) => call.hangUp();
    c.call("bob");
    assert.deepEqual([await c.sent(), c.heard.at(-1), c.connection.connectionState], [[], "hung_up", "closed"]);
    c.building = () => {};
    const call = c.call();
    call.addEventListener("connected", () => call.hangUp());
    call.addEventListener("ended", () => void c.call());
    await c.takesOffer("a1");
    await c.hearsAnswer("a1");
    c.connection.becomes("connected");
    assert.deepEqual([call.state, c.calls.call("bob") === call], ["ended", false]);
    assert.deepEqual(await c.sent(), ["offer", "disconnect a1", "offer"]);
  }));

test("no more candidates are added for one description than may be, however many come", () =>
  playCalls(async (c) => {
    await c.talks();
    for (let i = 0; i < 500; i++) await c.hearsCandidate(`${i}`, "a1");
    assert.equal(c.connection.added.length, 128);
    await c.hearsOffer("b1", "bob", { fragment: "restarted" });
    await c.hearsCandidate("after", "b1");
    assert.equal(c.connection.added.at(-1)?.candidate, "after");
  }));

test("answers that come twice, late, or of nobody change nothing", () =>
  playCalls(async (c) => {
    const call = await c.talks();
    await c.hearsAnswer("a1");
    await c.hearsAnswer("a1", "mallory");
    await c.hearsAnswer("a0");
    await c.hears({ kind: "answer", fromPeerId: "mallory", offerId: "a1", type: "answer", sdp: "" });
    assert.deepEqual([call.state, c.built.length, await c.sent()], ["connected", 1, []]);
  }));

