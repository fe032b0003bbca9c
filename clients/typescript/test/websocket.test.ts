import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { ConnectionClosed, SignalingError } from "../src/errors.js";
import type { ServerEvent } from "../src/messages.js";
import type { Request, Result, Session } from "../src/session.js";
import { openWebSocket, type SocketEvent } from "../src/websocket.js";

/** A WebSocket to which nothing happens but what a test lets happen. */
class FakeSocket {
  static last: FakeSocket;
  binaryType = "blob";
  readonly sent: string[] = [];
  readonly closes: (number | undefined)[] = [];
  readonly url: string;
  readonly protocols: string[];
  #listeners: [string, (event: SocketEvent) => void][] = [];

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.last = this;
  }
  addEventListener(type: string, listener: (event: SocketEvent) => void) {
    this.#listeners.push([type, listener]);
  }
  send(text: string) {
    this.sent.push(text);
  }
  close(code?: number) {
    this.closes.push(code);
  }
  happen(type: string, event: object = {}) {
    for (const [of, listener] of this.#listeners) if (of === type) listener({ type, ...event });
  }
  says(message: object) {
    this.happen("message", { data: JSON.stringify({ jsonrpc: "2.0", ...message }) });
  }
}

class Heard {
  readonly replies: [number, Result | SignalingError][] = [];
  readonly events: [ServerEvent, number][] = [];
  readonly ends: ConnectionClosed[] = [];
  replied(number: number, outcome: Result | SignalingError) {
    this.replies.push([number, outcome]);
  }
  told(event: ServerEvent, seq: number) {
    this.events.push([event, seq]);
  }
  closed(closed: ConnectionClosed) {
    this.ends.push(closed);
  }
}

const URL_ = new URL("ws://somebody:secret@host.example/path?token=secret");
const opening = (heard: Heard, token?: string, Class = FakeSocket) =>
  openWebSocket(Class)(URL_, heard, { token, timeoutMs: 1000 });

async function opened(token?: string): Promise<[Session, FakeSocket, Heard]> {
  const heard = new Heard();
  const session = opening(heard, token);
  FakeSocket.last.happen("open");
  return [await session, FakeSocket.last, heard];
}

const said = (closed: ConnectionClosed | undefined) => [closed?.reason, closed?.reconnect, closed?.retryAfterMs];
const rejection = async (promise: Promise<unknown>) => {
  const error = await promise.then(
    () => assert.fail("it has opened"),
    (error: unknown) => error,
  );
  assert(error instanceof ConnectionClosed);
  return error;
};

afterEach(() => mock.timers.reset());

test("a token is a subprotocol, in base64url without padding, whatever it holds", async () => {
  const [, without] = await opened();
  assert.deepEqual(without.protocols, ["jsonrpc"]);
  for (const token of ["a", "ab", "abc", "ÿ>?~", "🙂🙂"]) {
    const [, socket] = await opened(token);
    const [, encoded = ""] = socket.protocols;
    assert.match(encoded, /^bearer\.[\w-]+$/);
    assert.equal(Buffer.from(encoded.slice("bearer.".length), "base64url").toString(), token);
  }
});

test("without a class of WebSockets the error names the option", async () => {
  const known = Object.getOwnPropertyDescriptor(globalThis, "WebSocket");
  Object.defineProperty(globalThis, "WebSocket", { value: undefined, configurable: true });
  try {
    const open = openWebSocket()(URL_, new Heard(), { timeoutMs: 1 });
    await assert.rejects(open, /give the option WebSocket/);
  } finally {
    if (known) Object.defineProperty(globalThis, "WebSocket", known);
    else delete (globalThis as { WebSocket?: unknown }).WebSocket;
  }
});

test("the class that is given goes before the global one", async () => {
  const [, socket] = await opened();
  assert.equal(socket.url, URL_.href);
  assert.equal(socket.binaryType, "arraybuffer");
});

