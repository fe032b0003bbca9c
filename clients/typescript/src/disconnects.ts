/**
 * The words by which a server ends a connection, or lets nobody in, and what they advise its client.
 *
 * Source: `docs/protocol.md`, sections "How a connection ends" and "Refused at the door".
 */

import { ConnectionClosed } from "./errors.js";

/** The word for a connection that broke. */
export const CONNECTION_LOST = "connection_lost";

/** The words after which to come back. */
const COME_BACK =
  " draining slow_consumer token_expired announce_timeout flooding message_too_big message_timeout overload max_age" +
  " keepalive_timeout connection_lost internal_error throttled held_off sessions memory ";
/** The words after which not to. */
const STAY_AWAY = " not_utf8 protocol_error replaced revoked unauthenticated origin ";

/** Returns whether to come back after a word; `undefined` where it says nothing of that. */
export const reconnectAdvice = (word: string): boolean | undefined =>
  COME_BACK.includes(` ${word} `) ? true : STAY_AWAY.includes(` ${word} `) ? false : undefined;

/**
 * Returns the end that a word says, which is empty where none was said.
 *
 * `retryAfterMs` is a whole number of milliseconds as text; anything else says nothing.
 */
export function closedByWord(word: string, retryAfterMs = ""): ConnectionClosed {
  const said = word || CONNECTION_LOST;
  return new ConnectionClosed(said, reconnectAdvice(said), /^\d+$/.test(retryAfterMs) ? +retryAfterMs : undefined);
}

/** Returns the advice of an HTTP response with this status, of which nothing else is known. */
export function closedByStatus(status: number): ConnectionClosed {
  if (status === 401) return closedByWord("unauthenticated");
  if (status === 403) return closedByWord("origin");
  const passes = [408, 425, 429, 500, 502, 503, 504].includes(status);
  return new ConnectionClosed(`refused with HTTP ${status}`, passes || undefined);
}
