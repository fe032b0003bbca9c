/** The states of a client that outlives its connections, and its rules. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, type CodeName, ConnectionClosed, OutcomeUnknown, SigbridgeError, SignalingError } from "../src/errors.js";
import type { ClientEvent, Reconnecting } from "../src/events.js";
import type { Method, Requests, ServerEvent } from "../src/messages.js";
import { bob, lost, outcomeOf, play, type Played, refused, settled } from "./played.js";

const candidate = (line: string): ServerEvent => ({ kind: "ice_candidate", fromPeerId: "bob", candidate: line });
const waits = (told: ClientEvent[]) =>
  told.filter((event): event is Reconnecting => event.kind === "reconnecting").map((event) => event.waitSeconds);
const pauses = ([first = 0, ...openedAt]: number[]) =>
  openedAt.map((at, i) => Math.round(100 * (at - [first, ...openedAt][i]!)) / 100);

/** Asks, and waits for nothing. */
function start<M extends Method>(played: Played, method: M, params: Requests[M]["params"]) {
  return outcomeOf(played.client.call(method, params));
}

const candidates = (session: Played["session"]) =>
  session.requests.flatMap(({ method, params }) => (method === "ice_candidate" ? [params.candidate] : []));

// When it tries.

test("the pauses double up to ten seconds", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.failures = Array.from({ length: 9 }, lost);
    await played.lose();
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
    assert.deepEqual(played.told[0], { kind: "reconnecting", reason: "connection_lost", waitSeconds: 0.1 });
    assert.deepEqual(pauses([0, ...played.server.openedAt]), [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10]);
  }));

for (const [seconds, pause] of [
  [59, 0.2],
  [61, 0.1],
] as const)
  test(`after ${seconds} s of calm the pause is ${pause} s`, () =>
    play(async (played) => {
      await played.lose();
      await played.clock.pass(seconds);
      await played.lose();
      assert.deepEqual(waits(played.told), [0.1, pause]);
    }));

test("sessions that never stand are no calm", () =>
  play(async (played) => {
    await played.client.announce("alice");
    await played.clock.pass(100);
    played.server.refusals = Array.from({ length: 3 }, () => refused("UNAVAILABLE"));
    await played.lose();
    assert.deepEqual(pauses([100, ...played.server.openedAt]), [0.1, 0.2, 0.4, 0.8]);
  }));

test("a session that stands for a moment is no calm either", () =>
  play(async (played) => {
    await played.clock.pass(100);
    for (let i = 0; i < 3; i++) await played.lose();
    assert.deepEqual(waits(played.told), [0.1, 0.2, 0.4]);
  }));

test("it stays away for as long as it is told", () =>
  play(async (played) => {
    await played.lose(new ConnectionClosed("overload", true, 5000));
    assert.deepEqual(played.server.openedAt, [5]);
    played.server.failures = [new ConnectionClosed("throttled", true, 2500)];
    await played.lose();
    const [, second = 0, third = 0] = played.server.openedAt;
    assert.equal(Math.round(100 * (third - second)), 250);
    played.session.tell({ kind: "server_notice", notice: "draining", message: "", reconnectAfterMs: 4000 });
    const toldAt = played.clock.now() / 1000;
    await played.clock.pass(1);
    await played.lose(new ConnectionClosed("draining", true));
    assert.equal(Math.round(100 * (played.server.openedAt.at(-1)! - toldAt)), 400);
  }));

for (const word of ["replaced", "unauthenticated"])
  for (const atTheDoor of [false, true])
    test(`who is told not to come back does not: ${word}${atTheDoor ? " at the door" : ""}`, () =>
      play(async (played) => {
        const closed = new ConnectionClosed(word, false);
        await played.client.announce("alice");
        played.server.failures = [closed];
        played.session.lose(atTheDoor ? lost() : closed);
        const waiting = start(played, "offer", { toPeerId: "bob", sdp: "v=0" });
        await played.clock.pass(1);
        await played.reading;
        assert.equal(played.client.closed?.reason, word);
        assert.equal(played.client.closed?.reconnect, false);
        assert.deepEqual(played.ofConnection, atTheDoor ? ["reconnecting"] : []);
        assert.equal(played.server.openedAt.length, atTheDoor ? 1 : 0);
        assert.equal(((await waiting) as ConnectionClosed).reason, word);
        await assert.rejects(played.client.listPeers(), { reason: word });
      }));

