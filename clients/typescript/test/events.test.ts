/** Events, handed to iterators and to listeners, and the calls that they belong to. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionClosed } from "../src/errors.js";
import type { ClientEvent } from "../src/events.js";
import type { AnswerReceived, ServerEvent } from "../src/messages.js";
import { connectBy } from "../src/client.js";
import { bob, FakeServer, outcomeOf, play, type Played, refused, settled, VirtualClock } from "./played.js";

const left = (peerId: string): ServerEvent => ({ kind: "peer_left", peerId });
const answer = (offerId: string): AnswerReceived => ({
  kind: "answer",
  fromPeerId: "bob",
  sdp: "v=0",
  type: "answer",
  offerId,
});
const offered = (offerId: string): ServerEvent => ({
  kind: "offer",
  fromPeerId: "bob",
  offerId,
  sdp: "v=0",
  type: "offer",
});

/** A client that nobody listens to yet. */
async function unheard() {
  const clock = new VirtualClock();
  const server = new FakeServer(clock);
  const client = await connectBy({ fake: server.open }, "fake://host", { keepaliveSeconds: 0 }, clock);
  return { clock, server, client };
}

test("events wait for the first iterator, and it goes on where the one before was left", async () => {
  const { server, client } = await unheard();
  server.session.tell(bob);
  server.session.tell(left("bob"));
  server.session.tell(left("carol"));
  await settled();
  for await (const event of client) {
    assert.deepEqual(event, bob);
    break;
  }
  const told: ClientEvent[] = [];
  const reading = (async () => {
    for await (const event of client.events()) told.push(event);
  })();
  await client.close();
  await reading;
  assert.deepEqual(told, [left("bob"), left("carol")]);
  assert.deepEqual(await client.events().next(), { value: undefined, done: true });
});

test("two iterators are handed all, each at its own pace", async () => {
  const { server, client } = await unheard();
  const [one, other] = [client.events(), client.events()];
  server.session.tell(bob);
  server.session.tell(left("bob"));
  assert.deepEqual((await one.next()).value, bob);
  assert.deepEqual((await one.next()).value, left("bob"));
  const waiting = one.next();
  assert.deepEqual((await other.next()).value, bob);
  assert.deepEqual(await other.return?.(), { value: undefined, done: true });
  assert.deepEqual(await other.next(), { value: undefined, done: true });
  await client.close();
  assert.equal((await waiting).done, true);
});

test("an iterator that is left lets go of who waits for its next event", async () => {
  const { client } = await unheard();
  const iterator = client.events();
  const waiting = iterator.next();
  await iterator.return?.();
  assert.equal((await waiting).done, true);
  await client.close();
});

test("events wait for listeners, and those of one turn all hear the first one", async () => {
  const { server, client } = await unheard();
  server.session.tell(bob);
  await settled();
  const heard: string[] = [];
  client.addEventListener("peer_joined", ({ detail }) => heard.push(`one ${detail.peerId}`));
  client.addEventListener("peer_joined", { handleEvent: ({ detail }) => heard.push(`other ${detail.peerId}`) });
  const stopped = () => heard.push("stopped");
  client.addEventListener("peer_joined", stopped);
  client.removeEventListener("peer_joined", stopped);
  client.addEventListener("closed", ({ detail }) => heard.push(detail.reason));
  await settled();
  assert.deepEqual(heard, ["one bob", "other bob"]);
  await client.close();
  await settled();
  assert.deepEqual(heard, ["one bob", "other bob", "client_left"]);
});

test("a listener for the end alone lets all other events wait", async () => {
  const { server, client } = await unheard();
  const ends: string[] = [];
  client.addEventListener("closed", ({ detail }) => ends.push(detail.reason));
  server.session.tell(bob);
  await settled();
  const iterator = client.events();
  server.session.lose(new ConnectionClosed("replaced", false));
  await settled();
  assert.deepEqual(ends, ["replaced"]);
  assert.deepEqual((await iterator.next()).value, bob);
  assert.equal((await iterator.next()).done, true);
  await settled();
  assert.deepEqual(ends, ["replaced"]);
});

test("nothing is told after the end, whatever comes before the farewell", async () => {
  const { server, client, clock } = await unheard();
  const told: string[] = [];
  for (const kind of ["peer_joined", "closed"] as const) client.addEventListener(kind, () => told.push(kind));
  server.hangs = true;
  const closing = client.close();
  server.session.tell(bob);
  await clock.pass(2);
  await closing;
  assert.deepEqual(told, ["closed"]);
});

test("who listens for the end when all is over is told", async () => {
  const { client } = await unheard();
  await client.close();
  await settled();
  const ends: string[] = [];
  client.addEventListener("closed", ({ detail }) => ends.push(detail.reason));
  await settled();
  client.addEventListener("closed", ({ detail }) => ends.push(detail.reason));
  await settled();
  assert.deepEqual(ends, ["client_left"]);
});

