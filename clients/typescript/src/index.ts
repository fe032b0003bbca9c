/** A client of sigbridge, a WebRTC signaling server, for browsers and Node: `connect` makes one. */

import { type ConnectOptions as CommonOptions, connectBy, type SignalingClient } from "./client.js";
import { openWebSocket } from "./websocket.js";

export type { AnnounceOptions, Candidate, Description, ListenerOptions, OfOffer, SignalingClient } from "./client.js";
export * from "./errors.js";
export type * from "./events.js";
export type * from "./messages.js";
export type { TokenSource } from "./opening.js";

/** Options of a client over WebSocket. */
export interface ConnectOptions extends CommonOptions {
  /** The class of sockets, where it is another one than the runtime's own, such as that of the package `ws`. */
  WebSocket?: Parameters<typeof openWebSocket>[0];
}

/**
 * Opens a session with a signaling server, and another one whenever it is lost; resolves to the client.
 *
 * `url` is one URL, `ws://HOST:PORT/PATH` or `wss://…`, or several, of which the last good one is tried first. With
 * `resume`, which is the default, the client reconnects by itself, stays the same peer where the server holds it, and
 * tells among its events of it (`reconnecting`, `resumed`, `session_lost`). It tries again until it stands, or for
 * `giveUpAfterSeconds` after a loss. Without it the client ends with its connection.
 *
 * @throws SigbridgeError if a URL is none of these; what `token` throws is passed on
 * @throws ConnectionClosed if the server cannot be reached, or lets nobody in by this token
 */
export function connect(
  url: string | URL | readonly (string | URL)[],
  options: ConnectOptions = {},
): Promise<SignalingClient> {
  const open = openWebSocket(options.WebSocket);
  return connectBy({ ws: open, wss: open }, url, options);
}
