/** Clients of both protocols with a real server, which tests/typescript/test_client.py starts. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import net from "node:net";
import { type TestContext, test } from "node:test";
import { WebSocket } from "ws";
import { type ClientEvent, ConnectionClosed, type ConnectOptions, connect, type SignalingClient, SignalingError } from "../../src/grpc.js";

const LIMIT = { timeout: 60_000 };
const env = (name: string): string => process.env[`SIGBRIDGE_${name}`] ?? "";
const GRPC = env("GRPC");
const WS = env("WS");
const TOKEN = env("TOKEN");
const CERTIFICATES = env("CERTIFICATES");
const access = CERTIFICATES
  ? {
      rootCertificates: readFileSync(`${CERTIFICATES}/authority.pem`),
      certificate: readFileSync(`${CERTIFICATES}/client.pem`),
      key: readFileSync(`${CERTIFICATES}/client.key.pem`),
    }
  : {};

async function client(context: TestContext, url: string, options: ConnectOptions = {}): Promise<SignalingClient> {
  const connected = await connect(url, { token: TOKEN || undefined, ...access, ...options });
  context.after(() => connected.close());
  return connected;
}

async function next<K extends ClientEvent["kind"]>(
  events: AsyncIterableIterator<ClientEvent>,
  kind: K,
): Promise<Extract<ClientEvent, { kind: K }>> {
  for (;;) {
    const { value, done } = await events.next();
    assert.ok(!done, `the events ended before ${kind}`);
    if (value.kind === kind) return value as Extract<ClientEvent, { kind: K }>;
  }
}

let rooms = 0;
const aRoom = (): string => `typescript-${process.pid}-${++rooms}`;

for (const [alicesUrl, bobsUrl] of [
  [GRPC, WS],
  [WS, GRPC],
  [GRPC, GRPC],
] as const) {
  const title = `${alicesUrl.split(":")[0]} calls ${bobsUrl.split(":")[0]}`;
  test(title, LIMIT, async (context) => {
    const room = aRoom();
    const bob = await client(context, bobsUrl);
    const alice = await client(context, alicesUrl);
    const [atAlice, atBob] = [alice.events(), bob.events()];
    const capabilities = { audio: true, video: false, data: true, screen: { width: 640 } };
    await bob.announce("bob", { room, capabilities, metadata: { name: "Bob" } });
    const announced = await alice.announce("alice", { room });
    assert.deepEqual([announced.peerId, announced.peersCount, announced.otherPeers], ["alice", 1, ["bob"]]);
    const joined = await next(atAlice, "peer_joined");
    assert.deepEqual(joined, { kind: "peer_joined", peerId: "bob", capabilities, metadata: { name: "Bob" } });

    const { offerId } = await alice.offer("bob", "v=0 offer");
    const offer = await next(atBob, "offer");
    assert.deepEqual(offer, { kind: "offer", fromPeerId: "alice", offerId, sdp: "v=0 offer", type: "offer" });
    await bob.answer("alice", "v=0 answer");
    const answer = { kind: "answer", fromPeerId: "bob", sdp: "v=0 answer", type: "answer", offerId };
    assert.deepEqual(await next(atAlice, "answer"), answer);
    const candidate = { candidate: "candidate:1", sdpMid: "", sdpMLineIndex: 0, usernameFragment: "u" };
    await alice.iceCandidate("bob", candidate);
    const heard = await next(atBob, "ice_candidate");
    assert.deepEqual(heard, { kind: "ice_candidate", fromPeerId: "alice", ...candidate, offerId });
    await alice.iceCandidate("bob", null);
    assert.equal((await next(atBob, "ice_candidate")).candidate, "");
    await alice.disconnect("bob");
    assert.deepEqual(await next(atBob, "peer_disconnected"), { kind: "peer_disconnected", peerId: "alice", offerId });

    const listed = await alice.listPeers();
    assert.deepEqual(
      listed.peers.map(({ peerId, state, metadata }) => [peerId, state, metadata]),
      [
        ["bob", "available", { name: "Bob" }],
        ["alice", "available", {}],
      ],
    );
    assert.ok(Math.abs(listed.peers[0]!.connectedAt - Date.now() / 1000) < 3600);
    const first = await alice.listPeers({ pageSize: 1 });
    assert.deepEqual([first.count, first.peers.length], [2, 1]);
    const second = await alice.listPeers({ pageSize: 1, pageToken: first.nextPageToken });
    assert.deepEqual([second.peers[0]!.peerId, second.nextPageToken], ["alice", ""]);
    const health = await alice.health();
    assert.equal(health.status, "healthy");
    assert.ok(health.connectedPeers >= 2 && typeof health.metrics["rooms"] === "number");
    await assert.rejects(alice.offer("nobody", "v=0"), (error: SignalingError) => {
      assert.ok(error instanceof SignalingError);
      assert.deepEqual([error.code, error.extra["peer_id"]], ["NOT_FOUND", "nobody"]);
      return true;
    });
    await alice.close();
    assert.equal((await next(atBob, "peer_left")).peerId, "alice");
  });
}

for (const url of [GRPC, WS]) {
  test(`a lost connection of ${url.split(":")[0]} is resumed, and nothing with it`, LIMIT, async (context) => {
    const room = aRoom();
    const wire = await cuttable(context, url);
    const alice = await client(context, wire.url);
    const bob = await client(context, GRPC);
    const atAlice = alice.events();
    await alice.announce("alice", { room });
    await bob.announce("bob", { room });
    await next(atAlice, "peer_joined");
    wire.cut();
    await next(atAlice, "reconnecting");
    await bob.offer("alice", "v=0");
    const kinds = [];
    for (const _ of [1, 2]) kinds.push((await atAlice.next()).value.kind);
    assert.deepEqual(kinds, ["resumed", "offer"]);
    await alice.answer("bob", "v=0");
  });
}

const withToken = TOKEN ? test : () => {};

withToken("without a good token nobody is let in", LIMIT, async () => {
  for (const url of [GRPC, WS]) {
    for (const token of [undefined, "wrong"]) {
      await assert.rejects(connect(url, { ...access, token }), (error: ConnectionClosed) => {
        assert.ok(error instanceof ConnectionClosed);
        assert.deepEqual([error.reason, error.reconnect], ["unauthenticated", false]);
        return true;
      });
    }
  }
});

const withCertificates = CERTIFICATES ? test : () => {};

withCertificates("without certificates nobody is let in", LIMIT, async () => {
  const { rootCertificates } = access as { rootCertificates: Buffer };
  for (const url of [GRPC, WS]) {
    for (const options of [{}, { rootCertificates }]) {
      await assert.rejects(connect(url, { ...options, resume: false }), ConnectionClosed);
    }
  }
});

withCertificates("who speaks no TLS with a server that does is told so", LIMIT, async () => {
  await assert.rejects(connect(GRPC.replace("grpcs", "grpc"), { resume: false }), (error: ConnectionClosed) => {
    assert.match(error.reason, /: the server speaks TLS there; grpcs:\/\/ was probably meant$/);
    return error.reconnect === false;
  });
});

withCertificates("a class of sockets that is given shows the certificates, too", LIMIT, async (context) => {
  const alice = await client(context, WS, { WebSocket: WebSocket as unknown as NonNullable<ConnectOptions["WebSocket"]> });
  assert.equal((await alice.health()).status, "healthy");
});

/** A way to a server that a test can cut. */
async function cuttable(context: TestContext, url: string): Promise<{ url: string; cut(): void }> {
  const { hostname, port, protocol } = new URL(url);
  const sockets = new Set<net.Socket>();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((tell) => server.listen(0, "127.0.0.1", tell));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  context.after(() => {
    cut();
    server.close();
  });
  return { url: `${protocol}//127.0.0.1:${(server.address() as net.AddressInfo).port}`, cut };
}
