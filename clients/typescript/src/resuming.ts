/**
 * A client that outlives its connections: it comes back, is the same peer, and repeats requests that are still open.
 *
 * The states of the client, and what leads from one to the next:
 *
 *     (connect) ──► STANDING ──the session ends──► WAITING ──time is up──► CONNECTING ──a session is there──► RESUMING
 *                      ▲                            ▲  ▲                       │                               │ │
 *                      │                            │  └─────it failed─────────┘                               │ │
 *                      │                            └──it ended, or the announce is to be tried again──────────┘ │
 *                      └────resumed, or announced anew; then the open requests are written, in order─────────────┘
 *
 *     any ──`close`, refused for good, or given up──► CLOSED
 *
 * Where it was no peer yet there is nothing to announce, and RESUMING is over at once. Without `resume` the end of the
 * first session leads to CLOSED.
 *
 * Rule 1: a request ends as its reply, as its refusal, or as `OutcomeUnknown`, and then after `session_lost` alone; when
 * the client is closed, as `ConnectionClosed`. Rule 2: requests keep their numbers over sessions, and the server knows
 * by these what it has carried out; questions change nothing, and are asked again in any case. Rule 3: what has arrived
 * is as good as read, since it waits here and not in a session: the client asks for what comes after that. Rule 4: it
 * never gives up unless it is told to, or refused for good: it was told not to come back, no token lets it in, its
 * announce is refused for a reason that time does not change, or somebody else has its id for longer than its own old
 * session could. Rule 5: where it is closed, nothing that waits goes on: its timers are gone, and no request is left.
 * Source: `docs/resuming.md`.
 */

import { newBackoff } from "./backoff.js";
import type { Calls } from "./calls.js";
import { type Clock, waitsBy, within } from "./clock.js";
import { type Asked, newConversation, type Outcome } from "./conversation.js";
import { closedByWord } from "./disconnects.js";
import { Code, ConnectionClosed, OutcomeUnknown, SigbridgeError, SignalingError } from "./errors.js";
import type { ClientEvent } from "./events.js";
import { type Alive, keepAlive } from "./keepalive.js";
import type { AnnounceParams, Announced, Authenticated, IceServers, IceServersChanged } from "./messages.js";
import type { Opened, Opening } from "./opening.js";
import { renew } from "./renewal.js";
import type { Listener, Request, Result, Session } from "./session.js";

/** The most requests that await their replies at a time; others wait until it is their turn. */
const MAX_UNANSWERED = 256;
/** So long may the reply to an announce take by which the client comes back. */
const ANNOUNCE_MS = 10_000;
/** So long after a loss, somebody else of the same id may be the client's own old session, which has not ended yet. */
const SHADOW_MS = 60_000;
/** So long may a server take to say farewell. */
const CLOSE_MS = 2000;

/** The refusals of an announce that time may change. */
const TRIED_AGAIN: number[] = [
  Code.DEADLINE_EXCEEDED,
  Code.RESOURCE_EXHAUSTED,
  Code.ABORTED,
  Code.INTERNAL,
  Code.UNAVAILABLE,
];
/** Requests that may be carried out twice. */
const QUESTIONS = ["list_peers", "health_check", "authenticate", "get_ice_servers"];
/** The events of a page: it was asleep or without a network, and is not any more, or goes into the browser's cache. */
const PAGE_EVENTS = ["online", "pagehide", "pageshow", "visibilitychange"];

/** Options of coming back, and of keeping sessions alive; each as in `ConnectOptions`. */
export interface ResumingOptions {
  resume?: boolean | undefined;
  giveUpAfterSeconds?: number | undefined;
  keepaliveSeconds?: number | undefined;
}

/** One connection of the client, and who hears of it. */
interface Link extends Alive, Listener {
  /** Set when it is open. */
  session?: Session;
  ended: ConnectionClosed | undefined;
}

/** A client whose first session stands. */
export type Resuming = Awaited<ReturnType<typeof newResuming>>;

/**
 * Opens the first session of a client, and another one whenever it is lost.
 *
 * `calls` are the offers that the client knows of; `dispatch` hands an event to listeners. Rejects as `opening` does.
 */
