/**
 * Sessions over gRPC: one `Signal` stream on a connection of its own, and the calls beside it.
 *
 * The states of a session, and what leads from one to the next:
 *
 *     OPENING ──the server's initial metadata──► STANDING ──close──► LEAVING
 *        │                                          │                   │
 *        └──the call ends, or the time is up        └──the call ends────┴──the call ends, or the time is up──► ENDED
 *           (the opening is refused)
 *
 * Rule 1: the end of the stream is told once, with the server's own word for it where it sent one. Rule 2: writing never
 * waits: the library keeps what the server does not read, and a server that reads nothing is found by its silence.
 * Rule 3: who gives up breaks the connection. A call that the library cancels ends its side of the stream first, which
 * says farewell to the server. Rule 4: what has ended leaves no connection. Where the library could not connect it does
 * so again a second later, though its client is closed by then, and nothing would end that connection.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import * as grpc from "@grpc/grpc-js";
import { closedByWord, CONNECTION_LOST } from "../disconnects.js";
import { ConnectionClosed, SigbridgeError, SignalingError } from "../errors.js";
import type { Listener, Opener, OpenOptions, Request, Result, Session } from "../session.js";
import { tlsHint } from "./reaching.js";
import { closedBy, isLost, isUnreached, refusalBy, refusedBy } from "./status.js";
import { healthFromBytes, requestToBytes, type StreamRequest, saidBy } from "./translate.js";

/** Certificates that are shown and trusted with grpcs:// and wss://, each in PEM. */
export interface TlsOptions {
  /** The authorities to trust in place of the system's. */
  rootCertificates?: string | Uint8Array | undefined;
  /** The certificate to show where the server asks for one. */
  certificate?: string | Uint8Array | undefined;
  /** Its key; may stand in `certificate`. */
  key?: string | Uint8Array | undefined;
}

const SERVICE = "/remotemedia.v1.webrtc.WebRtcSignaling";
/** So long may the server's initial metadata take before a proxy is thought to keep it. */
const PROXY_PATIENCE_MS = 500;
const CLOSE_TIMEOUT_MS = 5_000;
const UNARY_TIMEOUT_MS = 10_000;
/** So long after a call beside the session was lost the session's own end may come. */
const CERTAINTY_MS = 1_000;

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  // Who comes back needs a connection that is not dead.
  "grpc.use_local_subchannel_pool": 1,
  // A page of a listing may be larger than what the library takes by default.
  "grpc.max_receive_message_length": -1,
  // The client tries again by itself, and knows what.
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
};

type Stream = grpc.ClientDuplexStream<Uint8Array, Uint8Array>;

/** The sockets of one session, which the library shows to nobody. */
class Sockets {
  readonly #made = new Set<Socket>();
  #areOver = false;

