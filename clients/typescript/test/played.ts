/** Clients against a server that does what a test says, in a time that passes when the test lets it. */

import type { SignalingClient } from "../src/client.js";
import { connectBy, type ConnectOptions } from "../src/client.js";
import type { Clock } from "../src/clock.js";
import { ConnectionClosed, SignalingError } from "../src/errors.js";
import type { ClientEvent } from "../src/events.js";
import type { AnnounceParams, Announced, IceServers, ServerEvent } from "../src/messages.js";
import type { Listener, OpenOptions, Request, Result, Session } from "../src/session.js";

export const WINDOW_SECONDS = 30;
export const lost = () => new ConnectionClosed("connection_lost", true);

/** A clock whose time passes in `pass` alone. Its random numbers are the highest, or what a test says. */
export class VirtualClock implements Clock {
  ms = 0;
  /** What a test adds to Unix time, which else is the same. */
  unixSeconds = 1_000_000;
  chance = 1;
  #timers: { at: number; call: () => void }[] = [];

  now = () => this.ms;
  unix = () => this.unixSeconds + this.ms / 1000;
  random = () => this.chance;
  after = (ms: number, call: () => void) => {
    const timer = { at: this.ms + Math.max(0, ms), call };
    this.#timers.push(timer);
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  };

  get waiting(): number {
    return this.#timers.length;
  }

  /** Lets so many seconds pass, and everything happen that is due. */
  async pass(seconds: number): Promise<void> {
    const until = this.ms + 1000 * seconds;
    await settled();
    for (;;) {
      const next = this.#timers.reduce<{ at: number; call: () => void } | undefined>(
        (first, other) => (!first || other.at < first.at ? other : first),
        undefined,
      );
      if (!next || next.at > until) break;
      this.#timers.splice(this.#timers.indexOf(next), 1);
      this.ms = Math.max(this.ms, next.at);
      next.call();
      await settled();
    }
    this.ms = until;
  }

  /** Lets time pass without any timer, as where the machine sleeps. */
  skip(seconds: number): void {
    this.ms += 1000 * seconds;
  }

  /** Lets time pass, for at most an hour, until something is so. */
  async until(isSo: () => boolean): Promise<void> {
    for (let steps = 0; steps < 360_000; steps++) {
      await settled();
      if (isSo()) return;
      await this.pass(0.01);
    }
    throw new Error("it never came about");
  }
}

/** Resolves when everything has happened that waits for no time. */
export async function settled(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

/** A session with the server of a test. */
export class FakeSession implements Session {
  readonly sent: [number: number, request: Request][] = [];
  ended: ConnectionClosed | undefined;

  readonly server: FakeServer;
  listener: Listener;

  constructor(server: FakeServer, listener: Listener) {
    this.server = server;
    this.listener = listener;
  }

  send(number: number, request: Request): void {
    if (this.ended) return;
    this.sent.push([number, structuredClone(request)]);
    const reply = this.server.reply(request);
    // A reply never comes before the request is on its way.
    if (reply) void Promise.resolve().then(() => this.ended ?? this.listener.replied(number, reply));
  }

  async close(): Promise<void> {
    if (this.server.hangs) return new Promise(() => {});
    if (!this.ended) this.server.left++;
    this.lose(new ConnectionClosed("client_left"));
  }

  giveUp(): void {
    this.server.givenUp++;
    this.lose();
  }

  get requests(): Request[] {
    return this.sent.map(([, request]) => request);
  }

  get methods(): string[] {
    return this.requests.map(({ method }) => method);
  }

  lose(closed = lost()): void {
    if (this.ended) return;
    this.ended = closed;
    this.listener.closed(closed);
  }

  tell(event: ServerEvent, seq = 0): void {
    if (!this.ended) this.listener.told(event, seq);
  }

  reply(number: number, outcome: Result | SignalingError): void {
    if (!this.ended) this.listener.replied(number, outcome);
  }
}

/** Opens sessions, and replies to the requests in them. */
export class FakeServer {
  readonly sessions: FakeSession[] = [];
  readonly openedAt: number[] = [];
  readonly urls: string[] = [];
  readonly tokens: (string | undefined)[] = [];
  /** What the next attempts to open a session reject with; "never": they do not end. */
  failures: (Error | "never" | undefined)[] = [];
  /** The replies to the next announces that come back, in place of good ones; undefined: none comes. */
  refusals: (SignalingError | undefined)[] = [];
  /** The requests to which no reply comes by itself. */
  silentTo: string[] = ["offer", "answer", "ice_candidate"];
  /** A new one for each peer. */
  token = "token";
  /** True where the server knows no peer any more. */
  isNew = false;
  resumable = true;
  /** What peers are given that ask for ICE servers. */
  iceServers: IceServers = { iceServers: [{ urls: "stun:stun.example.org" }], iceServersExpireUnixMs: 5 };
  hangs = false;
  left = 0;
  givenUp = 0;

  readonly clock: VirtualClock;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  open = async (url: URL, listener: Listener, { token }: OpenOptions): Promise<Session> => {
    this.urls.push(url.href);
    this.tokens.push(token);
    if (this.sessions.length) this.openedAt.push(Math.round(this.clock.now()) / 1000);
    const failure = this.failures.shift();
    if (failure === "never") return new Promise(() => {});
    if (failure) throw failure;
    const session = new FakeSession(this, listener);
    this.sessions.push(session);
    return session;
  };

  get session(): FakeSession {
    return this.sessions.at(-1)!;
  }

  reply = (request: Request): Result | SignalingError | undefined => {
    if (this.silentTo.includes(request.method)) return undefined;
    switch (request.method) {
      case "announce":
        return this.#announced(request.params);
      case "disconnect":
        return { peerId: request.params.peerId };
      case "list_peers":
        return { peers: [], count: 0, nextPageToken: "" };
      case "authenticate":
        return { subject: "", expiresAt: null };
      case "get_ice_servers":
        return this.iceServers;
      case "offer":
        return { offerId: "o", toPeerId: request.params.toPeerId };
      case "answer":
      case "ice_candidate":
        return { toPeerId: request.params.toPeerId };
      default:
        return { status: "healthy", uptimeSeconds: 1, connectedPeers: 0, metrics: {} };
    }
  };

  #announced({ peerId, resumable, resumeToken, iceServers }: AnnounceParams): Announced | SignalingError | undefined {
    if (this.refusals.length && (resumeToken || this.sessions.length > 1)) return this.refusals.shift();
    const given = iceServers ? this.iceServers : {};
    const announced = { peerId, peersCount: 1, otherPeers: ["bob"], ...given };
    if (!this.resumable || !resumable) return announced;
    const resumed = !!resumeToken && resumeToken === this.token && !this.isNew;
    if (!resumed) this.token += "'";
    const more = resumeToken ? { resumed } : {};
    return { ...announced, resumable: true, resumeToken: this.token, resumeWindowSeconds: WINDOW_SECONDS, ...more };
  }
}

