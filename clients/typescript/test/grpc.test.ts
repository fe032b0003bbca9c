import assert from "node:assert/strict";
import { AsyncResource } from "node:async_hooks";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import net from "node:net";
import { type TestContext, mock, test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectionClosed, SigbridgeError, SignalingError } from "../src/errors.js";
import { HealthCheckResponseSchema } from "../src/generated/webrtc_signaling_pb.js";
import { connect } from "../src/grpc.js";
import { grpcOpener } from "../src/grpc/opening.js";
import type { Session } from "../src/session.js";
import { type Call, Heard, type Server, serve } from "./grpc_server.js";

const LIMIT = { timeout: 20_000 };

async function opened(context: TestContext, token?: string): Promise<[Session, Call, Heard, Server]> {
  const server = await serve(context);
  const heard = new Heard();
  const opening = grpcOpener()(server.url, heard, { token, timeoutMs: 10_000 });
  const call = (await server.calls.next()).begin();
  const session = await opening;
  context.after(() => session.giveUp());
  return [session, call, heard, server];
}

async function refused(context: TestContext, refuse: (call: Call) => void, token?: string): Promise<ConnectionClosed> {
  const server = await serve(context);
  const heard = new Heard();
  const opening = grpcOpener()(server.url, heard, { token, timeoutMs: 10_000 });
  const outcome = opening.then(
    () => assert.fail("it was opened"),
    (error: unknown) => error,
  );
  refuse(await server.calls.next());
  const error = await outcome;
  assert.ok(error instanceof ConnectionClosed);
  assert.equal(heard.ends.size, 0);
  return error;
}

/** Lets no time pass but by `mock.timers.tick`, until the test is over. */
function pretendTimers(context: TestContext): void {
  mock.timers.enable({ apis: ["setTimeout"] });
  const pretended = setTimeout;
  // A pretended timer keeps no context by itself.
  globalThis.setTimeout = ((call: () => void, ms: number) => pretended(AsyncResource.bind(call), ms)) as typeof setTimeout;
  context.after(() => mock.timers.reset());
}

const seen = ({ reason, reconnect, retryAfterMs }: ConnectionClosed) => [reason, reconnect, retryAfterMs];

test("a session is one stream, and its token the metadata of it", LIMIT, async (context) => {
  const [, call] = await opened(context, "secret");
  assert.equal(call.path, "/remotemedia.v1.webrtc.WebRtcSignaling/Signal");
  assert.equal(call.token, "Bearer secret");
});

test("each session has a connection of its own", LIMIT, async (context) => {
  const server = await serve(context);
  for (let n = 1; n <= 2; n++) {
    const opening = grpcOpener()(server.url, new Heard(), { timeoutMs: 10_000 });
    (await server.calls.next()).begin();
    const session = await opening;
    context.after(() => session.giveUp());
    assert.equal(server.connections(), n);
  }
});

test("a token that metadata cannot carry is refused, and told to nobody", LIMIT, async (context) => {
  const server = await serve(context);
  const opening = grpcOpener()(server.url, new Heard(), { token: "schlüssel", timeoutMs: 10_000 });
  await assert.rejects(opening, (error: ConnectionClosed) => {
    assert.equal(error.reconnect, false);
    return !error.message.includes("schl");
  });
});

test("a proxy that keeps the metadata back is given a message", LIMIT, async (context) => {
  const server = await serve(context);
  const heard = new Heard();
  const opening = grpcOpener()(server.url, heard, { timeoutMs: 10_000 });
  const call = await server.calls.next();
  const question = await call.request();
  assert.equal(question.requestId, "");
  assert.equal(question.request.case, "listPeers");
  call.begin().say({ requestId: "", response: { case: "peerList", value: {} } });
  const session = await opening;
  context.after(() => session.giveUp());
  session.send(1, { method: "disconnect", params: { peerId: "bob" } });
  assert.equal((await call.request()).requestId, "1");
  call.say({ requestId: "1", response: { case: "ack", value: { data: '{"peer_id":"bob"}' } } });
  assert.deepEqual(await heard.replies.next(), [1, { peerId: "bob" }]);
});