export async function newResuming(
  opening: Opening,
  { resume = true, giveUpAfterSeconds, keepaliveSeconds = 25 }: ResumingOptions,
  clock: Clock,
  calls: Calls,
  dispatch: (event: ClientEvent) => void,
) {
  const { now } = clock;
  const backoff = newBackoff(clock.random);
  const conversation = newConversation(calls, dispatch);
  const { asked, finish, tellOfConnection } = conversation;
  /** The timers of the client itself, until it is closed. */
  const waits = waitsBy(clock);
  /** Ends the opening that is under way when the client is closed. */
  const gone = new AbortController();
  const { signal } = gone;

  let state: "standing" | "waiting" | "connecting" | "resuming" | "closed" = "connecting";
  let closedBy: ConnectionClosed | undefined;
  let link: Link;
  let peerId = "";
  /** The announce by which the client is a peer; undefined while it is none. */
  let peer: AnnounceParams | undefined;
  let resumeToken = "";
  let windowMs = 0;
  let losses = 0;
  let lostAt = 0;
  let standsSince = 0;
  /** Number of requests of the program that are written in this session and await their replies. */
  let inFlight = 0;
  /** The moment before which a notice has told the client not to come back. */
  let awayUntil = 0;
  let wake = () => {};
  /** Resolves when all sessions are closed that are not the client's any more. */
  let farewells: Promise<unknown> = Promise.resolve();

  // Requests.

  const send = (to: Link, one: Asked) => {
    one.sent = true;
    to.sentAt = now();
    to.session!.send(one.number, one.request);
    // Where the session has refused it, it was never on its way.
    one.written = true;
  };

  /** Writes what the program has asked and this session was not told yet, in the order in which it was asked. */
  const write = () => {
    if (state !== "standing" || inFlight >= MAX_UNANSWERED) return;
    const to = link;
    for (const one of asked.values()) {
      if (one.sent) continue;
      if (inFlight >= MAX_UNANSWERED || to.ended) return;
      inFlight++;
      send(to, one);
    }
  };

  /** Sends a request that ends with its session, with what is to be done at its reply; resolves to its outcome. */
  const askIn = (to: Link, request: Request, atReply?: Asked["atReply"]) =>
    new Promise<Outcome>((end) => {
      if (to.ended) end(to.ended);
      else send(to, conversation.ask(request, end, to, atReply));
    });

  /** Returns whether somebody else of the same id may still be the client's own old session. */
  const mayBeOwnShadow = () => now() - lostAt < Math.max(windowMs, SHADOW_MS);

  /** Notes who the client is, in the moment in which it becomes that: what comes behind it is that peer's. */
  const note = ({ method, params }: Request, outcome: Result | SignalingError) => {
    if (outcome instanceof SignalingError) return;
    if (method === "announce") {
      const { resumable, resumeToken: token = "", resumeWindowSeconds = 0 } = outcome as Announced;
      peer = params;
      peerId = params.peerId;
      resumeToken = resumable ? token : "";
      windowMs = 1000 * resumeWindowSeconds;
    } else if (method === "disconnect" && params.peerId === peer?.peerId) peer = undefined;
    else if (method === "authenticate") opening.show(params.token);
    // On the next session, too, it is to be told of newer ones.
    if (peer && (outcome as IceServers).iceServers) peer.iceServers = true;
  };

  /** Takes a reply to a request of the program, made after so many losses; returns true where the request goes on. */
  const atReply = (one: Asked, outcome: Result | SignalingError, lossesBefore: number) => {
    if (one.sent && inFlight-- >= MAX_UNANSWERED) queueMicrotask(write);
    if (
      one.request.method === "announce" &&
      outcome instanceof SignalingError &&
      outcome.code === "ALREADY_EXISTS" &&
      // The first of several tries may have been carried out.
      losses !== lossesBefore &&
      !peer &&
      mayBeOwnShadow()
    ) {
      const refusedBy = link;
      waits.after(backoff.next(), () => {
        // On another session it is written again anyway.
        if (refusedBy === link) one.sent = false;
        write();
      });
      return true;
    }
    note(one.request, outcome);
    return false;
  };

  // The connection.

  /** Returns the listener of a session that is about to be opened. */
  const newLink = (): Link => {
    const isHeard = () => {
      if (closedBy || next.ended || next !== link) return false;
      next.heardAt = now();
      next.heard++;
      return true;
    };
    const next: Link = {
      ended: undefined,
      sentAt: 0,
      heardAt: 0,
      heard: 0,
      waits: waitsBy(clock),
      replied(number, outcome) {
        if (isHeard()) conversation.resolve(number, outcome);
      },
      told(event, seq) {
        if (!isHeard()) return;
        if (event.kind === "server_notice" && event.reconnectAfterMs) awayUntil = now() + event.reconnectAfterMs;
        conversation.tell(event, seq);
      },
      closed: (closed) => lose(next, closed),
    };
    return next;
  };

  const open = () => opening.open(newLink, waits, signal);

  /** Makes a session the client's own. */
  const take = ({ listener, shown }: Opened<Link>) => {
    link = listener;
    standsSince = link.sentAt = link.heardAt = now();
    inFlight = 0;
    for (const one of asked.values()) if (!one.own) one.sent = false;
    if (link.ended) return;
    if (keepaliveSeconds > 0) {
      const ask = () => askIn(listener, { method: "list_peers", params: { pageSize: 1 } });
      void keepAlive(listener, now, 1000 * keepaliveSeconds, ask, resume ? () => giveUp(listener) : undefined);
    }
    const { source } = opening;
    if (source && shown) {
      const show = async (token: string) => {
        const outcome = await askIn(listener, { method: "authenticate", params: { token } });
        if (outcome instanceof Error) throw outcome;
        return (outcome as Authenticated).expiresAt;
      };
      void renew(source, shown, show, clock, listener.waits);
    }
  };

  /** Stands, and writes the requests that are open; where the session has ended already, that is its loss. */
  const stand = () => {
    state = "standing";
    if (link.ended) leave(link.ended);
    else write();
  };

  /** A session has ended. */
  const lose = (lost: Link, closed: ConnectionClosed) => {
    if (lost.ended) return;
    lost.ended = closed;
    lost.waits.stop();
    for (const one of asked.values()) if (one.own === lost) finish(one, closed);
    if (lost === link && state === "standing") leave(closed);
  };

  /** The client stands no more. */
  const leave = (closed: ConnectionClosed) => {
    if (!resume) return end(closed);
    comeBack(closed).catch((fault) => {
      console.error(fault);
      end(closedByWord("internal_error"));
    });
  };

  /** Ends a session at once. */
  const giveUp = (silent: Link) => {
    silent.session!.giveUp();
    lose(silent, closedByWord(""));
  };

  /** Closes a session that is not the client's any more. */
  const part = (old: Link) => {
    if (old.ended) return;
    old.waits.stop();
    const closing = old.session!.close().catch(() => {});
    // Whoever waits for the server's word waits no longer then.
    const farewell = within(clock, CLOSE_MS, closing).then(() => giveUp(old));
    farewells = Promise.all([farewells, farewell]);
  };

  /** Tries until a session stands again, or the client is closed. */
  const comeBack = async (closed: ConnectionClosed) => {
    backoff.stood(now() - standsSince);
    const loss = ++losses;
    lostAt = now();
    if (giveUpAfterSeconds !== undefined)
      waits.after(1000 * giveUpAfterSeconds, () => {
        if (losses === loss && state !== "standing") end(closed);
      });
    for (let isTold = false; closed.reconnect !== false; isTold = true) {
      state = "waiting";
      const leastMs = Math.max(closed.retryAfterMs ?? 0, awayUntil - now());
      const waitMs = backoff.next(leastMs);
      if (!isTold) tellOfConnection({ kind: "reconnecting", reason: closed.reason, waitSeconds: waitMs / 1000 });
      const least = now() + leastMs;
      await new Promise<void>((resolve) => {
        wake = () => waits.after(Math.max(0, least - now()), resolve);
        waits.after(waitMs, resolve);
      });
      const failed = await tryAgain();
      if (!failed || closedBy) return;
      closed = failed;
    }
    end(closed);
  };

  const onPage = ({ persisted }: { persisted?: boolean }) => {
    if (state === "waiting" && !globalThis.document?.hidden) wake();
    // No connection outlives the browser's cache, and a browser that ends one there says that its client leaves.
    else if (persisted && state === "standing") giveUp(link);
  };

  /** Opens a session and becomes the peer of before in it; resolves to the failure, or undefined. */
  const tryAgain = async (): Promise<ConnectionClosed | undefined> => {
    state = "connecting";
    let opened: Opened<Link>;
    try {
      opened = await open();
    } catch (error) {
      if (error instanceof ConnectionClosed) return error;
      // Of whatever a program's source of tokens throws, the text may hold a token.
      const why = error instanceof SigbridgeError ? error.message : `cannot connect: ${(error as Error)?.name}`;
      return new ConnectionClosed(why, true);
    }
    const { listener } = opened;
    let failed = closedBy;
    if (!failed) {
      state = "resuming";
      take(opened);
      failed = await comeAsBefore(listener);
      if (closedBy) return closedBy;
    }
    if (failed) part(listener);
    else stand();
    return failed;
  };

  /** Announces the peer of before in a new session; resolves to the failure, or undefined. */
  const comeAsBefore = async (to: Link): Promise<ConnectionClosed | undefined> => {
    if (!peer || [...asked.values()].some((one) => one.written && isLeave(one, peer))) {
      // There was no peer, or a server may have heard that it leaves: it does not come back to say it again.
      if (peer) beginAnew(peer.peerId, []);
      else tellOfConnection({ kind: "resumed" });
      peer = undefined;
      return to.ended;
    }
    const lastSeq = resumeToken ? conversation.lastSeq() : 0;
    const request: Request = { method: "announce", params: { ...peer, resumable: true, resumeToken, lastSeq } };
    const announced = askIn(to, request, (outcome) => {
      // Before anything that follows it.
      note(request, outcome);
      if (outcome instanceof SignalingError) return;
      const { resumed, peerId, otherPeers, iceServers: servers, iceServersExpireUnixMs: expiresUnixMs } = outcome as Announced;
      if (resumed) tellOfConnection({ kind: "resumed" });
      else beginAnew(peerId, otherPeers);
      if (servers) conversation.tell({ kind: "ice_servers", servers, expiresUnixMs } as IceServersChanged, 0);
    });
    const outcome = await within(to.waits, ANNOUNCE_MS, announced);
    if (!outcome) giveUp(to);
    if (outcome instanceof SignalingError) {
      const { code, retryAfterMs } = outcome;
      const isPassing = TRIED_AGAIN.includes(Code[code]) || (code === "ALREADY_EXISTS" && mayBeOwnShadow());
      return new ConnectionClosed(code.toLowerCase(), isPassing, retryAfterMs);
    }
    return to.ended;
  };

  /** Tells the program that its peer of before is gone, and those who wait that nobody knows. */
  const beginAnew = (peerId: string, otherPeers: string[]) => {
    calls.forget();
    conversation.forgetEvents();
    tellOfConnection({ kind: "session_lost", peerId, otherPeers });
    for (const one of asked.values())
      if (!one.own && !QUESTIONS.includes(one.request.method) && (one.written || !isLeave(one, peer)))
        finish(one, new OutcomeUnknown("the peer was lost"));
  };

  /** Closes the client for good. */
  const end = (closed: ConnectionClosed) => {
    if (closedBy) return;
    closedBy = closed;
    state = "closed";
    waits.stop();
    gone.abort();
    part(link);
    for (const one of asked.values()) finish(one, closed);
    conversation.end({ kind: "closed", reason: closed.reason });
  };

  const opened = await open();
  for (const kind of PAGE_EVENTS) globalThis.addEventListener?.(kind, onPage as EventListener, { signal });
  take(opened);
  stand();

  return {
    events: conversation.events,
    listen: conversation.listen,
    peerId: () => peerId,
    closed: () => closedBy,

    /** Sends a request, over as many sessions as that takes; resolves to its outcome. */
    ask: (request: Request, number?: number) =>
      new Promise<Outcome>((end) => {
        if (closedBy) return end(closedBy);
        if (request.method === "announce" && resume) request.params.resumable = true;
        const lossesBefore = losses;
        const one = conversation.ask(request, end, undefined, (outcome) => atReply(one, outcome, lossesBefore), number);
        write();
      }),

    /** Leaves for good, whatever state the client is in; resolves when that is done. */
    async close(): Promise<void> {
      end(closedByWord("client_left"));
      await farewells;
    },
  };
}

/** Returns whether a request leaves the room as this peer. */
function isLeave({ request: { method, params } }: Asked, peer: AnnounceParams | undefined): boolean {
  return method === "disconnect" && params.peerId === peer?.peerId;
}
