/** The pauses of a client that tries again: exponential, with full jitter, so that many do not come at once. */

/** The longest that the first pause may be; each next one may be twice as long. */
const FIRST_MS = 100;
const LONGEST_MS = 10_000;
/** So long must a session have stood for the pauses to begin anew. */
const CALM_MS = 60_000;

/** The pauses of one client. */
export interface Backoff {
  /** Notes that a session has stood for so long. */
  stood(ms: number): void;
  /** Returns the next pause in milliseconds, which is not shorter than `leastMs`. */
  next(leastMs?: number): number;
}

/** Returns the pauses of one client; `random` gives numbers from 0 up to 1. */
export function newBackoff(random: () => number): Backoff {
  let bound = FIRST_MS;
  return {
    stood(ms) {
      if (ms >= CALM_MS) bound = FIRST_MS;
    },
    next(leastMs = 0) {
      const pause = random() * bound;
      bound = Math.min(2 * bound, LONGEST_MS);
      return Math.max(pause, leastMs);
    },
  };
}