test("a server that says nothing is given up", LIMIT, async (context) => {
  const server = await serve(context);
  pretendTimers(context);
  const opening = grpcOpener()(server.url, new Heard(), { timeoutMs: 50 });
  const reason = `cannot connect to ${server.url.host}: no response`;
  const rejected = assert.rejects(opening, { reason, reconnect: true });
  const call = await server.calls.next();
  mock.timers.tick(50);
  await rejected;
  await call.closed;
});

for (const isGone of [false, true])
  test(`a connection on which nothing is said is cut${isGone ? " when its client is gone" : ""}`, LIMIT, async (context) => {
    const accepted: net.Socket[] = [];
    const server = net.createServer((socket) => accepted.push(socket.resume()));
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    context.after(() => {
      server.close();
      for (const socket of accepted) socket.destroy();
    });
    const gone = new AbortController();
    const connected = once(server, "connection");
    const { port } = server.address() as net.AddressInfo;
    const how = { timeoutMs: 200, signal: gone.signal };
    pretendTimers(context);
    const opening = assert.rejects(grpcOpener()(new URL(`grpc://127.0.0.1:${port}`), new Heard(), how), { reconnect: true });
    const [socket] = (await connected) as [net.Socket];
    const cut = once(socket, "close");
    if (isGone) gone.abort();
    else mock.timers.tick(200);
    await opening;
    await cut;
  });

