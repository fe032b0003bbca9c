/**
 * Protobuf messages to the client's and back.
 *
 * Rule 1: nothing here has state or does I/O. Rule 2: a request that protobuf cannot say is refused, and never sent as
 * something else. Rule 3: an absent `optional` stays apart from `0` and `""`. Rule 4: a server may be newer than the
 * client: what it says besides is passed over.
 * Source: `docs/protocol.md`, sections "The gRPC contract" and "Results".
 */

import { create, type DescField, type DescMessage, fromBinary, ScalarType, toBinary } from "@bufbuild/protobuf";
import { SignalingError } from "../errors.js";
import * as pb from "../generated/webrtc_signaling_pb.js";
import type {
  AnswerReceived,
  Capabilities,
  Health,
  IceCandidateReceived,
  JsonObject,
  OfferReceived,
  PeerList,
  ServerEvent,
  ServerNotice,
} from "../messages.js";
import { capabilitiesOf, codeName, eventOf, isObject, refusalOf, resultOf } from "../reading.js";
import type { Request, Result } from "../session.js";

/** The content of a server's message: the outcome of a request, an event, or nothing that this client knows. */
export type Said =
  | { number: number; outcome: Result | SignalingError }
  | { event: ServerEvent; seq: number }
  | undefined;

const MESSAGES = {
  announce: pb.AnnounceRequestSchema,
  offer: pb.OfferRequestSchema,
  answer: pb.AnswerRequestSchema,
  ice_candidate: pb.IceCandidateRequestSchema,
  disconnect: pb.DisconnectRequestSchema,
  list_peers: pb.ListPeersRequestSchema,
  authenticate: pb.AuthenticateRequestSchema,
  get_ice_servers: pb.GetIceServersRequestSchema,
};

/** A request that has a message on the stream; the other one, `health_check`, is a call of its own. */
export type StreamRequest = Exclude<Request, { method: "health_check" }>;

/**
 * Returns the bytes of a request; `id` may be empty.
 *
 * @throws SignalingError INVALID_ARGUMENT if a member holds what protobuf cannot carry
 */
export function requestToBytes(request: StreamRequest, id: string): Uint8Array {
  const fields = pb.SignalingRequestSchema.oneofs[0]!.fields;
  const field = fields.find((one) => one.name === request.method);
  if (!field) throw invalid("method", "is none");
  const value = messageOf(MESSAGES[request.method], request.params);
  const message = { requestId: id, request: { case: field.localName, value } };
  return toBinary(pb.SignalingRequestSchema, create(pb.SignalingRequestSchema, message as never));
}

function messageOf(schema: DescMessage, params: object) {
  const values: Record<string, unknown> = {};
  for (const field of schema.fields) {
    const value = (params as Record<string, unknown>)[nameOf(field)];
    if (value != null) values[field.localName] = valueOf(field, value);
  }
  return create(schema, values as never);
}

/** The member's name in JavaScript, as W3C WebRTC writes it. */
function nameOf(field: DescField): string {
  return field.localName === "sdpMlineIndex" ? "sdpMLineIndex" : field.localName;
}

function valueOf(field: DescField, value: unknown): unknown {
  if (field.name === "capabilities") return capabilitiesToProto(checkObject(field, value));
  if (field.fieldKind === "map") return metadataToProto(field, checkObject(field, value));
  switch (field.scalar) {
    case ScalarType.STRING:
      return checkText(field, value);
    case ScalarType.BOOL:
      if (typeof value !== "boolean") throw refused(field, "is not true or false");
      return value;
    case ScalarType.UINT64:
      if (!Number.isSafeInteger(value) || (value as number) < 0) throw refused(field, "must be a whole number from 0 on");
      return BigInt(value as number);
    default:
      if ((value as number) >>> 0 !== value) throw refused(field, "must be a whole number from 0 to 4294967295");
      return value;
  }
}

function capabilitiesToProto({ audio, video, data, ...extensions }: JsonObject): object {
  for (const [name, value] of Object.entries({ audio, video, data })) {
    if (value != null && typeof value !== "boolean") throw invalid("capabilities", `has a ${name} that is not true or false`);
  }
  return create(pb.PeerCapabilitiesSchema, {
    audio: audio === true,
    video: video === true,
    data: data === true,
    extensions: Object.keys(extensions).length > 0 ? checkedText("capabilities", jsonText("capabilities", extensions)) : "",
  });
}

/** Metadata; a value that is not text becomes its JSON text. */
function metadataToProto(field: DescField, metadata: JsonObject): Record<string, string> {
  const texts: Record<string, string> = {};
  for (const [name, value] of Object.entries(metadata)) {
    if (value === undefined) continue;
    // The library would lose it.
    if (name === "__proto__") throw refused(field, "holds __proto__, which is no name");
    texts[checkText(field, name)] = checkText(field, typeof value === "string" ? value : jsonText(field.name, value));
  }
  return texts;
}

function jsonText(field: string, value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch {
    throw invalid(field, "holds what JSON cannot say");
  }
}

function checkObject(field: DescField, value: unknown): JsonObject {
  if (!isObject(value)) throw refused(field, "is not an object");
  return value;
}

function checkText(field: DescField, value: unknown): string {
  return checkedText(field.name, value);
}

function checkedText(field: string, value: unknown): string {
  // The library would write another letter in place of half of one.
  if (typeof value !== "string" || /\p{Surrogate}/u.test(value)) throw invalid(field, "holds what is no text");
  return value;
}

function refused(field: DescField, what: string): SignalingError {
  return invalid(field.name, what);
}