test("iterators and listeners are told the same", async () => {
  const { server, client } = await unheard();
  const heard: ClientEvent[] = [];
  const read: ClientEvent[] = [];
  for (const kind of ["peer_joined", "peer_left", "reconnecting", "resumed"] as const)
    client.addEventListener(kind, ({ detail }) => heard.push(detail));
  const reading = (async () => {
    for await (const event of client) read.push(event);
  })();
  server.session.tell(bob);
  server.session.tell(left("bob"));
  await settled();
  assert.deepEqual(heard, [bob, left("bob")]);
  await client.close();
  await reading;
  assert.deepEqual(read, heard);
});

test("a listener that throws breaks nothing", async () => {
  const { server, client } = await unheard();
  const reported: unknown[] = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => reported.push(error));
  const heard: string[] = [];
  client.addEventListener("peer_left", () => {
    throw new Error("no");
  });
  client.addEventListener("peer_left", ({ detail }) => heard.push(detail.peerId));
  server.session.tell(left("bob"));
  server.session.tell(left("carol"));
  await settled();
  await settled();
  process.removeAllListeners("uncaughtException");
  for (const listener of listeners) process.on("uncaughtException", listener);
  assert.deepEqual(heard, ["bob", "carol"]);
  assert.equal(reported.length, 2);
  await client.close();
});

/** Offers to bob, to whom the server gives ids as they are said. */
async function offering({ server, client }: Pick<Played, "server" | "client">, ...offerIds: string[]) {
  server.silentTo = ["answer", "ice_candidate", "disconnect"];
  const { reply } = server;
  server.reply = (request) =>
    request.method === "offer" ? { offerId: offerIds.shift()!, toPeerId: "bob" } : reply(request);
  await client.offer("bob", "v=0");
}

test("what is said belongs to the offer that there is", () =>
  play(async (played) => {
    const { client } = played;
    await client.announce("alice");
    await offering(played, "alice_bob_1");
    void outcomeOf(client.iceCandidate("bob", { candidate: "c", sdpMid: "0", sdpMLineIndex: 0, usernameFragment: "u" }));
    void outcomeOf(client.iceCandidate("bob", null));
    void outcomeOf(client.iceCandidate("bob", "c", { offerId: "" }));
    played.session.tell(offered("bob_alice_1"));
    await settled();
    void outcomeOf(client.answer("bob", { type: "pranswer", sdp: "v=1" }));
    void outcomeOf(client.answer("bob", "v=0", { offerId: "bob_alice_0" }));
    void outcomeOf(client.disconnect("bob"));
    const none = { sdpMid: undefined, sdpMLineIndex: undefined, usernameFragment: undefined };
    const offerId = "alice_bob_1";
    const to = { toPeerId: "bob" };
    const whole = { ...to, candidate: "c", sdpMid: "0", sdpMLineIndex: 0, usernameFragment: "u", offerId };
    assert.deepEqual(
      played.session.requests.slice(1).map(({ params }) => params),
      [
        { ...to, sdp: "v=0" },
        whole,
        { ...to, ...none, candidate: "", offerId },
        { ...to, ...none, candidate: "c", offerId: "" },
        { ...to, sdp: "v=1", type: "pranswer", offerId: "bob_alice_1" },
        { ...to, sdp: "v=0", offerId: "bob_alice_0" },
        { peerId: "bob", offerId: "" },
      ],
    );
  }));

test("an answer is compared with what is out when it is handed out", async () => {
  const { server, client } = await unheard();
  await client.announce("alice");
  await offering({ server, client }, "alice_bob_1", "alice_bob_2");
  server.session.tell(answer("alice_bob_1"));
  server.session.tell(bob);
  await settled();
  void outcomeOf(client.disconnect("bob"));
  await client.offer("bob", "v=0");
  assert.deepEqual((await client.events().next()).value, bob);
  await client.close();
});

for (const isRefused of [false, true])
  test(`events are held back while a later offer awaits its reply${isRefused ? ", which refuses it" : ""}`, () =>
    play(async (played) => {
      const { client, server } = played;
      await client.announce("alice");
      await offering(played, "alice_bob_1");
      const reply = server.reply;
      server.reply = (request) => (request.method === "offer" ? undefined : reply(request));
      void outcomeOf(client.offer("bob", "v=0"));
      played.session.tell(answer("alice_bob_1"));
      played.session.tell(bob);
      await settled();
      assert.deepEqual(played.told, []);
      const [number] = played.session.sent.at(-1)!;
      played.session.reply(number, isRefused ? refused("NOT_FOUND") : { offerId: "alice_bob_2", toPeerId: "bob" });
      await settled();
      assert.deepEqual(played.told, isRefused ? [answer("alice_bob_1"), bob] : [bob]);
    }));