test("where no connection could be made, none is made later", LIMIT, async (context) => {
  let isThere = false;
  const server = net.createServer((socket) => {
    if (!isThere) socket.resetAndDestroy();
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const made: net.Socket[] = [];
  const note = (message: unknown) => made.push((message as { socket: net.Socket }).socket);
  subscribe("net.client.socket", note);
  pretendTimers(context);
  context.after(() => {
    unsubscribe("net.client.socket", note);
    for (const socket of made) socket.destroy();
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  const opening = grpcOpener()(new URL(`grpc://127.0.0.1:${port}`), new Heard(), { timeoutMs: 10_000 });
  await assert.rejects(opening, { reconnect: true });
  assert.ok(made.length > 0);
  isThere = true;
  // The library would connect again.
  mock.timers.tick(600_000);
  for (let turn = 0; turn < 50; turn++) await new Promise(setImmediate);
  assert.deepEqual(made.filter(({ destroyed }) => !destroyed), []);
});

test("where no server is, that is said", LIMIT, async () => {
  const opening = grpcOpener()(new URL("grpc://127.0.0.1:1"), new Heard(), { timeoutMs: 10_000 });
  await assert.rejects(opening, (error: ConnectionClosed) => {
    assert.match(error.reason, /^cannot connect to 127\.0\.0\.1:1: .*ECONNREFUSED 127\.0\.0\.1:1$/);
    return error.reconnect === true;
  });
});

for (const [title, trailers, expected] of [
  [
    "by the word of trailers",
    { "grpc-status": "14", "signaling-disconnect": "draining", "signaling-retry-after-ms": "1500" },
    ["draining", true, 1500],
  ],
  ["by the status alone", { "grpc-status": "16" }, ["unauthenticated", false, undefined]],
  ["by a lasting status", { "grpc-status": "7" }, ["permission_denied", false, undefined]],
  ["by a passing status", { "grpc-status": "8" }, ["resource_exhausted", true, undefined]],
  ["by a status that says nothing", { "grpc-status": "12" }, ["unimplemented", undefined, undefined]],
  [
    "by advice that is another one than the word's own",
    { "grpc-status": "8", "signaling-disconnect": "memory", "signaling-reconnect": "no" },
    ["memory", false, undefined],
  ],
] as const) {
  test(`an opening is refused ${title}`, LIMIT, async (context) => {
    assert.deepEqual(seen(await refused(context, (call) => call.refuse(trailers))), expected);
  });
}

for (const [status, reason, reconnect] of [
  [401, "unauthenticated", false],
  [403, "permission_denied", false],
  [404, "unimplemented", undefined],
  [500, "unknown", true],
] as const) {
  test(`an opening is refused by a page of HTTP ${status}`, LIMIT, async (context) => {
    const error = await refused(context, ({ stream }) => {
      stream.respond({ ":status": status, "content-type": "text/html" });
      stream.end("<html>no</html>");
    });
    assert.deepEqual([error.reason, error.reconnect], [reason, reconnect]);
  });
}

for (const status of [429, 502, 503, 504]) {
  test(`a page of HTTP ${status} says that there is no server now`, LIMIT, async (context) => {
    const error = await refused(context, ({ stream }) => {
      stream.respond({ ":status": status, "content-type": "text/html" });
      stream.end("<html>later</html>");
    });
    assert.match(error.reason, new RegExp(`^cannot connect to .*: Received HTTP status code ${status}$`));
    assert.equal(error.reconnect, true);
  });
}

test("a server that speaks no TLS is said to be one", LIMIT, async (context) => {
  const { url } = await serve(context);
  const opening = grpcOpener()(new URL(`grpcs://${url.host}`), new Heard(), { timeoutMs: 10_000 });
  await assert.rejects(opening, {
    reason: `cannot connect to ${url.host}: the server speaks no TLS there; grpc:// was probably meant`,
    reconnect: false,
  });
});

test("what is larger than what the library takes by default is taken", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.send(1, { method: "list_peers", params: {} });
  await call.request();
  const metadata = { name: "x".repeat(5 * 2 ** 20) };
  call.say({ requestId: "1", response: { case: "peerList", value: { peers: [{ peerId: "bob", metadata }] } } });
  const [, outcome] = await heard.replies.next();
  assert.ok("peers" in outcome);
  assert.deepEqual(outcome.peers[0]?.metadata, metadata);
});

test("a refusal does not tell the token", LIMIT, async (context) => {
  const error = await refused(
    context,
    (call) => call.refuse({ "grpc-status": "14", "grpc-message": "no secret%2Dtoken here" }),
    "secret-token",
  );
  assert.match(error.reason, /no \(hidden\) here$/);
});

for (const [title, trailers, expected] of [
  ["who has left", { "grpc-status": "0" }, ["client_left", undefined, undefined]],
  [
    "a server that drains",
    { "grpc-status": "14", "signaling-disconnect": "draining", "signaling-reconnect": "yes" },
    ["draining", true, undefined],
  ],
  [
    "one who is replaced",
    { "grpc-status": "10", "signaling-disconnect": "replaced", "signaling-reconnect": "no" },
    ["replaced", false, undefined],
  ],
  ["a word of tomorrow", { "grpc-status": "13", "signaling-disconnect": "tired" }, ["tired", undefined, undefined]],
  ["a status alone", { "grpc-status": "13" }, ["internal", true, undefined]],
  ["a status that nobody knows", { "grpc-status": "99" }, ["unknown", undefined, undefined]],
] as const) {
  test(`trailers say the end of ${title}`, LIMIT, async (context) => {
    const [, call, heard] = await opened(context);
    call.end(trailers);
    assert.deepEqual(seen(await heard.ends.next()), expected);
  });
}

test("what comes before the end is told before it", LIMIT, async (context) => {
  const [, call, heard] = await opened(context);
  const many = 50;
  for (let n = 1; n <= many; n++) {
    const value = { notification: { case: "peerLeft" as const, value: { peerId: `peer-${n}` } } };
    call.say({ seq: BigInt(n), response: { case: "notification", value } });
  }
  call.end({ "grpc-status": "14", "signaling-disconnect": "draining" });
  assert.equal((await heard.ends.next()).reason, "draining");
  assert.equal(heard.events.size, many);
});

for (const [title, lose] of [
  ["is reset", (call: Call) => call.stream.close(2)],
  ["ends without a status", (call: Call) => call.stream.close(0)],
  ["goes with its connection", (_: Call, server: Server) => server.reset()],
] as const) {
  test(`a stream that ${title} is lost`, LIMIT, async (context) => {
    const [, call, heard, server] = await opened(context);
    lose(call, server);
    assert.deepEqual(seen(await heard.ends.next()), ["connection_lost", true, undefined]);
  });
}

test("giving up is told at once, and once, and ends the stream", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.giveUp();
  assert.deepEqual(seen(await heard.ends.next()), ["connection_lost", true, undefined]);
  await call.closed;
  session.giveUp();
  await session.close();
  session.send(1, { method: "list_peers", params: {} });
  assert.deepEqual([heard.ends.size, heard.replies.size], [0, 0]);
});

test("who gives up does not leave: the server sees its connection lost", LIMIT, async (context) => {
  const [session, call] = await opened(context);
  // What is read ends in either case: behind a farewell the stream still stands.
  const standsAtItsEnd = call.halfClosed.then(() => !call.stream.closed);
  session.giveUp();
  await call.closed;
  assert.equal(await standsAtItsEnd, false);
});

test("who closes ends its side, and hears what comes until the server ends", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.send(1, { method: "disconnect", params: { peerId: "bob" } });
  const closing = session.close();
  await call.request();
  await call.halfClosed;
  call.say({ requestId: "1", response: { case: "ack", value: { data: '{"peer_id":"bob"}' } } });
  call.end({ "grpc-status": "0" });
  await closing;
  assert.equal(heard.replies.size, 1);
  assert.equal((await heard.ends.next()).reason, "client_left");
});

test("a server that does not end is left all the same", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const closing = session.close();
    mock.timers.tick(5_000);
    await closing;
  } finally {
    mock.timers.reset();
  }
  assert.equal(heard.ends.size, 1);
  await call.closed;
});

