/** Events by which a client tells of its connection, beside those of the server. */

import type { ServerEvent } from "./messages.js";

/** The connection has ended, for `reason`; the client tries again, for the first time in `waitSeconds`. */
export interface Reconnecting {
  kind: "reconnecting";
  reason: string;
  waitSeconds: number;
}

/** A connection stands again: nothing was lost, and nobody has noticed. What came meanwhile follows. */
export interface Resumed {
  kind: "resumed";
}

/**
 * A connection stands again, and the peer of before is gone: its offers are over, and others were told that it left.
 *
 * It was announced anew, unless it had asked to leave. `otherPeers` are those of its room now, of whom events follow.
 */
export interface SessionLost {
  kind: "session_lost";
  peerId: string;
  otherPeers: string[];
}

/** The client is closed for good, for `reason`: the last event. */
export interface Closed {
  kind: "closed";
  reason: string;
}

/** An event that a program is told. */
export type ClientEvent = ServerEvent | Reconnecting | Resumed | SessionLost | Closed;