test("it gives up when it is told to", () =>
  play(
    async (played) => {
      played.server.failures = [lost(), lost(), lost(), "never"];
      played.session.lose();
      await played.clock.until(() => played.client.closed !== undefined);
      assert.equal(Math.round(played.clock.now()), 7000);
      assert.equal(played.client.closed?.reason, "connection_lost");
      assert.deepEqual(played.ofConnection, ["reconnecting"]);
    },
    { giveUpAfterSeconds: 7 },
  ));

test("it does not give up where it came back in time", () =>
  play(
    async (played) => {
      await played.lose();
      await played.clock.pass(5);
      played.server.failures = [lost(), lost(), lost(), lost()];
      await played.lose();
      await played.clock.pass(20);
      assert.equal(played.client.closed, undefined);
    },
    { giveUpAfterSeconds: 7 },
  ));

test("a source of tokens that fails is asked again, and what it throws is not told", () =>
  play(async (played) => {
    for (const failure of [new TypeError("canary"), new SigbridgeError("none")]) {
      played.server.failures = [failure];
      await played.lose();
    }
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed", "reconnecting", "resumed"]);
    assert(!JSON.stringify(played.told).includes("canary"));
  }));

test("a fault of its own ends it", (context) =>
  play(async (played) => {
    const { mock } = context.mock.method(console, "error", () => {});
    await played.client.announce("alice");
    Object.defineProperty(played.clock, "chance", {
      get() {
        throw new Error("a fault");
      },
    });
    played.session.lose();
    await played.reading;
    assert.equal(played.client.closed?.reason, "internal_error");
    assert.equal(mock.callCount(), 1);
  }));

/** Plays in what is taken for a page, to which events of the browser happen. */
async function playInPage(
  use: (
    played: Parameters<Parameters<typeof play>[0]>[0],
    happens: (kind: string, persisted?: boolean) => void,
  ) => Promise<void>,
): Promise<void> {
  const page = new EventTarget();
  const globals = globalThis as { addEventListener?: unknown };
  globals.addEventListener = page.addEventListener.bind(page);
  try {
    await play((played) =>
      use(played, (kind, persisted) => page.dispatchEvent(Object.assign(new Event(kind), { persisted }))),
    );
  } finally {
    delete globals.addEventListener;
  }
}

test("a waiting client that is woken tries at once, but not before it may", () =>
  playInPage(async (played, happens) => {
    happens("online");
    played.server.failures = Array.from({ length: 9 }, lost);
    played.session.lose();
    await played.clock.until(() => played.server.openedAt.length === 9);
    happens("online");
    await settled();
    await played.clock.pass(0);
    assert.equal(played.server.openedAt.length, 10);
    await played.untilBack();
    const before = played.clock.now();
    played.session.lose(new ConnectionClosed("draining", true, 3000));
    await played.clock.pass(1);
    happens("pageshow");
    await played.untilBack(3);
    assert.equal(Math.round(played.server.openedAt.at(-1)! * 1000 - before), 3000);
  }));

test("a page that goes into the browser's cache is lost, not gone, and comes back when it is shown", () =>
  playInPage(async (played, happens) => {
    await played.client.announce("alice");
    happens("pagehide", false);
    await settled();
    assert.deepEqual(played.ofConnection, []);
    const before = played.server.openedAt.length;
    happens("pagehide", true);
    await settled();
    assert.deepEqual(played.ofConnection, ["reconnecting"]);
    happens("pageshow", true);
    await played.untilBack();
    assert.equal(played.server.openedAt.length, before + 1);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
  }));

// Coming back.

test("before an announce nothing is announced", () =>
  play(async (played) => {
    await played.lose();
    assert.deepEqual(played.session.sent, []);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
    assert.equal((await played.client.listPeers()).count, 0);
  }));