/** A client of such a server, and what its program is told. */
export class Played {
  readonly told: ClientEvent[] = [];
  /** Resolves when no more is told. */
  reading: Promise<void>;

  readonly clock: VirtualClock;
  readonly server: FakeServer;
  readonly client: SignalingClient;

  constructor(clock: VirtualClock, server: FakeServer, client: SignalingClient) {
    this.clock = clock;
    this.server = server;
    this.client = client;
    this.reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const event of this.client) this.told.push(event);
  }

  get session(): FakeSession {
    return this.server.session;
  }

  /** The kinds of what was told. */
  get kinds(): string[] {
    return this.told.map(({ kind }) => kind);
  }

  /** The kinds of what was told of the connection. */
  get ofConnection(): string[] {
    return this.kinds.filter((kind) => ["reconnecting", "resumed", "session_lost"].includes(kind));
  }

  /** Loses the session, and waits until the next one stands. */
  async lose(closed = lost()): Promise<void> {
    const before = this.ofConnection.length;
    this.session.lose(closed);
    await this.untilBack(before);
  }

  /** Waits until a session stands again, and what is told of it has been read. */
  async untilBack(before = 0): Promise<void> {
    await this.clock.until(() => this.ofConnection.length > before && this.ofConnection.at(-1) !== "reconnecting");
  }
}

/** Resolves to what a request resolves to, or rejects with. */
export const outcomeOf = <T>(asked: Promise<T>): Promise<T | Error> => asked.catch((error: Error) => error);

export const refused = (code: SignalingError["code"], extra = {}) => new SignalingError(code, "no", extra);

export const bob: ServerEvent = { kind: "peer_joined", peerId: "bob", capabilities: {}, metadata: {} };

/** Plays a program with a client, and sees that nothing is left behind when it is closed. */
export async function play(
  program: (played: Played) => Promise<void>,
  options: ConnectOptions = {},
  prepare: (server: FakeServer, clock: VirtualClock) => void = () => {},
  urls: string | string[] = "fake://host",
): Promise<void> {
  const clock = new VirtualClock();
  const server = new FakeServer(clock);
  prepare(server, clock);
  const client = await connectBy({ fake: server.open }, urls, { keepaliveSeconds: 0, ...options }, clock);
  const played = new Played(clock, server, client);
  await program(played);
  let isClosed = false;
  void client.close().then(() => (isClosed = true));
  await clock.until(() => isClosed);
  await played.reading;
  if (clock.waiting) throw new Error("a timer is left behind");
}