test("a URL that may not be opened is told without what it holds", async () => {
  class Refusing extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols);
      throw new SyntaxError(`${url} ${protocols}`);
    }
  }
  const error = await rejection(opening(new Heard(), "secret", Refusing));
  assert.equal(error.reconnect, false);
  assert.match(error.message, /ws:\/\/host\.example\/path/);
  assert.doesNotMatch(error.message, /secret|bearer/);
});

test("a handshake of which nothing is known may be tried again, and no text holds the token", async () => {
  const heard = new Heard();
  const open = opening(heard, "secret");
  const [, encoded] = FakeSocket.last.protocols;
  FakeSocket.last.happen("error", { message: `no secret, no ${encoded}` });
  FakeSocket.last.happen("close", { code: 1006, reason: "" });
  const error = await rejection(open);
  assert.equal(error.reconnect, true);
  assert.equal(error.reason, "cannot connect to ws://host.example/path: no , no ");
  assert.deepEqual(heard.ends, []);
});

test("a library that says the status of a refused handshake is believed", async () => {
  for (const [status, ...expected] of [
    [401, "unauthenticated", false, undefined],
    [403, "origin", false, undefined],
    [503, "refused with HTTP 503", true, undefined],
    [404, "refused with HTTP 404", undefined, undefined],
  ]) {
    const open = opening(new Heard());
    FakeSocket.last.happen("error", { message: `Unexpected server response: ${status}` });
    FakeSocket.last.happen("close", { code: 1006, reason: "" });
    assert.deepEqual(said(await rejection(open)), expected);
  }
});

test("an opening fails by an error alone, since some Nodes let no close follow", async () => {
  for (const [type, event] of [
    ["error", { message: "" }],
    ["error", {}],
    ["close", { code: 1006, reason: "" }],
  ] as const) {
    const heard = new Heard();
    const open = opening(heard);
    FakeSocket.last.happen(type, event);
    const error = await rejection(open);
    assert.equal(error.reason, "cannot connect to ws://host.example/path: no connection came about");
    assert.equal(error.reconnect, true);
    FakeSocket.last.happen("close", { code: 1006, reason: "" });
    assert.deepEqual(heard.ends, []);
  }
});

test("an error of an open session ends nothing by itself: its close says why", async () => {
  const [, socket, heard] = await opened();
  socket.happen("error", { message: "reset" });
  assert.deepEqual(heard.ends, []);
  socket.happen("close", { code: 1006, reason: "" });
  assert.deepEqual(heard.ends.map(said), [["connection_lost", true, undefined]]);
});

test("an opening has a time limit, and what comes after it changes nothing", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  const heard = new Heard();
  const open = opening(heard);
  const socket = FakeSocket.last;
  mock.timers.tick(1000);
  assert.deepEqual(said(await rejection(open)).slice(1), [true, undefined]);
  assert.equal(socket.closes.length, 1);
  socket.happen("open");
  socket.happen("close", { code: 1006, reason: "" });
  assert.deepEqual(heard.ends, []);
});

test("the end of a session is what the close frame says", async () => {
  for (const [code, reason, ...expected] of [
    [1012, "draining retry-after-ms=1234", "draining", true, 1234],
    [4000, "slow_consumer", "slow_consumer", true, undefined],
    [4500, "replaced", "replaced", false, undefined],
    [4401, "unauthenticated", "unauthenticated", false, undefined],
    [4401, "", "unauthenticated", false, undefined],
    [4403, "", "origin", false, undefined],
    [4429, "throttled retry-after-ms=50", "throttled", true, 50],
    [4503, "sessions", "sessions", true, undefined],
    [4503, "", "refused with HTTP 503", true, undefined],
    [1000, "client_left", "client_left", undefined, undefined],
    [1000, "", "client_left", undefined, undefined],
    [1001, "", "client_left", undefined, undefined],
    [1005, "", "connection_lost", true, undefined],
    [1006, "", "connection_lost", true, undefined],
    [4321, "a word of tomorrow retry-after-ms=-1", "a word of tomorrow", undefined, undefined],
  ] as const) {
    const [, socket, heard] = await opened();
    socket.happen("close", { code, reason });
    socket.happen("close", { code: 1000, reason: "" });
    assert.deepEqual(heard.ends.map(said), [expected]);
  }
});

