import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { SignalingError } from "../src/errors.js";
import {
  SignalingNotificationSchema,
  SignalingRequestSchema,
  SignalingResponseSchema,
} from "../src/generated/webrtc_signaling_pb.js";
import { requestToBytes, type Said, type StreamRequest, saidBy } from "../src/grpc/translate.js";

/** What a server reads of a request, without what is absent. */
function read(request: StreamRequest): unknown {
  const { requestId, request: said } = fromBinary(SignalingRequestSchema, requestToBytes(request, "7"));
  assert.equal(requestId, "7");
  assert.ok(said.value);
  const { $typeName: _, ...members } = said.value;
  return [said.case, members];
}

function said(response: MessageInitShape<typeof SignalingResponseSchema>, asked?: StreamRequest): Said {
  const bytes = toBinary(SignalingResponseSchema, create(SignalingResponseSchema, response));
  return saidBy(bytes, new Map(asked ? [[1, asked]] : []));
}

function event(notification: MessageInitShape<typeof SignalingNotificationSchema>["notification"], seq = 0n): Said {
  return said({ seq, response: { case: "notification", value: { notification: notification! } } });
}

test("an announce keeps all that it says", () => {
  const [kind, members] = read({
    method: "announce",
    params: {
      peerId: "alice",
      capabilities: { audio: true, screen: { width: 3 } },
      metadata: { name: "Alice", age: 7, tags: ["a", null], none: null },
      room: "r",
      resumable: true,
      resumeToken: "t",
      lastSeq: 2 ** 53 - 1,
      notices: true,
      iceServers: true,
    },
  }) as [string, Record<string, unknown>];
  const { capabilities, metadata, ...others } = members;
  assert.equal(kind, "announce");
  assert.deepEqual(others, {
    peerId: "alice",
    room: "r",
    resumable: true,
    resumeToken: "t",
    lastSeq: 2n ** 53n - 1n,
    notices: true,
    iceServers: true,
  });
  const { audio, video, data, extensions } = capabilities as Record<string, unknown>;
  assert.deepEqual([audio, video, data, extensions], [true, false, false, '{"screen":{"width":3}}']);
  assert.deepEqual({ ...(metadata as object) }, { name: "Alice", age: "7", tags: '["a",null]', none: "null" });
});

test("absent, empty and 0 are apart in candidates", () => {
  const candidate = { toPeerId: "bob", candidate: "c", offerId: "" };
  const names = (params: object) =>
    Object.keys((read({ method: "ice_candidate", params: { ...candidate, ...params } }) as [string, object])[1]).sort();
  const always = ["candidate", "offerId", "toPeerId"];
  assert.deepEqual(names({}), always);
  assert.deepEqual(names({ sdpMid: null, sdpMLineIndex: null, usernameFragment: null }), always);
  assert.deepEqual(
    names({ sdpMid: "", sdpMLineIndex: 0, usernameFragment: "" }),
    [...always, "sdpMid", "sdpMlineIndex", "usernameFragment"].sort(),
  );
});

test("an empty room is apart from none", () => {
  assert.deepEqual(read({ method: "list_peers", params: { pageSize: 3 } }), ["listPeers", { pageSize: 3, pageToken: "" }]);
  assert.deepEqual(read({ method: "list_peers", params: { room: "" } }), [
    "listPeers",
    { room: "", pageSize: 0, pageToken: "" },
  ]);
});

for (const [title, request, field] of [
  ["half a letter", { method: "offer", params: { toPeerId: "b\ud800", sdp: "v" } }, "to_peer_id"],
  ["a number for a text", { method: "offer", params: { toPeerId: 5, sdp: "v" } }, "to_peer_id"],
  ["a negative index", { method: "ice_candidate", params: { toPeerId: "b", sdpMLineIndex: -1 } }, "sdp_mline_index"],
  ["half an index", { method: "ice_candidate", params: { toPeerId: "b", sdpMLineIndex: 0.5 } }, "sdp_mline_index"],
  ["too large an index", { method: "ice_candidate", params: { toPeerId: "b", sdpMLineIndex: 2 ** 32 } }, "sdp_mline_index"],
  ["a page of less than nothing", { method: "list_peers", params: { pageSize: -1 } }, "page_size"],
  ["half an event", { method: "announce", params: { peerId: "a", lastSeq: 0.5 } }, "last_seq"],
  ["a capability that is a text", { method: "announce", params: { peerId: "a", capabilities: { audio: "yes" } } }, "capabilities"],
  ["capabilities that are a list", { method: "announce", params: { peerId: "a", capabilities: [] } }, "capabilities"],
  ["metadata that are a text", { method: "announce", params: { peerId: "a", metadata: "m" } }, "metadata"],
  ["metadata with half a letter", { method: "announce", params: { peerId: "a", metadata: { a: "\udc00" } } }, "metadata"],
  ["metadata that JSON cannot say", { method: "announce", params: { peerId: "a", metadata: { a: 1n } } }, "metadata"],
] as const) {
  test(`${title} is refused`, () => {
    assert.throws(
      () => requestToBytes(request as unknown as StreamRequest, "1"),
      (error: SignalingError) => {
        assert.ok(error instanceof SignalingError);
        assert.deepEqual([error.code, error.extra["field"]], ["INVALID_ARGUMENT", field]);
        return true;
      },
    );
  });
}

