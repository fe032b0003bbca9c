/**
 * A session: one connection with a server, by either protocol.
 *
 * A client sends numbered requests through it, and is told what arrives. When its session ends, the client may go on
 * with another one, and then sends again under the same numbers the requests that are still open.
 */

import type { ConnectionClosed, SignalingError } from "./errors.js";
import type { Method, Requests, ServerEvent } from "./messages.js";

/** One request, with the names of JavaScript. */
export type Request = { [M in Method]: { method: M; params: Requests[M]["params"] } }[Method];

/** The result of a request, of whichever method. */
export type Result = Requests[Method]["result"];

/** The ear of a client for its session, which tells it everything in the order in which it arrives. */
export interface Listener {
  /** The result of a request, or its refusal. */
  replied(number: number, outcome: Result | SignalingError): void;
  /** An event; `seq` is its number, 0 where it has none. */
  told(event: ServerEvent, seq: number): void;
  /** The session has ended. Called once, and nothing follows. */
  closed(closed: ConnectionClosed): void;
}

/** One connection with a server. */
export interface Session {
  /** The one that is told what arrives; a client may give itself in place of another. */
  listener: Listener;
  /**
   * Writes a request; without effect where the session has ended.
   *
   * A request that the protocol cannot say is refused by `listener.replied` with INVALID_ARGUMENT.
   */
  send(number: number, request: Request): void;
  /**
   * Leaves and closes the connection; resolves when `listener.closed` has been called. Harmless where it has ended.
   *
   * The server may take as long as it likes: who does not wait gives up.
   */
  close(): Promise<void>;
  /** Ends the session at once and without a farewell, as if its connection were lost. */
  giveUp(): void;
}

/** The token and the limits of an opening. */
export interface OpenOptions {
  /** The API token, where there is one. */
  token?: string | undefined;
  /** The time limit of the opening, in milliseconds. */
  timeoutMs: number;
  /** Ends the opening early, by `onabort`, as if its time limit had passed: nobody waits for it any more. */
  signal?: AbortSignal;
}

/**
 * Opens sessions by one protocol.
 *
 * @throws ConnectionClosed if the server cannot be reached or lets nobody in: `reason` is then the server's word
 *     (`unauthenticated`, `draining`, …) or a text, never with the token in it
 */
export type Opener = (url: URL, listener: Listener, options: OpenOptions) => Promise<Session>;