test("a request has the names of the wire, and nothing empty that older servers do not know", async () => {
  const [session, socket] = await opened();
  const requests: [Request, object][] = [
    [
      {
        method: "announce",
        params: {
          peerId: "a",
          capabilities: { audio: true, myCodec: 1 },
          metadata: { ownName: null },
          resumable: false,
          resumeToken: "",
          lastSeq: 0,
          notices: false,
          iceServers: false,
        },
      },
      { peer_id: "a", capabilities: { audio: true, myCodec: 1 }, metadata: { ownName: null } },
    ],
    [
      { method: "announce", params: { peerId: "a", resumable: true, resumeToken: "t", lastSeq: 7, notices: true } },
      { peer_id: "a", resumable: true, resume_token: "t", last_seq: 7, notices: true },
    ],
    [
      { method: "ice_candidate", params: { toPeerId: "b", candidate: "", sdpMid: "", sdpMLineIndex: 0, offerId: "" } },
      { to_peer_id: "b", candidate: "", sdp_mid: "", sdp_mline_index: 0 },
    ],
    [{ method: "ice_candidate", params: { toPeerId: "b", sdpMid: null } }, { to_peer_id: "b" }],
    [{ method: "announce", params: { peerId: "a", iceServers: true } }, { peer_id: "a", ice_servers: true }],
    [{ method: "get_ice_servers", params: {} }, {}],
    [{ method: "health_check", params: {} }, {}],
  ];
  requests.forEach(([request], number) => session.send(number, request));
  const sent = socket.sent.map((text) => JSON.parse(text) as unknown);
  const expected = requests.map(([{ method }, params], id) => ({ jsonrpc: "2.0", method, params, id }));
  assert.deepEqual(sent, expected);
});

test("what JSON cannot say is refused, and the session goes on", async () => {
  const [session, socket, heard] = await opened();
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  for (const metadata of [{ big: 1n }, circle, { text: "\ud800" }, { text: "a\udfff" }, { "\udc00": 1 }])
    session.send(1, { method: "announce", params: { peerId: "a", metadata } });
  assert.deepEqual(socket.sent, []);
  const codes = heard.replies.map(([, outcome]) => (outcome instanceof SignalingError ? outcome.code : ""));
  assert.deepEqual(codes, Array(5).fill("INVALID_ARGUMENT"));
  for (const text of ["\\ud800", "\u{1f600}", "a\\\\udfff"])
    session.send(2, { method: "offer", params: { toPeerId: "b", sdp: text } });
  assert.equal(socket.sent.length, 3);
  assert.deepEqual(heard.ends, []);
});

test("ICE servers are as W3C has them, in results and in an event", async () => {
  const [session, socket, heard] = await opened();
  const ice_servers = [
    { urls: "stun:stun.example.org" },
    { urls: ["turn:turn.example.org"], username: "1:a_b", credential: "c_d=" },
  ];
  session.send(1, { method: "announce", params: { peerId: "a", iceServers: true } });
  session.send(2, { method: "get_ice_servers", params: {} });
  session.send(3, { method: "get_ice_servers", params: {} });
  const say = (message: object) => socket.happen("message", { data: JSON.stringify({ jsonrpc: "2.0", ...message }) });
  const announced = { peer_id: "a", peers_count: 0, other_peers: [] };
  say({ id: 1, result: { ...announced, ice_servers, ice_servers_expire_unix_ms: 5 } });
  say({ id: 2, result: { ice_servers } });
  say({ id: 3, result: { ice_servers: ["stun:stun.example.org"] } });
  say({ method: "ice_servers", params: { servers: ice_servers, expires_unix_ms: 6 } });
  const [first, second, third] = heard.replies.map(([, outcome]) => outcome);
  const expected = { peerId: "a", peersCount: 0, otherPeers: [], iceServers: ice_servers, iceServersExpireUnixMs: 5 };
  assert.deepEqual(first, expected);
  assert.deepEqual(second, { iceServers: ice_servers });
  assert.equal((third as SignalingError).code, "INTERNAL");
  assert.deepEqual(heard.events, [[{ kind: "ice_servers", servers: ice_servers, expiresUnixMs: 6 }, 0]]);
});

