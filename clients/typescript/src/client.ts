/// <reference lib="esnext.disposable" preserve="true" />
/** The client that programs have: requests as methods, and events for iterators and listeners. */

import { newCalls } from "./calls.js";
import { type Clock, machineClock } from "./clock.js";
import { ConnectionClosed } from "./errors.js";
import type { ClientEvent } from "./events.js";
import type {
  AnnounceParams,
  Announced,
  AnswerParams,
  Authenticated,
  Disconnected,
  Health,
  IceCandidateParams,
  IceServers,
  ListPeersParams,
  Method,
  OfferParams,
  OfferRelayed,
  PeerList,
  Relayed,
  Requests,
} from "./messages.js";
import { newOpening, type Openers, type TokenSource } from "./opening.js";
import { newResuming, type Resuming } from "./resuming.js";
import type { Request } from "./session.js";

/** Options of a client. */
export interface ConnectOptions {
  /** True (unless it is said): it comes back when its connection is lost, as the peer that it was. */
  resume?: boolean | undefined;
  /** After so many seconds without a connection it is closed for good; never unless it is said. */
  giveUpAfterSeconds?: number | undefined;
  /**
   * The API token, where the server asks for one, or a function that returns one that is good now.
   *
   * A function is called for each connection, again where the server refuses what it returned, and before a token ends:
   * the fresh one is shown in the session.
   */
  token?: string | TokenSource | undefined;
  /**
   * Whenever nothing was sent for so many seconds, a small request is; 25 unless it is said, 0: never.
   *
   * With `resume` one is sent whenever nothing came for so long, too, and a connection on which nothing comes for 20 s
   * then counts as lost.
   */
  keepaliveSeconds?: number | undefined;
}

/** The offer that a message belongs to, where the client is not to say it by itself; empty: none is said. */
export interface OfOffer {
  offerId?: string | undefined;
}

/** The facts that a peer makes known of itself, and its room. */
export type AnnounceOptions = Pick<AnnounceParams, "capabilities" | "metadata" | "room" | "notices" | "iceServers">;

/** A session description as W3C WebRTC has it, such as an `RTCSessionDescription`. */
export interface Description {
  type?: string | undefined;
  sdp?: string | undefined;
}

/** An ICE candidate as W3C WebRTC has it, such as an `RTCIceCandidate`. */
export interface Candidate {
  candidate?: string | undefined;
  sdpMid?: string | null | undefined;
  sdpMLineIndex?: number | null | undefined;
  usernameFragment?: string | null | undefined;
}

/** Options of a listener, as DOM has them. */
export interface ListenerOptions {
  capture?: boolean;
  once?: boolean;
  passive?: boolean;
  signal?: AbortSignal;
}

type EventOf<K> = CustomEvent<Extract<ClientEvent, { kind: K }>>;
type ListenerOf<K> = ((event: EventOf<K>) => void) | { handleEvent(event: EventOf<K>): void };

/** The servers to connect to: one URL, or several. */
export type Urls = string | URL | readonly (string | URL)[];

/** Opens a client by the protocols of `openers`; see `connect`. */
export let connectBy: (openers: Openers, url: Urls, options?: ConnectOptions, clock?: Clock) => Promise<SignalingClient>;

export interface SignalingClient {
  /** Listens no more. */
  removeEventListener<K extends ClientEvent["kind"]>(
    kind: K,
    listener: ListenerOf<K> | null,
    options?: boolean | EventListenerOptions,
  ): void;
}

/**
 * A client of a signaling server; `connect` makes one. Requests may overlap, and are sent in the order of the calls.
 *
 * Each request resolves to its result, or throws SignalingError if the server refuses it, OutcomeUnknown if the peer
 * was lost meanwhile (`session_lost`), and ConnectionClosed if the client is closed.
 *
 * Answers, candidates and hang-ups say by themselves which offer they belong to: an answer the last offer of that peer
 * which the program was handed, the others the one offer that there is between the two. A program that works on several
 * offers of one peer at a time says it itself, with `offerId`. An answer to an offer that is not out is not handed out.
 *
 * Events are handed to iterators (`for await (const event of client)`) and to listeners
 * (`client.addEventListener("offer", ({ detail }) => …)`). They are kept, in order, until the first of either is there;
 * listeners that are added in the same turn all hear the first one. A listener for `closed` alone lets all others wait.
 *
 * When a page is hidden or left, nothing is said: the peer is held by the server until its window has passed, and a
 * page that comes back from the browser's cache is the peer of before.
 */
export class SignalingClient extends EventTarget {
  readonly #calls = newCalls();
  #resuming!: Resuming;

  static {
    connectBy = async (openers, url, options = {}, clock = machineClock) => {
      const client = new SignalingClient();
      const dispatch = (event: ClientEvent) => client.dispatchEvent(new CustomEvent(event.kind, { detail: event }));
      const opening = newOpening(openers, [url].flat(), options.token);
      client.#resuming = await newResuming(opening, options, clock, client.#calls, dispatch);
      return client;
    };
  }