function invalid(field: string, what: string): SignalingError {
  return new SignalingError("INVALID_ARGUMENT", `Invalid params: ${field} ${what}`, { field });
}

/**
 * Returns what bytes of a server say to the requests `asked`: an outcome, an event, or nothing that is known.
 *
 * @throws Error if they are no message of the protocol
 */
export function saidBy(bytes: Uint8Array, asked: ReadonlyMap<number, StreamRequest>): Said {
  const { requestId, seq, response } = fromBinary(pb.SignalingResponseSchema, bytes);
  if (response.case === "notification") {
    const event = eventFromProto(response.value);
    const number = Number(seq);
    return event && { event, seq: Number.isSafeInteger(number) ? number : 0 };
  }
  const number = Number(requestId || NaN);
  const request = asked.get(number);
  if (!request) return undefined;
  if (response.case === "error") return { number, outcome: refusalFromProto(response.value) };
  if (response.case === "peerList") return { number, outcome: pageFromProto(response.value) };
  if (response.case === "ack" && request.method !== "list_peers") {
    return { number, outcome: resultFromAck(request, response.value.data) };
  }
  throw new Error(`the server replied to ${request.method} with ${response.case}`);
}

function resultFromAck(request: StreamRequest, data: string): Result | SignalingError {
  try {
    return resultOf(request, JSON.parse(data || "{}"));
  } catch (error) {
    // What a parser says may hold some of the message.
    const what = error instanceof TypeError ? error.message : "it is no JSON";
    return new SignalingError("INTERNAL", `the server's result is none: ${what}`);
  }
}

function refusalFromProto({ code, message, details }: pb.ErrorResponse): SignalingError {
  return refusalOf(codeName(code) ?? "INTERNAL", message, objectOf(details));
}

/** An event, or undefined where it is one that this client does not know. */
function eventFromProto({ notification }: pb.SignalingNotification): ServerEvent | undefined {
  switch (notification.case) {
    case "peerJoined": {
      const { peerId, capabilities, metadata } = notification.value;
      return { kind: "peer_joined", peerId, capabilities: capabilitiesFromProto(capabilities), metadata };
    }
    case "peerLeft":
      return { kind: "peer_left", peerId: notification.value.peerId };
    case "offer": {
      const { fromPeerId, offerId, sdp, type } = notification.value;
      return { kind: "offer", fromPeerId, offerId, sdp, type: (type || "offer") as OfferReceived["type"] };
    }
    case "answer": {
      const { fromPeerId, sdp, type, offerId } = notification.value;
      const said = (type || "answer") as AnswerReceived["type"];
      return { kind: "answer", fromPeerId, sdp, type: said, ...(offerId && { offerId }) };
    }
    case "iceCandidate": {
      const { fromPeerId, candidate, sdpMid, sdpMlineIndex, usernameFragment, offerId } = notification.value;
      const event: IceCandidateReceived = { kind: "ice_candidate", fromPeerId, candidate };
      if (sdpMid !== undefined) event.sdpMid = sdpMid;
      if (sdpMlineIndex !== undefined) event.sdpMLineIndex = sdpMlineIndex;
      if (usernameFragment !== undefined) event.usernameFragment = usernameFragment;
      if (offerId) event.offerId = offerId;
      return event;
    }
    case "peerDisconnected": {
      const { peerId, offerId } = notification.value;
      return { kind: "peer_disconnected", peerId, ...(offerId && { offerId }) };
    }
    case "serverNotice": {
      const { kind, message, reconnectAfterMs, deadlineUnixMs, data } = notification.value;
      const event: ServerNotice = { kind: "server_notice", notice: kind, message };
      if (reconnectAfterMs) event.reconnectAfterMs = reconnectAfterMs;
      if (deadlineUnixMs) event.deadlineUnixMs = Number(deadlineUnixMs);
      if (data) event.data = objectOf(data);
      return event;
    }
    case "iceServers": {
      const { servers, expiresUnixMs } = notification.value;
      const members = { servers: JSON.parse(servers || "[]"), expires_unix_ms: Number(expiresUnixMs) || undefined };
      return eventOf("ice_servers", members);
    }
    default:
      return undefined;
  }
}

function pageFromProto({ peers, count, nextPageToken }: pb.PeerListResponse): PeerList {
  return {
    peers: peers.map(({ peerId, capabilities, state, metadata, connectedAt }) => ({
      peerId,
      capabilities: capabilitiesFromProto(capabilities),
      state: (pb.PeerState[state] ?? "UNSPECIFIED").toLowerCase(),
      metadata,
      connectedAt: Number(connectedAt),
    })),
    count: count || peers.length,
    nextPageToken,
  };
}

/** Capabilities of another peer; extensions that are none are left out, since they are only shown. */
function capabilitiesFromProto(message: pb.PeerCapabilities | undefined): Capabilities {
  const { audio, video, data, extensions = "" } = message ?? {};
  return capabilitiesOf({ ...objectOf(extensions), audio, video, data });
}

/**
 * Returns the server's health, from the bytes of the response to a health check.
 *
 * @throws Error if they are none
 */
export function healthFromBytes(bytes: Uint8Array): Health {
  const health = fromBinary(pb.HealthCheckResponseSchema, bytes);
  return {
    status: health.status as Health["status"],
    uptimeSeconds: Number(health.uptimeSeconds),
    connectedPeers: health.connectedPeers,
    metrics: objectOf(health.metrics),
  };
}

/** The object that a text of JSON says; empty where it says none. */
function objectOf(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}