test("the whole announce comes again, with the token and what has arrived", () =>
  play(async (played) => {
    const said = { peerId: "alice", metadata: { k: "v" }, room: "r" };
    await played.client.announce("alice", { metadata: { k: "v" }, room: "r" });
    assert.equal(played.client.peerId, "alice");
    assert.deepEqual(played.session.requests, [{ method: "announce", params: { ...said, resumable: true } }]);
    played.session.tell(bob, 1);
    played.session.tell(candidate("1"), 2);
    await played.lose();
    const params = { ...said, resumable: true, resumeToken: "token'", lastSeq: 2 };
    assert.deepEqual(played.session.requests, [{ method: "announce", params }]);
    for (const seq of [1, 2, 3]) played.session.tell(candidate(`${seq}`), seq);
    await settled();
    assert.deepEqual(played.kinds, ["peer_joined", "ice_candidate", "reconnecting", "resumed", "ice_candidate"]);
    assert.equal((played.told.at(-1) as { candidate?: string }).candidate, "3");
  }));

test("requests that are open come again first, in its order, with its numbers", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.silentTo = ["offer", "ice_candidate", "disconnect"];
    const waiting = [
      start(played, "offer", { toPeerId: "bob", sdp: "v=0" }),
      start(played, "ice_candidate", { toPeerId: "bob", candidate: "1" }),
      start(played, "disconnect", { peerId: "bob" }),
    ];
    await start(played, "list_peers", { pageSize: 7 });
    const before = played.session.sent.slice(1, 4);
    assert.deepEqual(
      before.map(([, { method }]) => method),
      ["offer", "ice_candidate", "disconnect"],
    );
    played.session.lose();
    void start(played, "ice_candidate", { toPeerId: "bob", candidate: "2" });
    const question = start(played, "list_peers", { pageSize: 8 });
    await played.untilBack();
    await question;
    assert.deepEqual(played.session.sent.slice(1, 4), before);
    assert.deepEqual(played.session.methods.slice(4), ["ice_candidate", "list_peers"]);
    assert(played.session.sent[4]![0] > before[2]![0]);
    const replies = [{ offerId: "o", toPeerId: "bob" }, { toPeerId: "bob" }, { peerId: "bob" }];
    before.forEach(([number], i) => played.session.reply(number, replies[i]!));
    assert.deepEqual(await Promise.all(waiting), replies);
  }));

test("a session that is lost while it repeats is followed by another", () =>
  play(async (played) => {
    await played.client.announce("alice");
    const waiting = ["0", "1", "2"].map((line) => start(played, "ice_candidate", { toPeerId: "bob", candidate: line }));
    played.server.silentTo = [];
    const { reply } = played.server;
    played.server.reply = (request) => {
      if (request.method !== "ice_candidate" || request.params.candidate !== "1" || played.server.sessions.length !== 2)
        return reply(request);
      played.session.lose();
      return undefined;
    };
    await played.lose();
    await played.clock.until(() => played.server.sessions.length === 3);
    assert.deepEqual(await Promise.all(waiting), [{ toPeerId: "bob" }, { toPeerId: "bob" }, { toPeerId: "bob" }]);
    assert.deepEqual(candidates(played.server.sessions[1]!), ["0", "1"]);
    assert.deepEqual(candidates(played.server.sessions[2]!), ["0", "1", "2"]);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed", "reconnecting", "resumed"]);
  }));

test("a request without a peer is sent until it has its response", () =>
  play(async (played) => {
    played.server.silentTo = ["list_peers"];
    const question = start(played, "list_peers", {});
    for (let i = 0; i < 3; i++) {
      await played.clock.pass(1);
      await played.lose();
    }
    played.server.silentTo = [];
    await played.lose();
    assert.deepEqual(await question, { peers: [], count: 0, nextPageToken: "" });
  }));

test("a token that was shown in a session is shown at the next one", () =>
  play(
    async (played) => {
      await played.client.authenticate("fresh");
      await played.lose();
      assert.deepEqual(played.server.tokens, ["first", "fresh"]);
    },
    { token: "first" },
  ));

test("an announce without a response is tried again", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.refusals = [undefined];
    await played.lose();
    assert.equal(played.server.sessions.length, 3);
    assert(played.clock.now() > 10_000 && played.clock.now() < 11_000);
    assert.equal(played.server.givenUp, 1);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
  }));

