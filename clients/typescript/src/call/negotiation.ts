/**
 * The negotiation of one call: which description is sent or taken next, and what becomes of candidates.
 *
 * One thing is done at a time, and what the other peer says meanwhile waits in its order. The states, and what leads
 * from one to the next:
 *
 *             ┌───────────────────────────the answer is set───────────────────────────┐
 *             ▼                                                                       │
 *     ┌──► STABLE ──one is needed──► OFFERING ──the server has taken it──► OFFERED ───┘
 *     │       │                       │    ▲                               │  │
 *     │       │          an offer came before it was sent                  │  └──its session is lost: STABLE, and one is
 *     │       │                       │    └─────────────────────┐         │     needed
 *     │       └──an offer──► ANSWERING ◄──an offer, and this side is polite: its own is rolled back
 *     │                          │
 *     └──the answer is taken─────┘                      any ──hung up, left, refused, failed──► ENDED
 *
 * Rule 1: of two offers that cross, that of the peer whose id is greater by UTF-8 bytes counts; the other peer is polite
 * and answers. Rule 2: an offer or an answer of another connection than the one that is known of the peer, or one that
 * cannot be set, has this side build a new connection, too. Rule 3: candidates are sent when their description has been,
 * with the id of its offer, and set when the description of theirs has been; of these at most MOST_HELD are kept, so that
 * those of an offer that is never set do no harm. Rule 4: a connection that fails is restarted by ICE, and one that
 * never stood is replaced: browsers may find no candidates behind a rollback. That is done TRIES times at most. Rule 5:
 * every hang-up says the offers that it ends. Rule 6: what awaits something throws undefined where the call has ended
 * meanwhile, so that nothing behind it is done. Rule 7: who
 * is offered no media answers, and then offers its own: programs may create channels and tracks only where they call.
 * Source: `docs/protocol.md`, section "When both call".
 */

import type { Candidate, SignalingClient } from "../client.js";
import type { AnswerReceived, IceCandidateReceived, OfferReceived } from "../messages.js";
import { type Connection, describes, type Found, type Identity, identityOf, isBefore, isOther, isRelayed } from "./connection.js";

/** The reason of the end of a call. */
export type EndReason =
  | "hung_up"
  | "peer_hung_up"
  | "peer_left"
  | "peer_not_found"
  | "refused"
  | "failed"
  | "closed";

/** The most candidates of the peer that wait for their description, and that are added for one: each is tried. */
const MOST_HELD = 128;
/** The most descriptions of the peer that wait for their turn. */
const MOST_WAITING = 16;
/** So often is a connection tried again until one stands. */
const TRIES = 3;
/** So many connections may be built until one stands: a peer may have this side build one by each offer. */
const MOST_BUILT = 16;
/** After so long it is looked at whether a connection comes about when both descriptions are set, and a restart. */
const LOOK_MS = 5000;
/** So often is it looked at while there is hope: its checks are running, or an answer is awaited. */
const LOOKS = 6;
/** So long does the polite side leave an ICE restart for newer ICE servers to the other one, which serves both. */
const MOMENT_MS = 1000;

/** The means of a negotiation, and its calls back to its owner. */
export interface Surroundings<C extends Connection> {
  client: SignalingClient;
  peerId: string;
  /** Makes a connection. */
  build: () => Promise<C>;
  /** Calls back in so many milliseconds; returns what prevents that. */
  after: (ms: number, call: () => void) => () => void;
  /** Resolves when the call before with this peer has said its hang-up. */
  before: Promise<unknown> | undefined;
  built: (connection: C | undefined) => void;
  connected: (isConnected: boolean) => void;
  /** The call has ended; `said` resolves when its hang-up is on its way, undefined: it is. */
  ended: (reason: EndReason, error: unknown, said: Promise<unknown> | undefined) => void;
}

export type Negotiation = ReturnType<typeof newNegotiation>;