test("bytes that are no message end the session", LIMIT, async (context) => {
  const [, call, heard] = await opened(context);
  call.say(new Uint8Array([0xff, 0xff, 0xff]));
  assert.deepEqual(seen(await heard.ends.next()), ["protocol_error", false, undefined]);
  await call.closed;
});

test("a reply of another kind ends the session", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.send(1, { method: "list_peers", params: {} });
  await call.request();
  call.say({ requestId: "1", response: { case: "ack", value: { data: "{}" } } });
  assert.equal((await heard.ends.next()).reason, "protocol_error");
});

test("what nobody has asked, and what nobody knows, is passed over", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.send(1, { method: "disconnect", params: { peerId: "bob" } });
  await call.request();
  call.say({ requestId: "7", response: { case: "ack", value: { data: "{}" } } });
  call.say({ requestId: "x1", response: { case: "ack", value: { data: "{}" } } });
  call.say({ response: { case: "notification", value: {} } });
  call.say(new Uint8Array([...[0xf2, 0x06, 0x01], 0x41])); // field 110
  call.say({ requestId: "1", response: { case: "ack", value: { data: "{}" } } });
  assert.deepEqual(await heard.replies.next(), [1, { peerId: "bob" }]);
  assert.deepEqual([heard.replies.size, heard.events.size], [0, 0]);
});

test("a result that is none is a refusal", LIMIT, async (context) => {
  const [session, call, heard] = await opened(context);
  session.send(1, { method: "offer", params: { toPeerId: "bob", sdp: "v=0" } });
  await call.request();
  call.say({ requestId: "1", response: { case: "ack", value: { data: "[1" } } });
  const [, outcome] = await heard.replies.next();
  assert.ok(outcome instanceof SignalingError);
  assert.equal(outcome.code, "INTERNAL");
});

test("a health check is a call beside the session, with the token that the session shows", LIMIT, async (context) => {
  const [session, call, heard, server] = await opened(context, "first");
  session.send(1, { method: "authenticate", params: { token: "second" } });
  await call.request();
  call.say({ requestId: "1", response: { case: "ack", value: { data: '{"subject":"","expires_at":null}' } } });
  assert.deepEqual(await heard.replies.next(), [1, { subject: "", expiresAt: null }]);
  session.send(2, { method: "health_check", params: {} });
  const beside = await server.calls.next();
  assert.equal(beside.path, "/remotemedia.v1.webrtc.WebRtcSignaling/HealthCheck");
  assert.equal(beside.token, "Bearer second");
  await beside.messages.next();
  const health = { status: "healthy", uptimeSeconds: 5n, connectedPeers: 1, metrics: '{"rooms":1}' };
  beside.begin().say(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, health)));
  beside.end({ "grpc-status": "0" });
  const expected = { status: "healthy", uptimeSeconds: 5, connectedPeers: 1, metrics: { rooms: 1 } };
  assert.deepEqual(await heard.replies.next(), [2, expected]);
  assert.equal(server.connections(), 1);
});

