/**
 * Signs of life of a client's session: a small request where its program has sent nothing for a while.
 *
 * Rule 1: what it asks is the cheapest request that every server knows, and the reply is nobody's, an error included.
 * Rule 2: the next one is not sent before the reply to the last has come: behind a connection that stands still they
 * would pile up. Rule 3: it goes with its session. Rule 4: where the session is watched, it asks in the server's
 * silences, too, and twice: a program that stood still itself finds the first time limit passed, and the reply to the
 * second question behind it. Rule 5: a page in the background gets a timer a minute. Where one comes later than that
 * even, the page has slept, and the question does not count.
 */

import { type Waits, within } from "./clock.js";

/** So long may the reply take where the session is watched. */
const REPLY_MS = 10_000;
/** So many questions in a row must stay without any reply or event. */
const QUESTIONS = 2;
/** A timer that is later than this was late since everything was. */
const LATE_MS = 61_000;

/** A session that knows when something was sent in it, and when something came. */
export interface Alive {
  /** The moments of its last request, and of the last reply or event, or of its beginning (milliseconds of the clock). */
  sentAt: number;
  heardAt: number;
  /** Number of the replies and events that have come. */
  heard: number;
  /** Set when it has ended. */
  readonly ended: object | undefined;
  readonly waits: Waits;
}

/**
 * Sends something in a session that is silent, until it ends; `ms` is the longest silence.
 *
 * `ask` sends the small request, and resolves when its reply has come or the session has ended. Where `onSilence` is
 * given, it is called once where the server says nothing to what it is asked.
 */
export async function keepAlive(
  session: Alive,
  now: () => number,
  ms: number,
  ask: () => Promise<unknown>,
  onSilence?: () => void,
): Promise<void> {
  while (!session.ended) {
    const since = onSilence ? Math.min(session.sentAt, session.heardAt) : session.sentAt;
    const left = since + ms - now();
    if (left > 0) await session.waits.sleep(left);
    else if (!onSilence) await ask();
    else if (!(await isAnswered(session, now, ask))) return onSilence();
  }
}

/** Asks; resolves to whether anything came, or the session has ended meanwhile. */
async function isAnswered(session: Alive, now: () => number, ask: () => Promise<unknown>): Promise<boolean> {
  const { heard } = session;
  for (let questions = 0; questions < QUESTIONS; ) {
    const dueAt = now() + REPLY_MS;
    await within(session.waits, REPLY_MS, ask());
    if (session.heard !== heard || session.ended) return true;
    if (now() - dueAt < LATE_MS) questions++;
  }
  return false;
}