test("events have the members that JSON gives them", () => {
  const capabilities = { audio: true, extensions: '{"screen":true}' };
  const metadata = { name: "Bob" };
  assert.deepEqual(event({ case: "peerJoined", value: { peerId: "bob", capabilities, metadata } }, 5n), {
    event: {
      kind: "peer_joined",
      peerId: "bob",
      capabilities: { screen: true, audio: true, video: false, data: false },
      metadata,
    },
    seq: 5,
  });
  assert.deepEqual(event({ case: "peerLeft", value: { peerId: "bob" } }), {
    event: { kind: "peer_left", peerId: "bob" },
    seq: 0,
  });
  assert.deepEqual(event({ case: "offer", value: { fromPeerId: "bob", offerId: "o", sdp: "v", type: "offer" } }), {
    event: { kind: "offer", fromPeerId: "bob", offerId: "o", sdp: "v", type: "offer" },
    seq: 0,
  });
  assert.deepEqual(event({ case: "answer", value: { fromPeerId: "bob", sdp: "v" } }), {
    event: { kind: "answer", fromPeerId: "bob", sdp: "v", type: "answer" },
    seq: 0,
  });
  assert.deepEqual(event({ case: "answer", value: { fromPeerId: "bob", sdp: "v", type: "pranswer", offerId: "o" } }), {
    event: { kind: "answer", fromPeerId: "bob", sdp: "v", type: "pranswer", offerId: "o" },
    seq: 0,
  });
  assert.deepEqual(event({ case: "iceCandidate", value: { fromPeerId: "bob", candidate: "" } }), {
    event: { kind: "ice_candidate", fromPeerId: "bob", candidate: "" },
    seq: 0,
  });
  const full = { fromPeerId: "bob", candidate: "c", sdpMid: "", sdpMlineIndex: 0, usernameFragment: "u", offerId: "o" };
  const { sdpMlineIndex, ...others } = full;
  assert.deepEqual(event({ case: "iceCandidate", value: full }), {
    event: { kind: "ice_candidate", ...others, sdpMLineIndex: sdpMlineIndex },
    seq: 0,
  });
  assert.deepEqual(event({ case: "peerDisconnected", value: { peerId: "bob", offerId: "o" } }), {
    event: { kind: "peer_disconnected", peerId: "bob", offerId: "o" },
    seq: 0,
  });
  assert.deepEqual(event({ case: "serverNotice", value: { kind: "tomorrow", message: "m" } }), {
    event: { kind: "server_notice", notice: "tomorrow", message: "m" },
    seq: 0,
  });
  const notice = { kind: "draining", message: "m", reconnectAfterMs: 5, deadlineUnixMs: 1_900_000_000_000n };
  assert.deepEqual(event({ case: "serverNotice", value: { ...notice, data: '{"a":1}' } }), {
    event: {
      kind: "server_notice",
      notice: "draining",
      message: "m",
      reconnectAfterMs: 5,
      deadlineUnixMs: 1_900_000_000_000,
      data: { a: 1 },
    },
    seq: 0,
  });
});