test("what an older server leaves out is empty", async () => {
  const [session, socket, heard] = await opened();
  const asked: [Request, unknown, object][] = [
    [{ method: "announce", params: { peerId: "a" } }, {}, { peerId: "a", peersCount: 0, otherPeers: [] }],
    [
      { method: "announce", params: { peerId: "a" } },
      { other_peers: ["b", "c"], resumable: null, success: true },
      { peerId: "a", peersCount: 2, otherPeers: ["b", "c"] },
    ],
    [{ method: "offer", params: { toPeerId: "b", sdp: "s" } }, { success: true }, { offerId: "", toPeerId: "b" }],
    [{ method: "answer", params: { toPeerId: "b", sdp: "s" } }, {}, { toPeerId: "b" }],
    [{ method: "ice_candidate", params: { toPeerId: "b" } }, {}, { toPeerId: "b" }],
    [{ method: "disconnect", params: { peerId: "b" } }, { peer_id: null }, { peerId: "b" }],
    [{ method: "authenticate", params: { token: "t" } }, {}, { subject: "", expiresAt: null }],
    [
      { method: "health_check", params: {} },
      { status: "healthy" },
      { status: "healthy", uptimeSeconds: 0, connectedPeers: 0, metrics: {} },
    ],
    [
      { method: "list_peers", params: {} },
      { peers: [{ peer_id: "b" }, { peer_id: "c", capabilities: ["data", "x", 1], state: "away", connected_at: 5 }] },
      {
        peers: [
          {
            peerId: "b",
            capabilities: { audio: false, video: false, data: false },
            state: "unspecified",
            metadata: {},
            connectedAt: 0,
          },
          {
            peerId: "c",
            capabilities: { audio: false, video: false, data: true, x: true },
            state: "away",
            metadata: {},
            connectedAt: 5,
          },
        ],
        count: 2,
        nextPageToken: "",
      },
    ],
  ];
  asked.forEach(([request, result], id) => {
    session.send(id, request);
    socket.says({ result, error: null, id });
  });
  assert.deepEqual(
    heard.replies,
    asked.map(([, , expected], id) => [id, expected]),
  );
});

test("a result that is none refuses its request alone", async () => {
  const [session, socket, heard] = await opened();
  const requests: [Request, unknown][] = [
    [{ method: "health_check", params: {} }, {}],
    [{ method: "health_check", params: {} }, null],
    [{ method: "announce", params: { peerId: "a" } }, { other_peers: [1] }],
    [{ method: "list_peers", params: {} }, { peers: [{}] }],
    [{ method: "offer", params: { toPeerId: "b", sdp: "s" } }, { offer_id: 7 }],
    [{ method: "authenticate", params: { token: "t" } }, { expires_at: "" }],
    [{ method: "authenticate", params: { token: "t" } }, { expires_at: false }],
  ];
  requests.forEach(([request, result], id) => {
    session.send(id, request);
    socket.says({ result, id });
  });
  const codes = heard.replies.map(([, outcome]) => (outcome instanceof SignalingError ? outcome.code : ""));
  assert.deepEqual(codes, Array(7).fill("INTERNAL"));
  assert.deepEqual(heard.ends, []);
});

