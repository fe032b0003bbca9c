/**
 * Errors of the client, and the codes of refusals.
 *
 * Source: `docs/protocol.md`, sections "Errors" and "How a connection ends".
 */

/** The gRPC status codes that a request can be refused with, by name. */
export const Code = {
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** The name of a code, such as `"NOT_FOUND"`. */
export type CodeName = keyof typeof Code;

/** The root of every error of this package; its text is for people. */
export class SigbridgeError extends Error {
  override name = "SigbridgeError";
}

/** The server refused a request, and nothing has changed: `code` says why. */
export class SignalingError extends SigbridgeError {
  override name = "SignalingError";
  declare readonly code: CodeName;
  /** Further facts, by the names of the protocol: `field`, `limit`, `retry_after_ms`, … */
  declare readonly extra: Readonly<Record<string, unknown>>;

  constructor(code: CodeName, message: string, extra: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.code = code;
    this.extra = extra;
  }

  /** Milliseconds after which trying again helps, where that is known. */
  get retryAfterMs(): number | undefined {
    const ms = this.extra["retry_after_ms"];
    return typeof ms === "number" ? ms : undefined;
  }
}

/** The connection has ended, or was refused: `reason` is the server's word for it where it said one. */
export class ConnectionClosed extends SigbridgeError {
  override name = "ConnectionClosed";
  declare readonly reason: string;
  /** The server's advice to come back, or not to; `undefined` where it gave none. */
  declare readonly reconnect: boolean | undefined;
  /** Milliseconds after which to come back, where that is known. */
  declare readonly retryAfterMs: number | undefined;

  constructor(reason: string, reconnect?: boolean, retryAfterMs?: number) {
    super(`connection closed: ${reason}`);
    this.reason = reason;
    this.reconnect = reconnect;
    this.retryAfterMs = retryAfterMs;
  }
}

/** The peer that sent a request is lost, and nobody knows whether the request was carried out. */
export class OutcomeUnknown extends ConnectionClosed {
  override name = "OutcomeUnknown";
}