test("ICE servers are as W3C has them, in a result and in an event", () => {
  const servers = [
    { urls: "stun:stun.example.org" },
    { urls: ["turn:turn.example.org"], username: "1:a_b", credential: "c_d=" },
  ];
  const value = { servers: JSON.stringify(servers), expiresUnixMs: 1_900_000_000_000n };
  const seen = event({ case: "iceServers", value });
  assert.deepEqual(seen, { event: { kind: "ice_servers", servers, expiresUnixMs: 1_900_000_000_000 }, seq: 0 });
  for (const text of ["", "[]"])
    assert.deepEqual(event({ case: "iceServers", value: { servers: text } }), {
      event: { kind: "ice_servers", servers: [] },
      seq: 0,
    });
  for (const text of ["{}", "[1]", "no JSON"])
    assert.throws(() => event({ case: "iceServers", value: { servers: text } }));
  assert.deepEqual(read({ method: "get_ice_servers", params: {} }), ["getIceServers", {}]);
  const data = JSON.stringify({ ice_servers: servers, ice_servers_expire_unix_ms: 5 });
  const response = { case: "ack", value: { data } } as const;
  const { outcome } = said({ requestId: "1", response }, { method: "get_ice_servers", params: {} }) as { outcome: object };
  assert.deepEqual(outcome, { iceServers: servers, iceServersExpireUnixMs: 5 });
});

test("what a peer has announced stops nobody who reads of it", () => {
  const capabilities = { video: true, extensions: "no JSON" };
  assert.deepEqual(event({ case: "peerJoined", value: { peerId: "bob", capabilities } }), {
    event: { kind: "peer_joined", peerId: "bob", capabilities: { audio: false, video: true, data: false }, metadata: {} },
    seq: 0,
  });
});

test("a page has the words of states, and numbers", () => {
  const peers = [
    { peerId: "bob", state: 3, connectedAt: 1_900_000_000n, metadata: { a: "b" } },
    { peerId: "eve", state: 99 },
  ];
  const none = { audio: false, video: false, data: false };
  const value = { peers, count: 7, nextPageToken: "n" };
  assert.deepEqual(said({ requestId: "1", response: { case: "peerList", value } }, { method: "list_peers", params: {} }), {
    number: 1,
    outcome: {
      peers: [
        { peerId: "bob", capabilities: none, state: "away", metadata: { a: "b" }, connectedAt: 1_900_000_000 },
        { peerId: "eve", capabilities: none, state: "unspecified", metadata: {}, connectedAt: 0 },
      ],
      count: 7,
      nextPageToken: "n",
    },
  });
});

test("a refusal has its code, and what else is known", () => {
  const details = '{"code":8,"status":"RESOURCE_EXHAUSTED","retry_after_ms":250,"limit":5}';
  const value = { code: 8, message: "Slowly", details };
  const { outcome } = said({ requestId: "1", response: { case: "error", value } }, { method: "list_peers", params: {} }) as {
    outcome: SignalingError;
  };
  assert.ok(outcome instanceof SignalingError);
  assert.deepEqual([outcome.code, outcome.message, outcome.retryAfterMs], ["RESOURCE_EXHAUSTED", "Slowly", 250]);
  assert.deepEqual(outcome.extra, { retry_after_ms: 250, limit: 5 });
});

test("a code that nobody knows is INTERNAL", () => {
  const asked = { method: "list_peers", params: {} } as const;
  const { outcome } = said({ requestId: "1", response: { case: "error", value: { code: 99, details: "no" } } }, asked) as {
    outcome: SignalingError;
  };
  assert.deepEqual([outcome.code, outcome.extra], ["INTERNAL", {}]);
});

test("a number that counts nothing is none", () => {
  const left = { case: "peerLeft", value: { peerId: "bob" } } as const;
  for (const [seq, known] of [
    [2n ** 53n - 1n, 2 ** 53 - 1],
    [2n ** 53n, 0],
    [2n ** 64n - 1n, 0],
  ] as const)
    assert.deepEqual(event(left, seq), { event: { kind: "peer_left", peerId: "bob" }, seq: known });
});

test("a request that there is not is refused", () => {
  for (const method of ["nonsense", "toString", "__proto__", ""])
    assert.throws(() => requestToBytes({ method, params: {} } as never, "1"), SignalingError);
});

test("metadata of any name arrives, or is refused", () => {
  const announce = (text: string) => {
    const metadata = JSON.parse(text) as Record<string, unknown>;
    return read({ method: "announce", params: { peerId: "alice", metadata } }) as [string, { metadata: object }];
  };
  const [, members] = announce('{"constructor": "a", "toString": "b"}');
  assert.deepEqual(Object.entries(members.metadata), [
    ["constructor", "a"],
    ["toString", "b"],
  ]);
  assert.throws(() => announce('{"__proto__": "a"}'), { code: "INVALID_ARGUMENT", extra: { field: "metadata" } });
});