test("a refusal has the code of its data, else that of JSON-RPC", async () => {
  const [session, socket, heard] = await opened();
  const data = { code: 8, status: "RESOURCE_EXHAUSTED", limit: "X", retry_after_ms: 20 };
  for (const error of [
    { code: -32000, message: "Too many", data },
    { code: -32601, message: "Method not found" },
    { code: -32603, message: "Internal error" },
    { code: -32006, message: "No answer in time" },
    { code: -32000, message: "?" },
    { code: -32000, message: "?", data: { code: 99 } },
    "no object",
  ]) {
    session.send(1, { method: "list_peers", params: {} });
    socket.says({ error, id: 1 });
  }
  const refusals = heard.replies.map(([, outcome]) => outcome as SignalingError);
  assert.deepEqual(
    refusals.map(({ code }) => code),
    [
      "RESOURCE_EXHAUSTED",
      "UNIMPLEMENTED",
      "INTERNAL",
      "DEADLINE_EXCEEDED",
      "INVALID_ARGUMENT",
      "INVALID_ARGUMENT",
      "INVALID_ARGUMENT",
    ],
  );
  assert.equal(refusals[0]?.message, "Too many");
  assert.deepEqual(refusals[0]?.extra, { limit: "X", retry_after_ms: 20 });
  assert.equal(refusals[0]?.retryAfterMs, 20);
});

test("events have the names of JavaScript, their numbers beside them, and what they leave out is empty", async () => {
  const [, socket, heard] = await opened();
  const none = { audio: false, video: false, data: false };
  const told: [string, object, object, number?][] = [
    ["peer_joined", { peer_id: "a" }, { peerId: "a", capabilities: none, metadata: {} }],
    [
      "peer_joined",
      { peer_id: "a", capabilities: { audio: 1, x: 1, own_name: 2 }, metadata: "m", seq: 3 },
      { peerId: "a", capabilities: { ...none, x: 1, own_name: 2 }, metadata: {} },
      3,
    ],
    ["peer_left", { peer_id: "a", reason: "unknown here" }, { peerId: "a" }],
    ["offer", { from_peer_id: "a", sdp: "s" }, { fromPeerId: "a", offerId: "", sdp: "s", type: "offer" }],
    ["answer", { from_peer_id: "a", sdp: "s", offer_id: null }, { fromPeerId: "a", sdp: "s", type: "answer" }],
    ["answer", { from_peer_id: "a", sdp: "s", type: "pranswer" }, { fromPeerId: "a", sdp: "s", type: "pranswer" }],
    [
      "ice_candidate",
      { from_peer_id: "a", candidate: "c", sdp_mid: "", sdp_mline_index: 0, username_fragment: "u", offer_id: "o" },
      { fromPeerId: "a", candidate: "c", sdpMid: "", sdpMLineIndex: 0, usernameFragment: "u", offerId: "o" },
    ],
    ["ice_candidate", { from_peer_id: "a", candidate: null }, { fromPeerId: "a", candidate: "" }],
    ["peer_disconnected", { peer_id: "a", offer_id: "o" }, { peerId: "a", offerId: "o" }],
    [
      "server_notice",
      { kind: "draining", message: "m", reconnect_after_ms: 5, deadline_unix_ms: 6, data: { x: 1 } },
      { notice: "draining", message: "m", reconnectAfterMs: 5, deadlineUnixMs: 6, data: { x: 1 } },
    ],
  ];
  for (const [method, params] of told) socket.says({ method, params });
  for (const method of ["an event of tomorrow", "constructor"]) socket.says({ method, params: null });
  assert.deepEqual(
    heard.events,
    told.map(([kind, , event, seq = 0]) => [{ kind, ...event }, seq]),
  );
  assert.deepEqual(heard.ends, []);
});

test("a message may come in bytes", async () => {
  const [, socket, heard] = await opened();
  const text = JSON.stringify({ jsonrpc: "2.0", method: "peer_left", params: { peer_id: "ä" } });
  socket.happen("message", { data: new TextEncoder().encode(text).buffer });
  assert.deepEqual(heard.events, [[{ kind: "peer_left", peerId: "ä" }, 0]]);
});

