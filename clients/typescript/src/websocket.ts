/**
 * A session over WebSocket, which speaks JSON-RPC 2.0.
 *
 * Pages can set no header: a token stands in a subprotocol. Nor do they learn why a handshake was refused, so that the
 * server lets them in and closes at once: such a session opens, and ends with the word of the refusal.
 *
 * The states of a session, and what leads from one to the next:
 *
 *     OPENING ──the WebSocket is open──► STANDING ──it closes, is given up, or what came is no message──► ENDED
 *        └──an error, a close, the time is up, or nobody waits any more (the opening is refused)───────────┘
 *
 * Source: `docs/protocol.md`, sections "JSON-RPC over WebSocket" and "Refused at the door".
 */

import { closedByStatus, closedByWord, CONNECTION_LOST } from "./disconnects.js";
import { ConnectionClosed, SignalingError } from "./errors.js";
import type { JsonObject, ServerEvent } from "./messages.js";
import { toWire } from "./names.js";
import { codeName, eventOf, isObject, refusalOf, resultOf } from "./reading.js";
import type { Listener, Opener, Request, Result, Session } from "./session.js";

/** The used members of an event of a WebSocket: `data` of a message, `code` and `reason` of a close, `message` of an error. */
export interface SocketEvent {
  readonly type: string;
  readonly data?: unknown;
  readonly code?: number;
  readonly reason?: string;
  readonly message?: string;
}

/** The used part of a WebSocket (WHATWG WebSockets, section 3). */
export interface Socket {
  binaryType: string;
  send(text: string): void;
  close(code?: number): void;
  /** Breaks the connection; the package `ws` has it. */
  terminate?(): void;
  addEventListener(type: "open" | "message" | "error" | "close", listener: (event: SocketEvent) => void): void;
}

/** A class of WebSockets: a browser's, or that of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => Socket;

/** The close code of a client that gives up: of 1000, which says that it leaves, nothing is outlived. */
const GAVE_UP = 4999;
const NO_CONNECTION = "no connection came about";
/** Members that older servers do not know: they are not sent where they are empty. */
const ADDED = ["offer_id", "resumable", "resume_token", "last_seq", "notices", "ice_servers"];
/** A lone surrogate, as `JSON.stringify` writes it. */
const LONE_SURROGATE = /(^|[^\\])(\\\\)*\\ud[89a-f]/;
/** The gRPC status codes of refusals that come without `data`, by their JSON-RPC error codes. */
const CODES: Readonly<Record<string, number>> = { "-32601": 12, "-32603": 13, "-32006": 4 };

/**
 * Returns what opens sessions at `ws://` and `wss://` URLs, with a class of WebSockets in place of the global one.
 *
 * An opening throws ConnectionClosed if the server cannot be reached in time, and TypeError if there is no class of
 * WebSockets.
 */