test("a token that is refused is not shown", LIMIT, async (context) => {
  const [session, call, heard, server] = await opened(context, "first");
  session.send(1, { method: "authenticate", params: { token: "second" } });
  await call.request();
  call.say({ requestId: "1", response: { case: "error", value: { code: 16, message: "no" } } });
  await heard.replies.next();
  session.send(2, { method: "health_check", params: {} });
  assert.equal((await server.calls.next()).token, "Bearer first");
});

test("a health check may be refused, and say when to try again", LIMIT, async (context) => {
  const [session, , heard, server] = await opened(context);
  session.send(1, { method: "health_check", params: {} });
  const trailers = { "grpc-status": "8", "grpc-message": "Slowly", "signaling-retry-after-ms": "700" };
  (await server.calls.next()).refuse(trailers);
  const [, outcome] = await heard.replies.next();
  assert.ok(outcome instanceof SignalingError);
  assert.deepEqual([outcome.code, outcome.message, outcome.retryAfterMs], ["RESOURCE_EXHAUSTED", "Slowly", 700]);
});

test("a health check that is lost with its session has no reply", LIMIT, async (context) => {
  const [session, , heard, server] = await opened(context);
  session.send(1, { method: "health_check", params: {} });
  await server.calls.next();
  server.reset();
  await heard.ends.next();
  assert.equal(heard.replies.size, 0);
});

test("a health check that alone is lost is refused", LIMIT, async (context) => {
  const [session, , heard, server] = await opened(context);
  session.send(1, { method: "health_check", params: {} });
  (await server.calls.next()).stream.close(2);
  const [, outcome] = await heard.replies.next();
  assert.ok(outcome instanceof SignalingError);
  assert.equal(heard.ends.size, 0);
});

test("certificates that are none are refused where they are given", LIMIT, async () => {
  for (const name of ["rootCertificates", "certificate"]) {
    await assert.rejects(connect("grpcs://127.0.0.1:1", { [name]: "no PEM" }), SigbridgeError);
  }
});

test("a URL of no signaling server is refused, with the schemes that there are", LIMIT, async () => {
  await assert.rejects(connect("http://127.0.0.1:1"), /ws:.*wss:.*grpc:.*grpcs:/);
});

for (const url of ["grpc://a%20b:1", "grpc://ho%zzst:1", "grpc://300.300.300.300:1", "grpc://%00:1"])
  test(`a host that is none is no signaling URL: ${url}`, LIMIT, () =>
    assert.rejects(connect(url), (error: Error) => error instanceof SigbridgeError && !error.message.includes("Invalid URL")));

test("a URL with spaces around it has the scheme that it says", LIMIT, () =>
  assert.rejects(connect(" wss://127.0.0.1:1", { rootCertificates: "none" }), { name: "ConnectionClosed" }));

test("what a program connects to when it is told something outlives the session", LIMIT, async (context) => {
  const elsewhere = net.createServer();
  await new Promise<void>((listening) => elsewhere.listen(0, "127.0.0.1", listening));
  const [session, call] = await opened(context);
  const made: net.Socket[] = [];
  const toElsewhere = () => made.push(net.connect((elsewhere.address() as net.AddressInfo).port, "127.0.0.1"));
  context.after(() => {
    for (const socket of made) socket.destroy();
    elsewhere.close();
  });
  const told = new Promise<void>((resolve) => {
    session.listener = {
      replied: toElsewhere,
      told: () => queueMicrotask(toElsewhere),
      closed: () => {
        toElsewhere();
        resolve();
      },
    };
  });
  session.send(1, { method: "disconnect", params: { peerId: "bob" } });
  await call.request();
  call.say({ requestId: "1", response: { case: "ack", value: {} } });
  const left = { case: "peerLeft", value: { peerId: "bob" } } as const;
  call.say({ response: { case: "notification", value: { notification: left } } });
  while (made.length < 2) await new Promise(setImmediate);
  session.giveUp();
  await told;
  assert.deepEqual(made.map(({ destroyed }) => destroyed), [false, false, false]);
});

test("a message in a compression that was not agreed on ends the session, and nothing else", LIMIT, async (context) => {
  const [, call, heard] = await opened(context);
  call.stream.write(Buffer.from([1, 0, 0, 0, 1, 0]));
  assert.deepEqual(seen(await heard.ends.next()), ["unknown", undefined, undefined]);
});