  /** Takes one that is about to connect. */
  add(socket: Socket): void {
    // One that is destroyed before that connects all the same.
    if (this.#areOver) process.nextTick(() => socket.destroy());
    else this.#made.add(socket);
  }

  /** Destroys them, and whichever are made from now on. */
  destroy(): void {
    this.#areOver = true;
    for (const socket of this.#made) socket.destroy();
    this.#made.clear();
  }
}

/**
 * The sockets of the session in whose context they are made.
 *
 * What a program does when it is told something is outside of it: its sockets are its own.
 */
const sockets = new AsyncLocalStorage<Sockets>();
subscribe("net.client.socket", (made) => {
  sockets.getStore()?.add((made as { socket: Socket }).socket);
});

const asBuffer = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const asItIs = (bytes: Buffer): Uint8Array => bytes;

/**
 * Returns an Opener for grpc:// and grpcs:// URLs.
 *
 * @throws SigbridgeError if the certificates cannot be used
 */
export function grpcOpener(tls: TlsOptions = {}): Opener {
  let secured = Object.values(tls).some(Boolean) ? credentialsOf(tls) : undefined;
  return (url, listener, options) => {
    const { token } = options;
    if (token && !isCarried(token)) {
      const why = "the API token holds what gRPC cannot carry: expected letters of ASCII";
      return Promise.reject(new ConnectionClosed(why, false));
    }
    const target = targetOf(url);
    if (!target) return Promise.reject(new SigbridgeError("this is no signaling URL: its host is none"));
    const isSecure = url.protocol === "grpcs:";
    const credentials = isSecure ? (secured ??= credentialsOf({})) : grpc.credentials.createInsecure();
    const made = new Sockets();
    return sockets.run(made, () => {
      const client = new grpc.Client(`dns:///${target}`, credentials, CHANNEL_OPTIONS);
      return opened(client, url, target, listener, options, made);
    });
  };
}

function credentialsOf({ rootCertificates, certificate, key }: TlsOptions): grpc.ChannelCredentials {
  const pem = (text: string | Uint8Array | undefined) => (text ? Buffer.from(text as string) : null);
  try {
    // The library takes neither a certificate without a key nor the other way round.
    const shownKey = certificate ? (key ?? certificate) : undefined;
    return grpc.credentials.createSsl(pem(rootCertificates), pem(shownKey), pem(certificate));
  } catch (error) {
    // What a parser says may be of a key.
    const { code = "they are no PEM" } = error as { code?: string };
    throw new SigbridgeError(`rootCertificates, certificate and key cannot be used: ${code}`);
  }
}

/** Returns `HOST` or `HOST:PORT` as a resolver takes it; undefined if no resolver does. */
function targetOf({ hostname, port }: URL): string | undefined {
  // Only schemes that the standard knows have hosts that are made fit for resolvers.
  const fit = `ws://${hostname}/`;
  if (!URL.canParse(fit)) return undefined;
  const host = new URL(fit).hostname;
  return port ? `${host}:${port}` : host;
}

function isCarried(token: string): boolean {
  return /^[\x20-\x7e]*$/.test(token);
}

function metadataOf(token: string | undefined): grpc.Metadata {
  const metadata = new grpc.Metadata();
  if (token) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}

function opened(
  client: grpc.Client,
  url: URL,
  target: string,
  listener: Listener,
  options: OpenOptions,
  made: Sockets,
): Promise<Session> {
  const { token, timeoutMs, signal } = options;
  const stream: Stream = client.makeBidiStreamRequest(`${SERVICE}/Signal`, asBuffer, asItIs, metadataOf(token));
  return new Promise((resolve, reject) => {
    let session: StandingSession | undefined;
    let refused = false;
    const refuse = (closed: ConnectionClosed) => {
      refused = true;
      stop();
      stream.cancel();
      client.close();
      made.destroy();
      const reason = token ? closed.reason.replaceAll(token, "(hidden)") : closed.reason;
      reject(new ConnectionClosed(reason, closed.reconnect, closed.retryAfterMs));
    };
    // Some proxies (nginx with TLS) keep the metadata back until they have a message to send along. So a question that
    // means nothing is asked where it does not come: its reply has no number, and nobody waits for it.
    const impatient = setTimeout(() => {
      stream.write(requestToBytes({ method: "list_peers", params: { pageSize: 1 } }, ""));
    }, PROXY_PATIENCE_MS);
    const cut = (why: string) => refuse(new ConnectionClosed(`cannot connect to ${target}: ${why}`, true));
    const late = setTimeout(() => cut("no response"), timeoutMs);
    const stop = () => {
      clearTimeout(impatient);
      clearTimeout(late);
    };
    if (signal)
      signal.onabort = () => {
        if (!session) cut("nobody waits for it any more");
      };
    stream.on("metadata", (metadata: grpc.Metadata) => {
      if (!String(metadata.get("content-type")[0]).startsWith("application/grpc")) {
        // A page, of a proxy mostly: the library says its status once both sides have ended.
        clearTimeout(impatient);
        stream.end();
        return;
      }
      stop();
      session = new StandingSession(client, stream, listener, token, made);
      resolve(session);
    });
    stream.on("data", (bytes: Uint8Array) => sockets.exit(() => session?.take(bytes)));
    // The status says it; without a listener the error would end the process.
    stream.on("error", () => {});
    stream.on("status", (ended: grpc.StatusObject) => {
      if (session) sockets.exit(() => session!.end(closedBy(ended)));
      else if (refused) return;
      else if (!isUnreached(ended)) refuse(refusedBy(ended, target, ""));
      else void tlsHint(url).then((hint) => refuse(refusedBy(ended, target, hint)));
    });
  });
}

class StandingSession implements Session {
  listener: Listener;
  readonly #client: grpc.Client;
  readonly #stream: Stream;
  readonly #sockets: Sockets;
  #token: string | undefined;
  /** The requests that have no reply yet. */
  readonly #asked = new Map<number, StreamRequest>();
  #ended = false;
  #leaving = false;
  readonly #over: Promise<void>;
  #tellOver!: () => void;

  constructor(
    client: grpc.Client,
    stream: Stream,
    listener: Listener,
    token: string | undefined,
    made: Sockets,
  ) {
    this.#client = client;
    this.#stream = stream;
    this.#sockets = made;
    this.listener = listener;
    this.#token = token;
    this.#over = new Promise((resolve) => {
      this.#tellOver = resolve;
    });
  }