const PASSING = ["DEADLINE_EXCEEDED", "ALREADY_EXISTS", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"];
for (const code of Object.keys(Code) as CodeName[])
  test(`an announce that is refused as ${code}`, () =>
    play(async (played) => {
      await played.client.announce("alice");
      played.server.refusals = [refused(code, { retry_after_ms: 1500 })];
      played.session.lose();
      if (PASSING.includes(code)) {
        await played.untilBack();
        assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
        assert.deepEqual(pauses(played.server.openedAt), [1.5]);
        assert.equal(played.server.left, 1);
      } else {
        await played.clock.until(() => played.client.closed !== undefined);
        assert.equal(played.client.closed?.reason, code.toLowerCase());
        assert.equal(played.client.closed?.reconnect, false);
      }
    }));

test("what belongs to a session that hangs is not written in the next one", () =>
  play(
    async (played) => {
      await played.client.announce("alice");
      played.server.hangs = true;
      played.server.silentTo = ["authenticate"];
      const { reply } = played.server;
      played.server.reply = (request) => {
        if (request.method !== "announce" || played.server.sessions.length !== 2) return reply(request);
        const { session } = played;
        played.clock.after(6000, () => session.reply(session.sent[0]![0], refused("UNAVAILABLE")));
        return undefined;
      };
      await played.lose();
      assert.deepEqual(played.server.sessions[1]?.methods, ["announce", "authenticate"]);
      assert.deepEqual(played.session.methods, ["announce"]);
      played.server.hangs = false;
    },
    { token: () => "opaque" },
  ));

test("a session that was left is not heard any more", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.hangs = true;
    played.server.refusals = [refused("UNAVAILABLE")];
    await played.lose();
    assert.equal(played.server.sessions.length, 3);
    const [, left] = played.server.sessions;
    assert.equal(left?.ended, undefined);
    left?.tell(bob, 1);
    await settled();
    assert.deepEqual(played.kinds, ["reconnecting", "resumed"]);
    played.server.hangs = false;
  }));

test("another one of its id is its own shadow for so long only", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.refusals = Array.from({ length: 100 }, () => refused("ALREADY_EXISTS"));
    played.session.lose();
    await played.clock.until(() => played.client.closed !== undefined);
    assert.equal(played.client.closed?.reason, "already_exists");
    assert(played.clock.now() >= 60_000 && played.clock.now() < 71_000);
  }));

// Losing the peer.

test("a peer that is lost is announced anew, and its requests are unknown", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.session.tell(bob, 1);
    played.server.silentTo = ["offer", "disconnect", "list_peers"];
    const waiting: Promise<unknown>[] = [
      start(played, "offer", { toPeerId: "bob", sdp: "v=0" }),
      start(played, "disconnect", { peerId: "bob" }),
    ];
    const question = start(played, "list_peers", {});
    played.server.isNew = true;
    played.session.lose();
    waiting.push(start(played, "ice_candidate", { toPeerId: "bob", candidate: "1" }));
    played.server.silentTo = [];
    await played.untilBack();
    assert.deepEqual(played.ofConnection, ["reconnecting", "session_lost"]);
    assert.deepEqual(played.told.at(-1), { kind: "session_lost", peerId: "alice", otherPeers: ["bob"] });
    for (const one of waiting) assert((await one) instanceof OutcomeUnknown);
    assert.deepEqual(await question, { peers: [], count: 0, nextPageToken: "" });
    assert.deepEqual(played.session.methods, ["announce", "list_peers"]);
    // It is another peer, whose events are numbered from 1 and whose token is another.
    played.session.tell(bob, 1);
    await settled();
    assert.deepEqual(played.told.at(-1), bob);
    played.server.isNew = false;
    await played.lose();
    const [again] = played.session.requests;
    assert(again?.method === "announce");
    assert.equal(again.params.resumeToken, played.server.token);
    assert.equal(again.params.lastSeq, 1);
    assert.equal(played.ofConnection.at(-1), "resumed");
  }));

