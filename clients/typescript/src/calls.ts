/**
 * The offers that a client knows of: which one its messages say, and which answers are for its program.
 *
 * For each other peer there is
 *
 *     asked     the number of the last request to offer whose id is not known yet, or never will be; 0: none
 *     out       the offer to it that the server has taken, and that was neither answered nor hung up on; its id may be
 *               UNTOLD: the server has said none, or nothing but that there was no answer in time
 *     made      the same, while the program has not answered an offer of the other one instead
 *     waiting   the last offer from it, while it was neither answered nor hung up on
 *     received  the last offer from it, whatever became of it
 *     on        the offer that was answered last, by either of the two
 *     over      the last offer that was hung up on while the reply to an offer was awaited
 *
 * and what happens changes them so:
 *
 *     the program offers                      asked = the request's number
 *     the server takes that, or refuses it    made = out = the id, or none where that is over, or as before; asked = 0
 *     its reply is that none came in time     out = UNTOLD; asked = 0
 *     the program is handed an offer          waiting = received = its id
 *     it answers                              on = the id; made = waiting = none       (a `pranswer` changes nothing)
 *     it is handed an answer                  on = the id; made = waiting = out = none              (likewise)
 *     it hangs up, or is hung up on           what the hang-up says is none; all but `received`, where it says nothing
 *     the other one leaves                    all are none
 *
 * Rule 1: what the program has not been handed yet it does not know: it never answers an offer that has only arrived.
 * Rule 2: where two offers cross, a message says nothing, and means both. Rule 3: an answer that says an offer is for
 * the program where that one is out, or one whose id is untold; one that says nothing always is. Both of two offers
 * that crossed may be answered: each may have a connection of its own. Rule 4: whether an offer is out is known when no
 * later one awaits its reply. Rule 5: a hang-up and a leaving end no offer that the server took after them: its reply
 * came behind them, and the program may have been handed them later. Rule 6: where a client has resumed, a reply may
 * come behind a hang-up on its offer: what a hang-up says is remembered until then.
 * Source: `docs/protocol.md`, section "Which offer a message belongs to".
 */

import { SignalingError } from "./errors.js";
import type { Announced, OfferRelayed, ServerEvent } from "./messages.js";
import type { Request, Result } from "./session.js";

/** In place of the id of an offer whose id the server has not told; no server's id is this. */
const UNTOLD = "\0";

/** The offers between the client and one other peer; see above. An empty id is none. */
interface Between {
  asked: number;
  made: string;
  out: string;
  /** The number of the request that made the offer that is out. */
  outBy: number;
  waiting: string;
  received: string;
  on: string;
  over: string;
}

/** The offers between one client and all other peers. */
export type Calls = ReturnType<typeof newCalls>;

/** Returns the offers of a client that knows of none yet. */
export function newCalls() {
  const offers = new Map<string, Between>();

  const betweenUsAnd = (peerId: string): Between => {
    let b = offers.get(peerId);
    if (!b) {
      b = { asked: 0, made: "", out: "", outBy: 0, waiting: "", received: "", on: "", over: "" };
      offers.set(peerId, b);
    }
    return b;
  };

  return {
    // What a message says.

    /** Returns the offer that an answer to this peer is for; empty where there was none. */
    answering: (peerId: string): string => offers.get(peerId)?.received ?? "",

    /** Returns the offer that a candidate or a hang-up to this peer belongs to; empty where that is none, or several. */
    current(peerId: string): string {
      const b = offers.get(peerId);
      return !b || b.asked || (b.waiting && b.made) ? "" : b.waiting || b.made || b.on;
    },

    /** Returns the number of the request whose reply decides whether an event is for the program; 0: that is known. */
    dependsOn(event: ServerEvent): number {
      const b = event.kind === "answer" && event.offerId ? offers.get(event.fromPeerId) : undefined;
      // Where an earlier answer was to be a reply, so is the next one: nothing is held back for so long.
      return b && b.out !== UNTOLD ? b.asked : 0;
    },

    // What happens, in the order in which it does.

    /** A request is on its way; `number` is above those of all before. */
    sent(number: number, { method, params }: Request): void {
      if (method === "offer") betweenUsAnd(params.toPeerId).asked = number;
      if (method === "disconnect") hungUp(offers.get(params.peerId), params.offerId, Infinity);
    },

    /** The server has carried a request out, or has refused it: then nothing has changed. */
    replied(number: number, { method, params }: Request, outcome: Result | SignalingError): void {
      const isRefused = outcome instanceof SignalingError;
      if (method === "offer") {
        const b = betweenUsAnd(params.toPeerId);
        if (!isRefused) {
          if (b.asked >= number) {
            const { offerId } = outcome as OfferRelayed;
            const isOver = offerId && offerId === b.over;
            b.made = isOver ? "" : offerId;
            b.out = isOver ? "" : offerId || UNTOLD;
            b.outBy = number;
          }
        } else if (outcome.code === "DEADLINE_EXCEEDED" && b.asked === number) {
          // An offer without an answer stays out.
          b.made = "";
          b.out = UNTOLD;
          b.outBy = number;
        }
        if (b.asked === number) b.asked = 0;
      } else if (isRefused) return;
      else if (method === "announce") {
        if (!(outcome as Announced).resumed) offers.clear();
      } else if (method === "answer" && params.type !== "pranswer") {
        const b = betweenUsAnd(params.toPeerId);
        answered(b, params.offerId || b.waiting);
      }
    },

    /**
     * The program's next event; returns false where it is an answer to an offer that is not out.
     *
     * When it arrived, the last reply was that to the request `last`.
     */
    handed(event: ServerEvent, last = Infinity): boolean {
      if (event.kind === "offer") {
        const b = betweenUsAnd(event.fromPeerId);
        b.waiting = b.received = event.offerId;
      } else if (event.kind === "answer") {
        const b = betweenUsAnd(event.fromPeerId);
        const { offerId = "" } = event;
        if (offerId && (b.asked || (b.out !== offerId && b.out !== UNTOLD))) return false;
        if (event.type !== "pranswer") {
          answered(b, b.out === UNTOLD ? offerId : b.out);
          b.out = "";
        }
      } else if (event.kind === "peer_disconnected") hungUp(offers.get(event.peerId), event.offerId, last);
      else if (event.kind === "peer_left") {
        const b = offers.get(event.peerId);
        offers.delete(event.peerId);
        if (b) {
          ended(b, last);
          const { asked, out, outBy } = b;
          // Offers to a peer that came back by the same id.
          if (asked || out) Object.assign(betweenUsAnd(event.peerId), { asked, made: out, out, outBy });
        }
      }
      return true;
    },

    /** The client is another peer from now on: no offer is left. */
    forget: () => offers.clear(),
  };
}

/** An offer was answered for good. */
function answered(b: Between, offerId: string): void {
  b.on = offerId;
  b.made = b.waiting = "";
}

/** One of the two hung up; no id means all offers, of the program's those up to the request `last`. */
function hungUp(b: Between | undefined, offerId: string | undefined, last: number): void {
  if (!b) return;
  if (!offerId) {
    b.waiting = b.on = "";
    ended(b, last);
    return;
  }
  if (b.asked) b.over = offerId;
  for (const role of ["out", "made", "waiting", "on"] as const) if (b[role] === offerId) b[role] = "";
}

/** The program's offers up to the request `last` are over. */
function ended(b: Between, last: number): void {
  if (b.asked <= last) b.asked = 0;
  if (b.outBy <= last) b.made = b.out = "";
}