  private constructor() {
    super();
  }

  // What a program asks for.

  /** The id of the last successful announce, or empty. */
  get peerId(): string {
    return this.#resuming.peerId();
  }

  /** The reason for which the client was closed for good; undefined while it stands or tries to. */
  get closed(): ConnectionClosed | undefined {
    return this.#resuming.closed();
  }

  /** Becomes the peer `peerId` of a room. */
  announce(peerId: string, options: AnnounceOptions = {}): Promise<Announced> {
    return this.call("announce", { ...options, peerId });
  }

  /** Relays an SDP offer; resolves as soon as its target is sure to be told. The answer is an event. */
  offer(toPeerId: string, description: string | Description): Promise<OfferRelayed> {
    return this.call("offer", { toPeerId, ...described(description) } as OfferParams);
  }

  /**
   * Relays an SDP answer, a provisional one where the description's type is `pranswer`.
   *
   * @throws SignalingError FAILED_PRECONDITION if the offer is over: its caller has hung up, or offers anew
   */
  answer(
    toPeerId: string,
    description: string | Description,
    { offerId = this.#calls.answering(toPeerId) }: OfOffer = {},
  ): Promise<Relayed> {
    return this.call("answer", { toPeerId, ...described(description), offerId } as AnswerParams);
  }

  /** Relays an ICE candidate; an empty one, or null, says that there are no more. */
  iceCandidate(
    toPeerId: string,
    candidate: string | Candidate | null,
    { offerId = this.#calls.current(toPeerId) }: OfOffer = {},
  ): Promise<Relayed> {
    const { candidate: line = "", sdpMid, sdpMLineIndex, usernameFragment } = // Which may be no members of its own.
      typeof candidate === "string" ? { candidate } : (candidate ?? {});
    const params = { toPeerId, candidate: line, sdpMid, sdpMLineIndex, usernameFragment, offerId };
    return this.call("ice_candidate", params as IceCandidateParams);
  }

  /** Hangs up on a peer; with one's own id: leaves the room and keeps the connection. */
  disconnect(peerId: string, { offerId = this.#calls.current(peerId) }: OfOffer = {}): Promise<Disconnected> {
    return this.call("disconnect", { peerId, offerId });
  }

  /** Resolves to a page of the room's peers, in the order in which they joined. */
  listPeers(page: ListPeersParams = {}): Promise<PeerList> {
    return this.call("list_peers", page);
  }

  /**
   * Shows a new token before the present one expires; resolves to for whom the session acts now, and until when.
   *
   * @throws SignalingError UNAUTHENTICATED if the token is no good; PERMISSION_DENIED if it is another subject's
   */
  authenticate(token: string): Promise<Authenticated> {
    return this.call("authenticate", { token });
  }

  /**
   * Resolves to the ICE servers that this peer may use now; `ice_servers` events bring newer ones from then on.
   *
   * @throws SignalingError PERMISSION_DENIED without the right `relay`; UNIMPLEMENTED or INVALID_ARGUMENT if the server
   *     knows no such request
   */
  getIceServers(): Promise<IceServers> {
    return this.call("get_ice_servers", {});
  }

  /** Resolves to the server's health. */
  health(): Promise<Health> {
    return this.call("health_check", {});
  }

  /**
   * Sends one request as it is, over as many sessions as that takes; resolves to its result.
   *
   * A request that was sent before by another client of the same peer says under which `number` that was.
   */
  async call<M extends Method>(
    method: M,
    params: Requests[M]["params"],
    { number }: { number?: number } = {},
  ): Promise<Requests[M]["result"]> {
    const outcome = await this.#resuming.ask({ method, params: { ...params } } as Request, number);
    if (outcome instanceof Error) throw outcome;
    return outcome as Requests[M]["result"];
  }

  /**
   * Returns the events in the order in which they arrive, from the first one on that nobody was handed.
   *
   * It ends when the client is closed for good. Each iterator is handed all of them.
   */
  events(): AsyncIterableIterator<ClientEvent> {
    return this.#resuming.events();
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<ClientEvent> {
    return this.events();
  }

  /** Listens for events of one kind, as `events` tells them, and for `closed`, the last one. */
  override addEventListener<K extends ClientEvent["kind"]>(
    kind: K,
    listener: ListenerOf<K> | null,
    options?: boolean | ListenerOptions,
  ): void {
    super.addEventListener(kind, listener as EventListenerOrEventListenerObject | null, options);
    this.#resuming.listen(kind);
  }

  /**
   * Leaves for good and closes the connection, whatever state it is in; resolves when that is done, in 2 s at most.
   *
   * Harmless when it is closed already. While there is no connection nobody can be told: the peer is held until its
   * window has passed.
   */
  close(): Promise<void> {
    return this.#resuming.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Returns the members of a message that describe a session. */
const described = (description: string | Description) =>
  typeof description === "string" ? { sdp: description } : { sdp: description?.sdp, type: description?.type };
