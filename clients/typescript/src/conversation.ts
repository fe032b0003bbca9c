/**
 * The conversation of a client: requests that await their replies, and events that wait to be read.
 *
 * It belongs to a client, and not to a connection: one that reconnects goes on with it on the next one.
 *
 * Rule 1: requests may overlap; each has its reply by its number, in any order. Rule 2: events are kept, in order and
 * without bound, until there is somebody to hand them to: an iterator whose next one is awaited, or listeners. Each
 * iterator is handed all of them from its making on, and keeps what it is not asked for yet. Rule 3: an SDP answer is
 * compared with the offers that are out when it is handed out, not when it arrives: the program may have hung up in
 * between. While a later offer to the same peer awaits its reply, it is held back with all events behind it: that offer
 * may be refused. Rule 4: an event whose number has been seen is dropped: a server repeats what may not have arrived.
 */

import type { Calls } from "./calls.js";
import { type ConnectionClosed, SignalingError } from "./errors.js";
import type { ClientEvent, Closed, Reconnecting, Resumed, SessionLost } from "./events.js";
import type { Announced, ServerEvent } from "./messages.js";
import type { Request, Result } from "./session.js";

/** An event about the connection, but the last one. */
type ConnectionEvent = Reconnecting | Resumed | SessionLost;

/** The end of a request. */
export type Outcome = Result | SignalingError | ConnectionClosed;

/** A request that awaits its reply. */
export interface Asked {
  readonly number: number;
  readonly request: Request;
  /** The session with which it ends; undefined where it outlives sessions. */
  readonly own: object | undefined;
  /** Called with each reply in the moment in which it arrives; true: it was not the last, and the request goes on. */
  readonly atReply: (outcome: Result | SignalingError) => boolean | void;
  readonly end: (outcome: Outcome) => void;
  /** True once it was written: a server may have heard of it. */
  written: boolean;
  /** True where it was written in the present session, or is not to be written now. */
  sent: boolean;
}

/** An event in the list of all of them, in their order, and the next one. */
type Listed = ToldEvent & { next?: Listed | undefined };
/**
 * An event, and the number of the request whose reply came last before it: undefined where it is one about the
 * connection.
 */
type ToldEvent = { event: ServerEvent; last: number } | { event: ConnectionEvent; last?: undefined };

/** An iterator of events: the last one that it was asked for, and those who wait for its next one. */
interface Reader {
  at: Listed;
  readonly waiting: ((result: IteratorResult<ClientEvent>) => void)[];
}

/** The end of an iterator. */
const DONE = { value: undefined, done: true } as const;

/** The requests and events of one client. */
export type Conversation = ReturnType<typeof newConversation>;