/** Returns the negotiation of a call that has not begun. */
export function newNegotiation<C extends Connection>(around: Surroundings<C>) {
  const { client, peerId } = around;
  let state: "stable" | "offering" | "offered" | "answering" | "ended" = "stable";
  let connection: C | undefined;
  let isConnected = false;
  /** True where this connection has been connected. One that never was is replaced: it may be the browser's fault. */
  let hasStood = false;
  /**
   * The need for an offer: where the connection asks for one, its next descriptions may do as well; for a peer that has
   * offered no media one is sent if it has any.
   */
  let needed: "no" | "by the connection" | "for the peer" | "in any case" = "no";
  let isRunning = false;
  /** Descriptions that came, in their order. */
  let waiting: (OfferReceived | AnswerReceived)[] = [];
  /** Candidates that came before their description was set. */
  let held: IceCandidateReceived[] = [];
  /** Candidates that were found before their description was sent. */
  let found: (Candidate | null | undefined)[] = [];
  /** The offer that was answered last, this side's that awaits its answer, and the other's that is being answered. */
  let on = "";
  let out = "";
  let answering = "";
  /** The hang-up that came while an offer awaited its reply. */
  let over = "";
  /** This side's offer whose reply is awaited. */
  let asked: Promise<{ offerId: string }> | undefined;
  /** The offer that candidates say; undefined: their description was not sent yet. */
  let sentAs: string | undefined;
  /** The offer whose description of the peer is set, and of which of its connections that is. */
  let setAs: string | undefined;
  let identity: Identity | undefined;
  /** The candidates that were added for it. */
  let added = 0;
  /** The restarts, and the connections, since one stood. */
  let tries = 0;
  let built = 0;
  let stopWaiting = () => {};
  let stopRestart = () => {};

  // What comes of a connection.

  const close = (one: Connection | undefined) => {
    try {
      void Promise.resolve(one?.close()).catch(() => {});
    } catch {
      // It was closed.
    }
  };

  /** Closes the connection, of which nobody hears any more, and forgets what belonged to it. */
  const drop = () => {
    const old = connection;
    connection = setAs = sentAs = identity = undefined;
    found = [];
    hasStood = false;
    out = "";
    if (state === "offered") state = "stable";
    if (isConnected) around.connected((isConnected = false));
    close(old);
  };

  /** Builds a connection in place of the present one. */
  const renew = async () => {
    drop();
    if (state !== "ended" && ++built > MOST_BUILT) end("failed");
    if ((state as string) === "ended") throw undefined;
    const made = await around.build();
    if ((state as string) === "ended") {
      close(made);
      throw undefined;
    }
    connection = made;
    around.built(made);
    const listen = (kind: string, listener: (event: Found) => void) =>
      made.addEventListener(kind, (event) => connection === made && state !== "ended" && listener(event));
    listen("icecandidate", ({ candidate }) => {
      if (sentAs === undefined) found.push(candidate);
      else send(candidate);
    });
    listen("negotiationneeded", () => needed === "no" && need("by the connection"));
    listen("connectionstatechange", look);
    return made;
  };

  /** Has an offer made, as soon as the state allows it. */
  const need = (why: typeof needed = "in any case") => {
    needed = why;
    void run();
  };

  /** A connection is stable: if it still needs to negotiate, it says so again, and else it has what it asked for. */
  const satisfied = () => {
    if (needed === "by the connection") needed = "no";
  };

  /** Does what follows from the state of the connection itself. */
  const look = () => {
    const now = connection?.connectionState;
    if (now === "connected") {
      tries = built = 0;
      hasStood = true;
      stopWaiting();
      if (!isConnected) around.connected((isConnected = true));
    } else if (now === "failed" || now === "closed") restart();
  };

  /** Tries once more, or gives up. */
  const restart = () => {
    // Not while descriptions of it are made.
    if (state === "offering" || state === "answering") return wait(1);
    if (!again()) return;
    if (isConnected) around.connected((isConnected = false));
    needed = "in any case";
    if (hasStood && connection?.restartIce && connection.connectionState !== "closed") connection.restartIce();
    else drop();
    void run();
  };

  /** Counts a failure; returns false where there were too many. */
  const again = () => {
    if (++tries > TRIES) end("failed");
    else wait();
    return state !== "ended";
  };

  /** Looks later at whether the connection has come about, so many times at most, and then tries once more. */
  const wait = (looks = LOOKS) => {
    stopWaiting();
    stopWaiting = around.after(LOOK_MS, () => {
      if (looks > 1 && (state !== "stable" || connection?.connectionState === "connecting")) return wait(looks - 1);
      if (state === "offered") state = "stable";
      restart();
    });
  };

  const send = (candidate: Candidate | null | undefined) =>
    void client.iceCandidate(peerId, candidate ?? null, { offerId: sentAs }).catch(() => {});

  /** This side's description has been sent. */
  const sent = (offerId: string) => {
    sentAs = offerId;
    found.splice(0).forEach(send);
  };

  const add = async ({ candidate, sdpMid, sdpMLineIndex, usernameFragment }: IceCandidateReceived) => {
    if (++added > MOST_HELD) return;
    try {
      const isLast = !candidate && sdpMid === undefined && sdpMLineIndex === undefined;
      await connection!.addIceCandidate(isLast ? undefined : { candidate, sdpMid, sdpMLineIndex, usernameFragment });
    } catch {
      // One that this side cannot use.
    }
  };

  /** The other peer's description has been set. */
  const set = (offerId: string, of: Identity) => {
    setAs = offerId;
    // One without media has no marks.
    if (of.fingerprints) identity = of;
    added = 0;
    const now = held.filter((one) => !one.offerId || one.offerId === offerId);
    held = held.filter((one) => !now.includes(one));
    now.forEach(add);
  };

  // Descriptions.

  /** Takes what waits, one after the other, and then offers where that is needed. */
  const run = async () => {
    if (isRunning) return;
    isRunning = true;
    try {
      while (state !== "ended") {
        const next = waiting.shift();
        if (next?.kind === "offer") await take(next);
        else if (next) await takeAnswer(next);
        else if (needed !== "no" && state === "stable") await offer();
        else break;
      }
    } catch (error) {
      end("failed", error);
    }
    isRunning = false;
  };

  /** Goes on with what was awaited, unless the call has ended. */
  const going = async <T>(awaited: Promise<T>): Promise<T> => {
    const value = await awaited;
    if ((state as string) === "ended") throw undefined;
    return value;
  };

  const isPolite = () => isBefore(client.peerId, peerId);

  const isOffered = () => waiting.some(({ kind }) => kind === "offer");

  /** Makes an offer and sends it; without effect where the other peer has offered before that. */
  const offer = async () => {
    const isAsked = needed === "for the peer";
    state = "offering";
    needed = "no";
    over = "";
    if (around.before) await going(around.before);
    const by = connection ?? (await renew());
    // Nobody has heard of this one.
    if (isOffered()) return void (state = "stable");
    // One that was out when the session was lost is sent again.
    if (by.signalingState !== "have-local-offer") {
      sentAs = undefined;
      const made = await going(by.createOffer());
      if (isOffered() || (isAsked && !describes(made.sdp))) return void (state = "stable");
      await going(by.setLocalDescription(made));
    }
    try {
      const { offerId } = await going((asked = client.offer(peerId, by.localDescription!)));
      asked = undefined;
      out = offerId;
      state = "offered";
      if (over && over === offerId) end("peer_hung_up");
      else sent(offerId);
    } catch (error) {
      asked = undefined;
      refused(error);
    }
  };

  /** Sets the answer to the offer that is out; any other is ignored. */
  const takeAnswer = async ({ sdp, type, offerId }: AnswerReceived) => {
    if (state !== "offered" || (offerId && offerId !== out)) return;
    const of = identityOf(sdp);
    if (identity && isOther(of, identity)) return anew();
    const by = connection!;
    try {
      await going(by.setRemoteDescription({ type, sdp }));
    } catch {
      return anew();
    }
    if (by !== connection) return;
    set(out, of);
    if (type === "pranswer") return;
    satisfied();
    on = out;
    out = "";
    settle();
  };

  /** Both descriptions are set: where they describe anything, a connection should come about. */
  const settle = () => {
    state = "stable";
    if (!isConnected && describes(connection!.localDescription?.sdp)) wait();
  };

  /** Offers with a new connection. */
  const anew = () => {
    out = "";
    if ((state as string) === "ended" || !again()) return;
    drop();
    state = "stable";
    needed = "in any case";
  };

  /** Sets an offer and answers it; ignored where it collides with this side's, which counts. */
  const take = async ({ sdp, offerId }: OfferReceived) => {
    if (state === "offered" && !isPolite()) return;
    const description = { type: "offer", sdp };
    const of = identityOf(sdp);
    state = "answering";
    answering = offerId;
    out = "";
    needed = "no";
    let by = connection;
    if (by && identity && isOther(of, identity)) by = undefined;
    try {
      // A connection that can take no offer back says so here.
      if (by?.signalingState === "have-local-offer") await by.setLocalDescription({ type: "rollback" });
      await by?.setRemoteDescription(description);
    } catch {
      by = undefined;
    }
    if (!by) {
      by = await renew();
      await going(by.setRemoteDescription(description));
    }
    set(offerId, of);
    sentAs = undefined;
    await going(by.setLocalDescription(await going(by.createAnswer())));
    satisfied();
    try {
      await going(client.answer(peerId, by.localDescription!, { offerId }));
      sent(offerId);
      on = offerId;
      settle();
      // A browser would ask for it by itself; werift does not.
      if (!describes(sdp)) needed = "for the peer";
    } catch (error) {
      refused(error, true);
    }
    answering = "";
  };

  /** A description was not relayed. */
  const refused = (error: any, isAnswer = false) => {
    if (state === "ended") return;
    const { name, code } = error ?? {};
    if (name === "OutcomeUnknown") {
      // Others were told that this side has left.
      state = "stable";
      needed = "in any case";
    } else if (isAnswer && code === "FAILED_PRECONDITION") {
      // The other peer has hung up, or offers anew, of which the next events tell.
      state = "stable";
      if (!on && !waiting.length && needed === "no") end("peer_hung_up");
    } else if (!isAnswer && isOffered() && name !== "ConnectionClosed") state = "stable";
    else end(name === "ConnectionClosed" ? "closed" : code === "NOT_FOUND" ? "peer_not_found" : "refused", error);
  };

  const hangUp = (offerId: string) => void client.disconnect(peerId, { offerId }).catch(() => {});

  /** Ends the call, and hangs up on all its offers that the peer may hold open; `said` is the one of its own hang-up. */
  const end = (reason: EndReason, error?: unknown, said?: string) => {
    if (state === "ended") return;
    const open = new Set([on, out, answering, ...waiting.map((one) => (one.kind === "offer" ? one.offerId : ""))]);
    if (reason === "peer_hung_up") for (const one of open) if (one !== out || one === said) open.delete(one);
    open.delete("");
    state = "ended";
    stopWaiting();
    stopRestart();
    const last = identity;
    drop();
    identity = last;
    waiting = held = [];
    let saying: Promise<unknown> | undefined;
    if (["hung_up", "peer_hung_up", "failed", "refused"].includes(reason)) open.forEach(hangUp);
    if (reason !== "closed")
      saying = asked?.then(
        ({ offerId }) => offerId !== said && hangUp(offerId),
        () => {},
      );
    around.ended(reason, error, saying);
  };

  return {
    /** Returns the marks of the peer's connection whose description was set last; undefined: none was. */
    identity: () => identity,

    need,
    end,

    /** An offer or an answer of the peer. */
    described(message: OfferReceived | AnswerReceived): void {
      if (message.kind === "offer") waiting = waiting.filter(({ kind }) => kind !== "offer");
      if (waiting.length < MOST_WAITING) waiting.push(message);
      void run();
    },

    candidate(one: IceCandidateReceived): void {
      if (setAs !== undefined && (one.offerId ? one.offerId === setAs : !waiting.length)) void add(one);
      else {
        held.push(one);
        if (held.length > MOST_HELD) held.shift();
      }
    },

    /** The peer has hung up on an offer; none is said: on all. */
    hungUp(offerId = ""): void {
      const isUnderWay = state === "offering" || state === "offered";
      const isTakenBack = waiting.some((one) => one.kind === "offer" && one.offerId === offerId);
      if (!offerId || [on, out, answering].includes(offerId) || (isTakenBack && !isUnderWay))
        end("peer_hung_up", undefined, offerId);
      else if (isTakenBack) waiting = waiting.filter((one) => one.offerId !== offerId);
      else if (state === "offering") over = offerId;
    },

    /** The client is another peer: its offers are over, and the other one was told that it left. */
    sessionLost(): void {
      waiting = [];
      out = "";
      if (state === "offered") {
        state = "stable";
        need();
      } else if (state !== "offering" && !isConnected) need();
    },

    /** There are other ICE servers now. */
    async useServers(iceServers: object[]): Promise<void> {
      const by = connection;
      try {
        by?.setConfiguration?.({ ...by.getConfiguration?.(), iceServers });
        if (!by || !(await isRelayed(by))) return;
        const before = identity?.fragments;
        const restart = () => void (by === connection && before === identity?.fragments && by.restartIce?.());
        stopRestart();
        if (isPolite()) stopRestart = around.after(MOMENT_MS, restart);
        else restart();
      } catch {
        // It goes on with those that it has.
      }
    },
  };
}