test("a server that resumes nothing is announced to anew", () =>
  play(async (played) => {
    played.server.resumable = false;
    await played.client.announce("alice");
    played.session.tell(bob, 3);
    await played.lose();
    const params = { peerId: "alice", resumable: true, resumeToken: "", lastSeq: 0 };
    assert.deepEqual(played.session.requests, [{ method: "announce", params }]);
    assert.deepEqual(played.ofConnection, ["reconnecting", "session_lost"]);
  }));

// Announcing and leaving.

test("an announce whose reply was lost comes again, and outlasts its own shadow", () =>
  play(async (played) => {
    played.server.silentTo = ["announce"];
    const announcing = played.client.announce("alice");
    played.server.silentTo = [];
    played.server.refusals = Array.from({ length: 3 }, () => refused("ALREADY_EXISTS"));
    played.session.lose();
    await played.clock.until(() => played.client.peerId === "alice");
    assert.equal((await announcing).resumable, true);
    assert.deepEqual(played.session.methods, ["announce", "announce", "announce", "announce"]);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
    await played.lose();
    const [again] = played.session.requests;
    assert(again?.method === "announce" && again.params.resumeToken === played.server.token);
  }));

test("who is announced elsewhere is refused at once", () =>
  play(async (played) => {
    await played.lose();
    played.server.refusals = [refused("ALREADY_EXISTS")];
    await assert.rejects(played.client.announce("alice"), { code: "ALREADY_EXISTS" });
  }));

test("a peer that wants to be another one, whom there is, is refused at once", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.silentTo = ["announce"];
    const announcing = start(played, "announce", { peerId: "carol" });
    played.server.silentTo = [];
    const { reply } = played.server;
    played.server.reply = (request) =>
      request.method === "announce" && request.params.peerId === "carol" ? refused("ALREADY_EXISTS") : reply(request);
    await played.lose();
    assert.equal(((await announcing) as SignalingError).code, "ALREADY_EXISTS");
    assert.equal(played.client.peerId, "alice");
  }));

test("closing ends an announce that waits for its own shadow", () =>
  play(async (played) => {
    played.server.silentTo = ["announce"];
    const announcing = start(played, "announce", { peerId: "alice" });
    played.server.silentTo = [];
    played.server.refusals = Array.from({ length: 100 }, () => refused("ALREADY_EXISTS"));
    played.session.lose();
    await played.clock.pass(20);
    await played.client.close();
    assert.equal(((await announcing) as ConnectionClosed).reason, "client_left");
  }));

test("an announce that stays refused is told", () =>
  play(async (played) => {
    played.server.silentTo = ["announce"];
    let outcome: unknown;
    void start(played, "announce", { peerId: "alice" }).then((told) => (outcome = told));
    played.server.silentTo = [];
    played.server.refusals = Array.from({ length: 100 }, () => refused("ALREADY_EXISTS"));
    played.session.lose();
    await played.clock.until(() => outcome !== undefined);
    assert.equal((outcome as SignalingError).code, "ALREADY_EXISTS");
    assert(played.clock.now() >= 60_000 && played.clock.now() < 71_000);
  }));

test("an announce that waits for its own shadow is written once on the next session", () =>
  play(async (played) => {
    played.server.silentTo = ["announce"];
    const announcing = played.client.announce("alice");
    played.server.silentTo = [];
    played.server.refusals = [refused("ALREADY_EXISTS")];
    await played.lose();
    await settled();
    assert.deepEqual(played.session.methods, ["announce"]);
    played.server.silentTo = ["announce"];
    // The pause of the announce is longer than that of the connection.
    played.clock.chance = 0;
    await played.lose();
    await played.clock.pass(60);
    assert.deepEqual(played.session.methods, ["announce"]);
    played.session.reply(played.session.sent[0]![0], { peerId: "alice", peersCount: 0, otherPeers: [] });
    await announcing;
  }));

test("who has left comes back as nobody", () =>
  play(async (played) => {
    await played.client.announce("alice");
    await played.client.disconnect("alice");
    await played.lose();
    assert.deepEqual(played.session.sent, []);
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
  }));

