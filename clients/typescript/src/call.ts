/**
 * Calls between the peers of a room: W3C's perfect negotiation by way of a client, which is given.
 *
 * `import { Calls } from "sigbridge/call"`. Nothing of the client itself is loaded with it.
 */

export { Call, Calls, type CallsEvents, type CallEvents, type Build, type Configuration } from "./call/calls.js";
export type { Connection } from "./call/connection.js";
export type { EndReason } from "./call/negotiation.js";
export type { IceServer } from "./messages.js";