  send(number: number, request: Request): void {
    if (this.#ended || this.#leaving) return;
    if (request.method === "health_check") this.#askHealth(number);
    else this.#write(number, request);
  }

  async close(): Promise<void> {
    if (this.#ended) return;
    if (!this.#leaving) {
      this.#leaving = true;
      this.#stream.end();
      const late = setTimeout(() => this.giveUp(), CLOSE_TIMEOUT_MS);
      void this.#over.then(() => clearTimeout(late));
    }
    await this.#over;
  }

  giveUp(): void {
    this.#breakOff(CONNECTION_LOST);
  }

  /** Takes a message of the server's. */
  take(bytes: Uint8Array): void {
    if (this.#ended) return;
    let said: ReturnType<typeof saidBy>;
    try {
      said = saidBy(bytes, this.#asked);
    } catch {
      this.#breakOff("protocol_error");
      return;
    }
    if (!said) return;
    if ("event" in said) this.listener.told(said.event, said.seq);
    else this.#reply(said.number, said.outcome);
  }

  /** Tells of the end, and leaves nothing behind; harmless where it was told. */
  end(closed: ConnectionClosed): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#stream.cancel();
    this.#client.close();
    this.#sockets.destroy();
    this.listener.closed(closed);
    this.#tellOver();
  }

  #breakOff(word: string): void {
    if (this.#ended) return;
    this.#sockets.destroy();
    this.end(closedByWord(word));
  }

  #write(number: number, request: StreamRequest): void {
    try {
      this.#stream.write(requestToBytes(request, String(number)));
    } catch (error) {
      if (!(error instanceof SignalingError)) throw error;
      this.listener.replied(number, error);
      return;
    }
    this.#asked.set(number, request);
  }

  #reply(number: number, outcome: Result | SignalingError): void {
    const request = this.#asked.get(number);
    this.#asked.delete(number);
    if (request?.method === "authenticate" && !(outcome instanceof SignalingError)) {
      // Calls beside the session show what it shows, as far as metadata can carry that.
      const { token } = request.params;
      if (isCarried(token)) this.#token = token;
    }
    this.listener.replied(number, outcome);
  }

  #askHealth(number: number): void {
    const reply = (outcome: Result | SignalingError) => {
      if (!this.#ended) sockets.exit(() => this.listener.replied(number, outcome));
    };
    const call = this.#client.makeUnaryRequest(
      `${SERVICE}/HealthCheck`,
      asBuffer,
      asItIs,
      new Uint8Array(),
      metadataOf(this.#token),
      { deadline: Date.now() + UNARY_TIMEOUT_MS },
      (error, bytes) => {
        if (error === null) reply(healthOf(bytes!));
        // The session's end says why, where it is on its way, and the question is asked again then.
        else if (isLost(error)) setTimeout(reply, CERTAINTY_MS, refusalBy(error));
        else reply(refusalBy(error));
      },
    );
    call.on("error", () => {});
  }
}

function healthOf(bytes: Uint8Array): Result | SignalingError {
  try {
    return healthFromBytes(bytes);
  } catch {
    return new SignalingError("INTERNAL", "the server's result is none");
  }
}