test("who has asked to leave does not come back to ask again", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.session.tell({ kind: "offer", fromPeerId: "bob", offerId: "bob_alice_1", sdp: "v=0", type: "offer" }, 1);
    played.server.silentTo = ["disconnect", "answer"];
    const leaving = start(played, "disconnect", { peerId: "alice" });
    await played.lose();
    assert((await leaving) instanceof OutcomeUnknown);
    assert.deepEqual(played.session.sent, []);
    assert.deepEqual(played.told.at(-1), { kind: "session_lost", peerId: "alice", otherPeers: [] });
    void outcomeOf(played.client.answer("bob", "v=0"));
    assert.deepEqual(played.session.requests, [
      { method: "answer", params: { toPeerId: "bob", sdp: "v=0", offerId: "" } },
    ]);
  }));

for (const isNew of [false, true])
  test(`who wants to leave while the connection is lost does it when it stands${isNew ? " as another" : ""}`, () =>
    play(async (played) => {
      await played.client.announce("alice");
      played.server.isNew = isNew;
      played.session.lose();
      const leaving = start(played, "disconnect", { peerId: "alice" });
      await played.untilBack();
      assert.deepEqual(await leaving, { peerId: "alice" });
      assert.deepEqual(played.session.methods, ["announce", "disconnect"]);
      await played.lose();
      assert.deepEqual(played.session.sent, []);
    }));

// Many requests, and closing.

test("at most so many requests are open", () =>
  play(async (played) => {
    await played.client.announce("alice");
    const calls = Array.from({ length: 258 }, (_, i) =>
      start(played, "ice_candidate", { toPeerId: "bob", candidate: `${i}` }),
    );
    assert.equal(played.session.sent.length, 257);
    played.session.reply(played.session.sent[1]![0], { toPeerId: "bob" });
    assert.deepEqual(await calls[0], { toPeerId: "bob" });
    await settled();
    assert.equal(played.session.sent.length, 258);
    await played.lose();
    assert.equal(played.session.sent.length, 257);
    const lines = Array.from({ length: 256 }, (_, i) => `${i + 1}`);
    assert.deepEqual(candidates(played.session), lines);
    await played.client.close();
    const reasons = await Promise.all(calls.slice(1));
    assert.deepEqual(new Set(reasons.map((closed) => (closed as ConnectionClosed).reason)), new Set(["client_left"]));
  }));

const WAYS: Record<string, (played: Played) => Promise<void>> = {
  standing: async () => {},
  waiting: async (played) => {
    played.session.lose();
  },
  connecting: async (played) => {
    played.server.failures = ["never"];
    played.session.lose();
    await played.clock.until(() => played.server.openedAt.length === 1);
  },
  resuming: async (played) => {
    played.server.refusals = [undefined];
    played.session.lose();
    await played.clock.until(() => played.server.sessions.length === 2 && played.session.sent.length === 1);
  },
  closed: async (played) => {
    played.session.lose(new ConnectionClosed("replaced", false));
    await played.reading;
  },
};
for (const [state, reach] of Object.entries(WAYS))
  test(`closing ends all at once while it is ${state}`, () =>
    play(async (played) => {
      await played.client.announce("alice");
      const waiting = start(played, "offer", { toPeerId: "bob", sdp: "v=0" });
      await reach(played);
      const question = start(played, "list_peers", {});
      const isOpen = !played.session.ended;
      const closingAt = played.clock.now();
      await played.client.close();
      assert.equal(played.clock.now(), closingAt);
      const word = state === "closed" ? "replaced" : "client_left";
      assert.equal(played.client.closed?.reason, word);
      assert.equal(((await waiting) as ConnectionClosed).reason, word);
      if (state !== "standing") assert.equal(((await question) as ConnectionClosed).reason, word);
      assert.equal(played.server.left, isOpen ? 1 : 0);
      await played.client.close();
    }));

test("a session that opens when the client is closed is closed, too", () => {
  let letOpen = () => {};
  return play(
    async (played) => {
      played.session.lose();
      await played.clock.until(() => played.server.sessions.length === 2);
      await played.client.close();
      letOpen();
      await settled();
      assert.equal(played.server.left, 1);
      assert.deepEqual(played.session.sent, []);
    },
    {},
    (server) => {
      const { open } = server;
      server.open = async (...how) => {
        const session = await open(...how);
        if (server.sessions.length > 1) await new Promise<void>((resolve) => (letOpen = resolve));
        return session;
      };
    },
  );
});