test("what is no message ends the session for good, and nothing follows", async () => {
  for (const data of [
    "secret",
    "[]",
    "null",
    "{}",
    '{"method":1}',
    '{"id":1}',
    '{"method":"offer","params":{"from_peer_id":"a"}}',
    '{"method":"peer_left","params":null}',
    new Uint8Array([0xff]).buffer,
  ]) {
    const [session, socket, heard] = await opened();
    session.send(1, { method: "health_check", params: {} });
    socket.happen("message", { data });
    socket.says({ method: "peer_left", params: { peer_id: "a" } });
    socket.happen("close", { code: 1006, reason: "" });
    assert.equal(heard.ends.length, 1, String(data));
    assert.match(heard.ends[0]?.reason ?? "", /^the server sent what is no message/);
    assert.doesNotMatch(heard.ends[0]?.reason ?? "", /secret/);
    assert.equal(heard.ends[0]?.reconnect, false);
    assert.deepEqual(heard.events, []);
    assert.equal(socket.closes.length, 1);
  }
});

test("a reply that nobody waits for is dropped", async () => {
  const [session, socket, heard] = await opened();
  session.send(1, { method: "health_check", params: {} });
  const result = { status: "healthy" };
  for (const id of [2, null, "1", 1, 1]) socket.says({ result, id });
  socket.says({ error: { code: -32700, message: "Parse error" }, id: null });
  assert.equal(heard.replies.length, 1);
  assert.deepEqual(heard.ends, []);
});

test("another listener may take the place of the first", async () => {
  const [session, socket, heard] = await opened();
  const other = new Heard();
  session.listener = other;
  socket.says({ method: "peer_left", params: { peer_id: "a" } });
  socket.happen("close", { code: 1006, reason: "" });
  assert.deepEqual([heard.events.length, heard.ends.length], [0, 0]);
  assert.deepEqual([other.events.length, other.ends.length], [1, 1]);
});

test("closing waits for the server, or until the session is given up", async () => {
  const [session, socket, heard] = await opened();
  const closed = session.close();
  assert.deepEqual(socket.closes, [1000]);
  socket.says({ method: "peer_left", params: { peer_id: "a" } });
  socket.happen("close", { code: 1000, reason: "client_left" });
  await closed;
  await session.close();
  assert.deepEqual(heard.ends.map(said), [["client_left", undefined, undefined]]);
  assert.equal(heard.events.length, 1);

  const [silent, , waiting] = await opened();
  const given = silent.close();
  assert.deepEqual(waiting.ends, []);
  silent.giveUp();
  await given;
  assert.equal(waiting.ends.length, 1);
});

test("giving up ends the session at once, and is no farewell", async () => {
  const [session, socket, heard] = await opened();
  session.giveUp();
  assert.deepEqual(heard.ends.map(said), [["connection_lost", true, undefined]]);
  assert.notEqual(socket.closes[0], 1000);
  session.send(1, { method: "health_check", params: {} });
  session.giveUp();
  assert.deepEqual(socket.sent, []);
  assert.equal(heard.ends.length, 1);
});

test("what a library says of a connection that fails is no status, whatever number stands at its end", async () => {
  for (const why of ["connect ECONNREFUSED 127.0.0.1:443", "connect ETIMEDOUT ::1:403", "getaddrinfo ENOTFOUND a-401"]) {
    const open = opening(new Heard());
    FakeSocket.last.happen("error", { message: why });
    assert.deepEqual(said(await rejection(open)), [`cannot connect to ws://host.example/path: ${why}`, true, undefined]);
  }
});

test("a number that counts nothing is none", async () => {
  const [, socket, heard] = await opened();
  for (const seq of [1.5, 1e308, 2 ** 53, "7", true, null, [], {}, 7])
    socket.says({ method: "peer_left", params: { peer_id: "bob", seq } });
  assert.deepEqual(
    heard.events.map(([, seq]) => seq),
    [0, 0, 0, 0, 0, 0, 0, 0, 7],
  );
});

test("who gives up breaks the connection, where the class can", async () => {
  let broken = 0;
  class Breaking extends FakeSocket {
    terminate() {
      broken++;
    }
  }
  const open = opening(new Heard(), undefined, Breaking);
  FakeSocket.last.happen("open");
  (await open).giveUp();
  assert.deepEqual([broken, FakeSocket.last.closes], [1, []]);
});