test("events are held back while a later offer awaits its reply, until the client is closed", async () => {
  const { server, client } = await unheard();
  await client.announce("alice");
  await offering({ server, client }, "alice_bob_1");
  server.reply = () => undefined;
  const told: ClientEvent[] = [];
  for (const kind of ["answer", "peer_joined", "closed"] as const)
    client.addEventListener(kind, ({ detail }) => told.push(detail));
  void outcomeOf(client.offer("bob", "v=0"));
  server.session.tell(answer("alice_bob_1"));
  server.session.tell(bob);
  server.session.lose(new ConnectionClosed("replaced", false));
  await settled();
  assert.deepEqual(told, [bob, { kind: "closed", reason: "replaced" }]);
});

test("calls survive a resume", () =>
  play(async (played) => {
    await played.client.announce("alice");
    await offering(played, "alice_bob_1");
    played.session.tell({ ...offered("carol_alice_1"), fromPeerId: "carol" } as ServerEvent, 1);
    await played.lose();
    void outcomeOf(played.client.iceCandidate("bob", "c"));
    void outcomeOf(played.client.answer("carol", "v=0"));
    const said = played.session.requests.slice(1).map(({ params }) => (params as { offerId?: string }).offerId);
    assert.deepEqual(said, ["alice_bob_1", "carol_alice_1"]);
    played.session.tell(answer("another"), 2);
    played.session.tell(answer("alice_bob_1"), 3);
    await settled();
    assert.deepEqual(played.kinds, ["offer", "reconnecting", "resumed", "answer"]);
  }));

test("what was not read of a lost peer is gone, and so are its offers; notices stay", async () => {
  const { server, client, clock } = await unheard();
  await client.announce("alice");
  await offering({ server, client }, "alice_bob_1", "alice_bob_2");
  server.session.tell(offered("bob_alice_1"), 1);
  server.session.tell({ kind: "server_notice", notice: "draining", message: "" });
  server.isNew = true;
  server.session.lose();
  await clock.until(() => server.sessions.length === 2 && server.session.requests.length === 1);
  void outcomeOf(client.iceCandidate("bob", "c"));
  assert.deepEqual((server.session.requests.at(-1)?.params as { offerId?: string }).offerId, "");
  await client.offer("bob", "v=0");
  server.session.tell(answer("alice_bob_2"), 1);
  const told: string[] = [];
  const reading = (async () => {
    for await (const { kind } of client) told.push(kind);
  })();
  await client.close();
  await reading;
  assert.deepEqual(told, ["server_notice", "reconnecting", "session_lost", "answer"]);
});

test("a hang-up behind a request that was never sent ends no offer before it", () =>
  play(async (played) => {
    const { client, server } = played;
    await client.announce("alice");
    const offering = client.offer("bob", "v=0");
    server.session.send = function (number, request) {
      this.sent.push([number, request]);
      this.listener.replied(number, refused("INVALID_ARGUMENT"));
    };
    await assert.rejects(client.iceCandidate("bob", "\ud800"), { code: "INVALID_ARGUMENT" });
    played.session.tell({ kind: "peer_disconnected", peerId: "bob" });
    await settled();
    played.session.reply(played.session.sent[1]![0], { offerId: "alice_bob_1", toPeerId: "bob" });
    await offering;
    played.session.tell(answer("alice_bob_1"));
    await settled();
    assert.deepEqual(played.kinds, ["peer_disconnected", "answer"]);
  }));

test("a request by a number of its own, and those behind it", () =>
  play(async (played) => {
    const { client } = played;
    await client.announce("alice");
    void outcomeOf(client.call("offer", { toPeerId: "bob", sdp: "v=0" }, { number: 41 }));
    void outcomeOf(client.offer("bob", "v=0"));
    assert.deepEqual(
      played.session.sent.map(([number]) => number),
      [1, 41, 42],
    );
  }));

test("however many events wait, each is handed out once, in order", async () => {
  const { server, client } = await unheard();
  const names = Array.from({ length: 50_000 }, (_, i) => `${i}`);
  for (const name of names) server.session.tell(left(name));
  const [slow, quick] = [client.events(), client.events()];
  await slow.next();
  for (const name of names) assert.deepEqual((await quick.next()).value, left(name));
  for (const name of names.slice(1)) assert.deepEqual((await slow.next()).value, left(name));
  await client.close();
});

test("an answer that is for nobody leaves what comes behind it in its order, for all iterators", async () => {
  const { server, client } = await unheard();
  const [slow, quick] = [client.events(), client.events()];
  for (const event of [bob, answer("of nobody")]) server.session.tell(event);
  assert.deepEqual((await quick.next()).value, bob);
  const next = quick.next();
  await settled();
  for (const event of [answer("of nobody"), left("bob"), answer("of nobody")]) server.session.tell(event);
  assert.deepEqual((await next).value, left("bob"));
  for (const event of [bob, left("bob")]) assert.deepEqual((await slow.next()).value, event);
  const last = slow.next();
  await settled();
  server.session.tell(left("carol"));
  assert.deepEqual((await last).value, left("carol"));
  await client.close();
});