export const openWebSocket =
  (WebSocketClass?: WebSocketConstructor): Opener =>
  (url, listener, { token, timeoutMs, signal }) =>
    new Promise((resolve, reject) => {
      const Class = WebSocketClass ?? (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
      if (!Class) throw new TypeError("give the option WebSocket, such as that of ws");
      const encoded = token ? `bearer.${base64url(token)}` : "";
      const cannot = (why: string, reconnect = true) =>
        new ConnectionClosed(`cannot connect to ${url.protocol}//${url.host}${url.pathname}: ${why}`, reconnect);

      let socket: Socket;
      try {
        socket = new Class(url.href, encoded ? ["jsonrpc", encoded] : ["jsonrpc"]);
      } catch {
        // The text may hold what stands in the URL and the subprotocols.
        return reject(cannot("none can be opened", false));
      }
      socket.binaryType = "arraybuffer";

      const asked = new Map<number, Request>();
      let opened = false;
      let ended = false;
      let limit: ReturnType<typeof setTimeout> | undefined;
      let onEnd: () => void;
      const end = new Promise<void>((told) => (onEnd = told));

      const finish = (closed: ConnectionClosed) => {
        if (ended) return;
        ended = true;
        clearTimeout(limit);
        if (opened) session.listener.closed(closed);
        else reject(closed);
        onEnd();
      };
      const abort = (closed: ConnectionClosed) => {
        finish(closed);
        // A class that can does not wait for the server to agree.
        (socket.terminate ?? socket.close).call(socket, GAVE_UP);
      };
      const session: Session = {
        listener,
        send(number, request) {
          if (ended) return;
          let text: string;
          try {
            text = callOf(number, request);
          } catch (error) {
            return session.listener.replied(number, error instanceof SignalingError ? error : invalid("is no JSON"));
          }
          asked.set(number, request);
          socket.send(text);
        },
        close() {
          if (!ended) socket.close(1000);
          return end;
        },
        giveUp: () => abort(closedByWord(CONNECTION_LOST)),
      };

      limit = setTimeout(() => abort(cannot("no response")), timeoutMs);
      if (signal) signal.onabort = () => opened || abort(cannot(NO_CONNECTION));
      socket.addEventListener("open", () => {
        if (ended) return;
        clearTimeout(limit);
        opened = true;
        resolve(session);
      });
      socket.addEventListener("message", ({ data }) => {
        if (ended) return;
        let tell: ((listener: Listener) => void) | undefined;
        try {
          tell = read(data, asked);
        } catch (error) {
          // What a parser says may hold some of the message.
          const what = error instanceof TypeError ? error.message : "it is no JSON";
          return abort(new ConnectionClosed(`the server sent what is no message: ${what}`, false));
        }
        tell?.(session.listener);
      });
      socket.addEventListener("error", ({ message: why = "" }) => {
        // Behind it comes a close; not so in every Node of a handshake that is refused.
        if (opened) return;
        // Browsers say nothing of it; where a library does, it may say the status of HTTP.
        const status = / [45]\d\d$/.exec(why);
        const shown = token ? why.replaceAll(token, "").replaceAll(encoded, "") : why;
        finish(status ? closedByStatus(+status[0]) : cannot(shown || NO_CONNECTION));
      });
      socket.addEventListener("close", ({ code = 0, reason = "" }) =>
        finish(opened ? closedBy(code, reason) : cannot(NO_CONNECTION)),
      );
    });

/**
 * Returns what to tell of a message: a reply to one that is `asked`, or an event.
 *
 * @throws TypeError if it is none
 */
function read(data: unknown, asked: Map<number, Request>): ((listener: Listener) => void) | undefined {
  const text = typeof data === "string" ? data : new TextDecoder("utf-8", { fatal: true }).decode(data as ArrayBuffer);
  const message: unknown = JSON.parse(text);
  if (!isObject(message)) throw new TypeError("it is no object");
  if ("method" in message) {
    const { method, params = {} } = message;
    if (typeof method !== "string") throw new TypeError("it has no method");
    const event: ServerEvent | undefined = eventOf(method, params);
    const seq = event && (params as JsonObject)["seq"];
    return event && ((listener) => listener.told(event, Number.isSafeInteger(seq) ? (seq as number) : 0));
  }
  if (!("id" in message)) throw new TypeError("it has no id");
  const number = message["id"] as number;
  const request = asked.get(number);
  if (!request) return undefined;
  asked.delete(number);
  let outcome: Result | SignalingError;
  if (message["error"] != null) outcome = refusal(message["error"] as JsonObject);
  else if (!("result" in message)) throw new TypeError("it has no result");
  else
    try {
      outcome = resultOf(request, message["result"]);
    } catch (error) {
      outcome = new SignalingError("INTERNAL", `the server's result is none: ${(error as Error).message}`);
    }
  return (listener) => listener.replied(number, outcome);
}

/** Returns the refusal that an error object says; its code is in `data`, where the server gave one. */
function refusal({ code, message = "", data }: JsonObject): SignalingError {
  return refusalOf(codeName((data as JsonObject | null)?.["code"]) ?? codeName(CODES[String(code)]) ?? "INVALID_ARGUMENT", String(message), data);
}

/**
 * Returns the text of a request.
 *
 * @throws SignalingError INVALID_ARGUMENT if it holds a lone surrogate
 * @throws TypeError if JSON cannot say it
 */
function callOf(id: number, { method, params }: Request): string {
  const members = toWire(params);
  for (const name of ADDED) if (!members[name]) delete members[name];
  const text = JSON.stringify({ jsonrpc: "2.0", method, params: members, id });
  if (LONE_SURROGATE.test(text)) throw invalid("holds what is no text");
  return text;
}

const invalid = (problem: string) =>
  new SignalingError("INVALID_ARGUMENT", `Invalid params: request ${problem}`, { field: "request" });

/** Returns the end that a close frame says, of a session that was open. */
function closedBy(code: number, reason: string): ConnectionClosed {
  const [word = "", retryAfterMs = ""] = reason.split(" retry-after-ms=");
  if (word) return closedByWord(word, retryAfterMs);
  if ([4401, 4403, 4429, 4503].includes(code)) return closedByStatus(code - 4000);
  return closedByWord(code === 1000 || code === 1001 ? "client_left" : "");
}

/** Returns the UTF-8 of a text in base64url without padding (RFC 4648, section 5). */
const base64url = (text: string): string =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text))).replace(/[+/=]/g, (one) =>
    one === "+" ? "-" : one === "/" ? "_" : "",
  );
