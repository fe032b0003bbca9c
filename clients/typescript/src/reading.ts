/**
 * Results, refusals and events as a client reads them from the JSON of a server, which may be older than it.
 *
 * Rule 1: what an older server leaves out is read as empty where nothing depends on it; null is absent. Rule 2: what a
 * peer has announced is only shown, so that nothing in it stops who reads of it. Rule 3: members that this client does
 * not know are left out. Source: `docs/protocol.md`, sections "Results" and "Events".
 */

import { Code, type CodeName, SignalingError } from "./errors.js";
import { type Capabilities, EVENTS, type JsonObject, PEER, RESULTS, type ServerEvent } from "./messages.js";
import { fromWire } from "./names.js";
import type { Request, Result } from "./session.js";

/** True for an object of JSON. */
export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isText = (value: unknown) => typeof value === "string";
/** Reads what is of the type of `empty`, which is what an absent one is. */
const like =
  (empty: unknown) =>
  (value = empty) =>
    typeof value === typeof empty ? value : undefined;
const arrayOf =
  (is: (value: unknown) => boolean) =>
  (value: unknown = []): unknown[] | undefined =>
    Array.isArray(value) && value.every(is) ? value : undefined;

/** Reads a member of a type, by its mark in a shape: empty where it is absent, undefined where it is of another type. */
const READ: Record<string, (value: unknown) => unknown> = {
  "": like(""),
  "=": (value) => (isText(value) ? value : undefined),
  "#": like(0),
  "|": (value) => (value == null ? null : like(0)(value)),
  "!": like(false),
  "{": (value = {}) => (isObject(value) ? value : undefined),
  "[": arrayOf(isText),
  "%": arrayOf(isObject),
  "*": (value) => arrayOf(isObject)(value)?.map((one) => read(PEER, one, { state: "unspecified" })),
  "~": (value) => (isObject(value) ? value : {}),
  "@": capabilitiesOf,
};

/**
 * Returns the members of a shape, with their names in JavaScript.
 *
 * @throws TypeError if `members` are not of that shape
 */
function read(shape: string, members: unknown, absent: JsonObject): JsonObject {
  if (!isObject(members)) throw new TypeError("it is no object");
  const said = { ...absent, ...fromWire(members) };
  const result: JsonObject = {};
  for (const [, name = "", mark = "", optional] of shape.matchAll(/(\w+)([^\w ?]?)(\??)/g)) {
    const value = said[name];
    if (value === undefined && optional) continue;
    const known = READ[mark]?.(value);
    if (known === undefined) throw new TypeError(`${name} is missing or wrong`);
    result[name] = known;
  }
  return result;
}

/** Returns capabilities that are an object or an array of names; whatever else they are, they are none. */
export function capabilitiesOf(value: unknown): Capabilities {
  const named = Array.isArray(value) ? value.filter(isText).map((one) => [one, true]) : [];
  const said: JsonObject = isObject(value) ? value : Object.fromEntries(named);
  return { ...said, audio: said["audio"] === true, video: said["video"] === true, data: said["data"] === true };
}

/**
 * Returns the result of a request that JSON says.
 *
 * @throws TypeError if it says none
 */
export function resultOf({ method, params }: Request, value: unknown): Result {
  const said = value as { [name: string]: unknown[] } | null;
  const repeated = params as JsonObject;
  return read(RESULTS[method], value, {
    peerId: repeated["peerId"],
    toPeerId: repeated["toPeerId"],
    peersCount: said?.["other_peers"]?.length,
    count: said?.["peers"]?.length,
  }) as unknown as Result;
}

/**
 * Returns the event of this kind; undefined if this client knows no such kind.
 *
 * @throws TypeError if it is none
 */
export function eventOf(kind: string, params: unknown): ServerEvent | undefined {
  if (!Object.hasOwn(EVENTS, kind)) return undefined;
  const notice = (params as JsonObject | null)?.["kind"];
  const members = read(EVENTS[kind as ServerEvent["kind"]], params, { type: kind, notice });
  return { kind, ...members } as unknown as ServerEvent;
}

/** Returns the name of a gRPC status code, where this client knows it. */
export const codeName = (code: unknown): CodeName | undefined =>
  (Object.keys(Code) as CodeName[]).find((name) => Code[name] === code);

/** Returns the refusal that an error says; `data` is what accompanies it, and no object where there is nothing. */
export function refusalOf(code: CodeName, message: string, data: unknown): SignalingError {
  const { code: _code, status: _status, message: _message, ...extra } = isObject(data) ? data : {};
  return new SignalingError(code, message, extra);
}
