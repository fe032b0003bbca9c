/**
 * Calls as programs have them: who is called, who calls, and what becomes of it.
 *
 * The states of a call, and what leads from one to the next; `negotiation.ts` has those beneath:
 *
 *     connecting ──a connection stands──► connected
 *         ▲                                   │
 *         └──it fails, or gives way to another┘        either ──hung up, left, refused, failed, closed──► ended
 */

import type { SignalingClient } from "../client.js";
import type { Clock } from "../clock.js";
import type { ClientEvent } from "../events.js";
import type { IceCandidateReceived, IceServer, OfferReceived } from "../messages.js";
import { type Connection, type Identity, identityOf, isOther } from "./connection.js";
import { type EndReason, type Negotiation, newNegotiation } from "./negotiation.js";

/** The configuration of a new connection, an `RTCConfiguration`. */
export interface Configuration {
  iceServers: IceServer[];
}

/**
 * Makes a connection for a call, with its tracks, channels and listeners.
 *
 * It is called for each new connection of the call, and may take its time, such as until somebody takes the call.
 */
export type Build<C extends Connection> = (configuration: Configuration, call: Call) => C | Promise<C>;

/** Events of a call. */
export interface CallEvents {
  /** A connection stands; once more where it had failed. */
  connected: CustomEvent<undefined>;
  /** The call is over, for the reason in `detail`. */
  ended: CustomEvent<EndReason>;
}

/** Events of calls. */
export interface CallsEvents<C extends Connection> {
  /** A peer calls; to refuse it, hang up. */
  call: CustomEvent<Call<C>>;
}

interface ListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}

type Heard<E> = ((event: E) => void) | { handleEvent(event: E): void } | null;
/** The used part of a clock; a test gives another one. */
type Timers = Pick<Clock, "after" | "unix">;

/** So long before their end are ICE servers asked for anew. */
const LEAD_MS = 30_000;
/** The most calls of which peers may begin one more. */
const MOST_CALLS = 64;
/** The most calls that one peer may begin in a minute; what it offers then is not heard. */
const MOST_BEGUN = 300;
/** The most peers of whom it is known which connection was hung up on. */
const MOST_PARTED = 64;
/** The most candidates that wait for the offer of a peer with whom there is no call. */
const MOST_EARLY = 64;

