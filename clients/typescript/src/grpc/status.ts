/**
 * The end of a call on gRPC: its status, and trailers that say more than a status can.
 *
 * Source: `docs/protocol.md`, sections "How a connection ends" and "Refused at the door".
 */

import { type Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { closedByStatus, CONNECTION_LOST, closedByWord, reconnectAdvice } from "../disconnects.js";
import { ConnectionClosed, SignalingError } from "../errors.js";
import { codeName } from "../reading.js";

/** The advice after a status with which a server, or a proxy, says nothing else. */
const ADVICE_OF_CODES = new Map<number, boolean>([
  [status.PERMISSION_DENIED, false],
  [status.INTERNAL, true],
  [status.UNKNOWN, true],
  [status.RESOURCE_EXHAUSTED, true],
  [status.ABORTED, true],
  [status.DATA_LOSS, true],
]);

/** Codes that the library gives to calls whose connection was lost, or never came to be. */
const CONNECTION_CODES: readonly number[] = [status.UNAVAILABLE, status.CANCELLED, status.DEADLINE_EXCEEDED];

/** Returns whether the end of a call is not the server's word. */
export function isLost({ code, details }: StatusObject): boolean {
  // The library leaves the details out of some of its own, whatever their type says.
  return CONNECTION_CODES.includes(code) || (details ?? "").startsWith("Received RST_STREAM with code");
}

/** Returns how a session ended: the server's word, else the library's status. */
export function closedBy(ended: StatusObject): ConnectionClosed {
  const { code, metadata } = ended;
  if (code === status.OK) return closed(metadata, "client_left");
  if (isLost(ended)) return closed(metadata, CONNECTION_LOST);
  return closed(metadata, (status[code] ?? "unknown").toLowerCase(), adviceOf(ended, ADVICE_OF_CODES.get(code)));
}

/**
 * Returns how the opening of a session failed: the server's word, else that `target` cannot be reached.
 *
 * `hint` may say why.
 */
export function refusedBy(ended: StatusObject, target: string, hint: string): ConnectionClosed {
  const refused = closedBy(ended);
  if (!isUnreached(ended)) return refused;
  const why = hint || reasonOf(ended.details) || "the call was ended";
  return new ConnectionClosed(`cannot connect to ${target}: ${why}`, hint ? false : adviceOf(ended, true));
}

/** Returns whether an opening has not come as far as to a server's word. */
export function isUnreached(ended: StatusObject): boolean {
  return ended.code === status.OK || closedBy(ended).reason === CONNECTION_LOST;
}

/** Returns what the library says of a failure, without what it says of every one. */
function reasonOf(details = ""): string {
  const [line = ""] = details.replace(/^No connection established\. Last error: (Error: )?/, "").split("\n");
  return line.replace(/ \(\d{4}-[\dT:.-]+Z\)/, "").replace(/\.? Resolution note: .*$/, "");
}

/** Returns the refusal of a call beside a session. */
export function refusalBy({ code, details, metadata }: StatusObject): SignalingError {
  const name = codeName(code) ?? "INTERNAL";
  const retry = textOf(metadata, "signaling-retry-after-ms");
  return new SignalingError(name, details || name, /^\d+$/.test(retry) ? { retry_after_ms: Number(retry) } : {});
}

function closed(trailers: Metadata, otherwise: string, advice?: boolean): ConnectionClosed {
  const said = textOf(trailers, "signaling-disconnect");
  const { reason, retryAfterMs } = closedByWord(said || otherwise, textOf(trailers, "signaling-retry-after-ms"));
  const known = reconnectAdvice(reason) ?? (said ? undefined : advice);
  const told = textOf(trailers, "signaling-reconnect");
  return new ConnectionClosed(reason, told === "yes" ? true : told === "no" ? false : known, retryAfterMs);
}

function textOf(trailers: Metadata, name: string): string {
  return String(trailers.get(name)[0] ?? "");
}

/** Returns the advice of a response that is a page of a proxy or of another server; else `otherwise`. */
function adviceOf({ details }: StatusObject, otherwise: boolean | undefined): boolean | undefined {
  const page = /^Received HTTP status code (\d{3})$/.exec(details);
  return page ? closedByStatus(Number(page[1])).reconnect : otherwise;
}