/** Returns a conversation; `calls` are the offers that the client knows of; `dispatch` hands an event to listeners. */
export function newConversation(calls: Calls, dispatch: (event: ClientEvent) => void) {
  const asked = new Map<number, Asked>();
  let lastSeq = 0;
  let lastNumber = 0;
  /** The highest number of a request whose reply has come. */
  let lastReplied = 0;
  /** The event that was handed out last; those behind it wait, up to the last one. */
  let handed = {} as Listed;
  let newest = handed;
  const readers = new Set<Reader>();
  /** True from the first listener on. */
  let isListening = false;
  /** True from the first listener on, were it one for `closed` alone. */
  let isListeningForEnd = false;
  /** The last event. */
  let end: Closed | undefined;
  let isEndTold = false;
  let isLooking = false;

  /** Hands out what can be, at the end of this turn. */
  const look = () => {
    if (isLooking) return;
    isLooking = true;
    queueMicrotask(() => {
      isLooking = false;
      handOut();
    });
  };

  const keep = (told: ToldEvent) => {
    newest = newest.next = told;
    look();
  };

  const handOut = () => {
    for (let one; (one = handed.next) && (isListening || [...readers].some(({ waiting }) => waiting.length)); ) {
      const { event, last } = one;
      if (last !== undefined) {
        // Where the reply to a later offer decides it.
        if (asked.has(calls.dependsOn(event))) break;
        if (!calls.handed(event, last)) {
          handed.next = one.next;
          if (one === newest) newest = handed;
          continue;
        }
      }
      handed = one;
      for (const reader of readers) {
        const resolve = reader.waiting.shift();
        if (resolve) resolve({ value: (reader.at = one).event });
      }
      if (isListening) dispatch(event);
    }
    if (!end) return;
    if (!handed.next) readers.forEach(endOf);
    if (isListeningForEnd && !isEndTold && !(isListening && handed.next)) {
      isEndTold = true;
      dispatch(end);
    }
  };

  /** Ends a request, with a reply or without. */
  const finish = (one: Asked, outcome: Outcome) => {
    if (!asked.delete(one.number)) return;
    one.end(outcome);
    look();
  };

  return {
    // Requests.

    /** The requests that await their replies, by number, in the order in which they were asked. */
    asked,

    /**
     * Takes a request that is about to be sent; `end` is called with its outcome.
     *
     * Without a `number` of its own, as one has that was sent before by another session, it is the next one.
     */
    ask(
      request: Request,
      end: Asked["end"],
      own?: object,
      atReply: Asked["atReply"] = () => {},
      number = lastNumber + 1,
    ): Asked {
      lastNumber = Math.max(lastNumber, number);
      const one: Asked = { number, request, own, atReply, end, written: false, sent: false };
      asked.set(number, one);
      calls.sent(number, request);
      return one;
    },

    /** Takes the reply to a request, or its refusal, which may come in place of its writing. */
    resolve(number: number, outcome: Result | SignalingError): void {
      const one = asked.get(number);
      if (!one) return;
      const { request } = one;
      if (one.written) lastReplied = Math.max(lastReplied, number);
      if (request.method === "announce" && !(outcome instanceof SignalingError))
        // What is told from here on is another peer's, or what the one of before has missed.
        lastSeq = ((outcome as Announced).resumed && request.params.lastSeq) || 0;
      calls.replied(number, request, outcome);
      if (!one.atReply(outcome)) finish(one, outcome);
    },

    finish,

    // Events.

    /** Returns the number of the last event that the server has numbered; 0: none. */
    lastSeq: () => lastSeq,

    /** Takes an event of the server, with the number that it has given it; 0: none. */
    tell(event: ServerEvent, seq: number): void {
      if (seq) {
        if (seq <= lastSeq) return;
        lastSeq = seq;
      }
      keep({ event, last: lastReplied });
    },

    /** Takes an event about the connection. */
    tellOfConnection: (event: ConnectionEvent): void => keep({ event }),

    /** Forgets what other peers have said to a peer that is no more. */
    forgetEvents(): void {
      let one = handed.next;
      for (newest = handed; one; one = one.next)
        if (one.last === undefined || one.event.kind === "server_notice") newest = newest.next = one;
      newest.next = undefined;
    },

    /** Ends the events behind what is there. */
    end(closed: Closed): void {
      end = closed;
      look();
    },

    /** Hands events to listeners from the end of this turn on; those for `closed` alone hear of nothing else. */
    listen(kind: string): void {
      isListeningForEnd = true;
      isListening ||= kind !== "closed";
      look();
    },

    /** Returns an iterator of the events from the first on that nobody was handed. */
    events(): AsyncIterableIterator<ClientEvent> {
      const reader: Reader = { at: handed, waiting: [] };
      readers.add(reader);
      return {
        next: () =>
          new Promise((resolve) => {
            if (!readers.has(reader)) resolve(DONE);
            else if (reader.at !== handed) resolve({ value: (reader.at = reader.at.next!).event });
            else {
              reader.waiting.push(resolve);
              look();
            }
          }),
        async return() {
          readers.delete(reader);
          endOf(reader);
          return DONE;
        },
        [Symbol.asyncIterator]() {
          return this;
        },
      };
    },
  };
}

/** Ends an iterator for those who wait for its next event. */
function endOf({ waiting }: Reader): void {
  for (const resolve of waiting.splice(0)) resolve(DONE);
}