const timersOfMachine: Timers = {
  unix: () => Date.now() / 1000,
  after(ms, call) {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

let begin: <C extends Connection>(peerId: string) => Call<C>;
let change: <C extends Connection>(call: Call<C>, now: Partial<Writable<C>>) => void;
let negotiationOf: (call: Call<any>) => Negotiation;

interface Writable<C extends Connection> {
  connection: C | undefined;
  state: Call<C>["state"];
  reason: EndReason;
  error: unknown;
  negotiation: Negotiation;
}

/** A call with another peer, from its beginning to its end. */
export class Call<C extends Connection = Connection> extends EventTarget {
  /** The id of the other peer. */
  readonly peerId: string;
  #now: Partial<Writable<C>> = { state: "connecting" };

  static {
    begin = <C extends Connection>(peerId: string) => new Call<C>(peerId);
    change = (call, now) => void Object.assign(call.#now, now);
    negotiationOf = (call) => call.#now.negotiation!;
  }

  private constructor(peerId: string) {
    super();
    this.peerId = peerId;
  }

  /** The connection that the call has now, or had last; undefined before the first is built. */
  get connection(): C | undefined {
    return this.#now.connection;
  }

  get state(): "connecting" | "connected" | "ended" {
    return this.#now.state!;
  }

  /** The reason of its end; undefined before. */
  get reason(): EndReason | undefined {
    return this.#now.reason;
  }

  /** The exception of a call that was `refused` or has `failed`, such as by the function that builds its connection. */
  get error(): unknown {
    return this.#now.error;
  }

  /** Ends the call and closes its connection; the other peer is told. */
  hangUp(): void {
    this.#now.negotiation!.end("hung_up");
  }

  override addEventListener<K extends keyof CallEvents>(
    kind: K,
    listener: Heard<CallEvents[K]>,
    options?: boolean | ListenerOptions,
  ): void {
    super.addEventListener(kind, listener as EventListenerOrEventListenerObject | null, options);
  }
}

/** The clients that have calls. */
const calling = new WeakSet<SignalingClient>();

/**
 * The calls of a client: those that it makes, and those that it is called by, which the event `call` tells.
 *
 * `build` makes the connections. A call goes on over sessions of the client, and over connections where one fails.
 */
export class Calls<C extends Connection> extends EventTarget {
  readonly #client: SignalingClient;
  readonly #build: Build<C>;
  readonly #timers: Timers;
  readonly #calls = new Map<string, Call<C>>();
  /** Hang-ups that wait for the id of their offer, by peer. */
  readonly #saying = new Map<string, Promise<unknown>>();
  /** The connections of peers that were hung up on: what is on its way from these is no call. */
  readonly #parted = new Map<string, Identity>();
  #early: IceCandidateReceived[] = [];
  /** How many calls peers have begun in this minute of Unix time. */
  readonly #begun = new Map<string, number>();
  #minute = 0;
  #servers: Promise<IceServer[]> | undefined;
  #serversEndAt = 0;
  readonly #stop = new AbortController();

  /** @throws Error if the client has calls that are not closed: two would both answer whoever calls. */
  constructor(client: SignalingClient, build: Build<C>, timers = timersOfMachine) {
    super();
    if (calling.has(client)) throw new Error("a client has one Calls at a time");
    calling.add(client);
    this.#client = client;
    this.#build = build;
    this.#timers = timers;
    const { signal } = this.#stop;
    const heard: { [K in ClientEvent["kind"]]?: (event: Extract<ClientEvent, { kind: K }>) => void } = {
      offer: (offer) => this.#offered(offer),
      answer: (answer) => this.#with(answer.fromPeerId)?.described(answer),
      ice_candidate: (candidate) => this.#found(candidate),
      peer_disconnected: ({ peerId, offerId }) => this.#with(peerId)?.hungUp(offerId),
      peer_left: ({ peerId }) => this.#with(peerId)?.end("peer_left"),
      session_lost: () => this.#each((negotiation) => negotiation.sessionLost()),
      ice_servers: ({ servers, expiresUnixMs }) => {
        this.#keep(Promise.resolve(servers), expiresUnixMs);
        this.#each((negotiation) => negotiation.useServers(servers));
      },
      closed: () => this.#each((negotiation) => negotiation.end("closed")),
    };
    for (const kind of Object.keys(heard) as "offer"[])
      client.addEventListener(kind, ({ detail }) => heard[kind]!(detail), { signal });
  }

  /** Returns the call with a peer: the one that stands, or one that begins. */
  call(peerId: string): Call<C> {
    const standing = this.#calls.get(peerId);
    if (standing) return standing;
    const call = this.#begin(peerId);
    if (this.#stop.signal.aborted || this.#client.closed) queueMicrotask(() => negotiationOf(call).end("closed"));
    else negotiationOf(call).need();
    return call;
  }

  /** Hangs up on all; the client stays open. */
  close(): void {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    calling.delete(this.#client);
    this.#each((negotiation) => negotiation.end("hung_up"));
  }

  override addEventListener<K extends keyof CallsEvents<C>>(
    kind: K,
    listener: Heard<CallsEvents<C>[K]>,
    options?: boolean | ListenerOptions,
  ): void {
    super.addEventListener(kind, listener as EventListenerOrEventListenerObject | null, options);
  }

  #with(peerId: string): Negotiation | undefined {
    const call = this.#calls.get(peerId);
    return call && negotiationOf(call);
  }

  #each(tell: (negotiation: Negotiation) => unknown): void {
    for (const call of [...this.#calls.values()]) tell(negotiationOf(call));
  }

  #begin(peerId: string): Call<C> {
    const call = begin<C>(peerId);
    const negotiation: Negotiation = newNegotiation<C>({
      client: this.#client,
      peerId,
      build: async () => {
        const iceServers = await this.#iceServers();
        if (call.state === "ended") throw undefined;
        return this.#build({ iceServers }, call);
      },
      after: this.#timers.after,
      before: this.#saying.get(peerId),
      built: (connection) => change(call, { connection }),
      connected: (isConnected) => {
        change(call, { state: isConnected ? "connected" : "connecting" });
        if (isConnected) call.dispatchEvent(new CustomEvent("connected"));
      },
      ended: (reason, error, said) => {
        this.#calls.delete(peerId);
        const identity = negotiation.identity();
        if (reason === "hung_up" && identity) this.#part(peerId, identity);
        if (said) {
          this.#saying.set(peerId, said);
          void said.then(() => this.#saying.get(peerId) === said && this.#saying.delete(peerId));
        }
        change(call, { state: "ended", reason, error });
        call.dispatchEvent(new CustomEvent("ended", { detail: reason }));
      },
    });
    change(call, { negotiation });
    this.#calls.set(peerId, call);
    return call;
  }

  #offered(offer: OfferReceived): void {
    const { fromPeerId } = offer;
    const standing = this.#with(fromPeerId);
    if (standing) return standing.described(offer);
    const parted = this.#parted.get(fromPeerId);
    // It was on its way when this side hung up.
    if (parted?.fingerprints && !isOther(identityOf(offer.sdp), parted)) return this.#refuse(offer);
    if (this.#isFlood(fromPeerId)) return;
    if (this.#calls.size >= MOST_CALLS) return this.#refuse(offer);
    const call = this.#begin(fromPeerId);
    const negotiation = negotiationOf(call);
    for (const one of this.#early) if (one.fromPeerId === fromPeerId) negotiation.candidate(one);
    this.#early = this.#early.filter((one) => one.fromPeerId !== fromPeerId);
    negotiation.described(offer);
    this.dispatchEvent(new CustomEvent("call", { detail: call }));
  }

  /** Counts a call that a peer begins; returns whether it has begun too many. */
  #isFlood(peerId: string): boolean {
    const minute = Math.floor(this.#now() / 60_000);
    if (minute !== this.#minute) this.#begun.clear();
    this.#minute = minute;
    const begun = (this.#begun.get(peerId) ?? 0) + 1;
    this.#begun.set(peerId, begun);
    return begun > MOST_BEGUN;
  }

  #refuse({ fromPeerId, offerId }: OfferReceived): void {
    this.#client.disconnect(fromPeerId, { offerId }).catch(() => {});
  }

  #part(peerId: string, identity: Identity): void {
    this.#parted.delete(peerId);
    this.#parted.set(peerId, identity);
    if (this.#parted.size > MOST_PARTED) this.#parted.delete(this.#parted.keys().next().value!);
  }

  #found(candidate: IceCandidateReceived): void {
    const standing = this.#with(candidate.fromPeerId);
    if (standing) return standing.candidate(candidate);
    this.#early.push(candidate);
    if (this.#early.length > MOST_EARLY) this.#early.shift();
  }

  /** Unix time in milliseconds. */
  #now(): number {
    return 1000 * this.#timers.unix();
  }

  #keep(servers: Promise<IceServer[]>, expiresUnixMs: number | undefined): void {
    this.#servers = servers;
    this.#serversEndAt = expiresUnixMs || Infinity;
  }

  async #iceServers(): Promise<IceServer[]> {
    if (!this.#servers || this.#now() > this.#serversEndAt - LEAD_MS) this.#keep(this.#ask(), undefined);
    return this.#servers!;
  }

  async #ask(): Promise<IceServer[]> {
    try {
      const { iceServers, iceServersExpireUnixMs } = await this.#client.getIceServers();
      this.#serversEndAt = iceServersExpireUnixMs || Infinity;
      return iceServers;
    } catch {
      // An older server, one that gives none, or one that is busy: the next connection asks again.
      this.#serversEndAt = 0;
      return [];
    }
  }
}