test("who is closed while it comes back does not stand, however late the farewell is", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.refusals = [undefined];
    played.session.lose();
    await played.clock.until(() => played.server.sessions.length === 2 && played.session.sent.length === 1);
    played.server.hangs = true;
    void played.client.close();
    await played.clock.pass(60);
    assert.deepEqual([played.server.sessions.length, played.server.givenUp], [2, 1]);
  }));

test("closing does not wait for ever for a server that says nothing", () =>
  play(async (played) => {
    played.server.hangs = true;
    let isClosed = false;
    void played.client.close().then(() => (isClosed = true));
    await played.clock.until(() => isClosed);
    assert.equal(Math.round(played.clock.now()), 2000);
    assert.equal(played.server.givenUp, 1);
  }));

test("what was told before the end is still read", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.session.tell(bob, 1);
    played.session.lose(new ConnectionClosed("revoked", false));
    await played.reading;
    assert.deepEqual(played.told, [bob]);
  }));

// Without `resume`.

test("a client that does not resume ends with its connection, and announces as it is told to", () =>
  play(
    async (played) => {
      await played.client.announce("alice");
      assert.deepEqual(played.session.requests, [{ method: "announce", params: { peerId: "alice" } }]);
      const offering = start(played, "offer", { toPeerId: "bob", sdp: "v=0" });
      played.session.lose();
      await played.reading;
      assert.equal(played.client.closed?.reason, "connection_lost");
      assert.equal(((await offering) as ConnectionClosed).reason, "connection_lost");
      assert(!((await offering) instanceof OutcomeUnknown));
      await played.clock.pass(60);
      assert.deepEqual([played.server.sessions.length, played.kinds], [1, []]);
    },
    { resume: false },
  ));

test("what is no description is refused, and nothing is thrown at once", () =>
  play(async (played) => {
    played.server.silentTo = [];
    for (const nothing of [null, undefined])
      for (const ask of ["offer", "answer"] as const) assert(await outcomeOf(played.client[ask]("bob", nothing as never)));
    assert.deepEqual(played.session.methods, ["offer", "answer", "offer", "answer"]);
  }));

// ICE servers.

for (const [how, ask] of [
  ["an announce", (played: Played) => played.client.announce("alice", { iceServers: true })],
  [
    "a request",
    async (played: Played) => {
      await played.client.announce("alice");
      return played.client.getIceServers();
    },
  ],
] as const)
  for (const isNew of [false, true])
    test(`who has asked for ICE servers by ${how} is told of those of ${isNew ? "a new peer" : "the next session"}`, () =>
      play(async (played) => {
        const given = await ask(played);
        assert.deepEqual(given.iceServers, [{ urls: "stun:stun.example.org" }]);
        assert.equal(given.iceServersExpireUnixMs, 5);
        played.server.isNew = isNew;
        const servers = [{ urls: "stun:other.example.org" }];
        for (const iceServersExpireUnixMs of [6, undefined]) {
          played.server.iceServers = { iceServers: servers, ...(iceServersExpireUnixMs && { iceServersExpireUnixMs }) };
          await played.lose();
          await settled();
          const [last] = played.session.requests;
          assert.equal((last?.params as { iceServers?: boolean }).iceServers, true);
          const [before, told] = played.told.slice(-2);
          assert.equal(before?.kind, isNew ? "session_lost" : "resumed");
          assert.deepEqual({ ...told }, { kind: "ice_servers", servers, expiresUnixMs: iceServersExpireUnixMs });
        }
      }));

test("who has not asked for ICE servers does not in the next session", () =>
  play(async (played) => {
    await played.client.announce("alice");
    await played.lose();
    assert.deepEqual(played.kinds, ["reconnecting", "resumed"]);
    assert.ok(!("iceServers" in (played.session.requests[0]?.params as object)));
  }));

test("a question for ICE servers is asked again in the next session", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.silentTo.push("get_ice_servers");
    const asked = outcomeOf(played.client.getIceServers());
    played.server.isNew = true;
    played.server.silentTo.pop();
    await played.lose();
    assert.deepEqual(await asked, played.server.iceServers);
  }));
