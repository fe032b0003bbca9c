/**
 * Fresh tokens for a client's session: its program is asked for them, and they are shown before the old one ends.
 *
 * Rule 1: a server that knows no `authenticate` is asked once, and then its session lives as long as its first token
 * lets it. The end of a JWT (RFC 7519, `exp`) is read without a check: to lie about it harms nobody but the session.
 *
 *     learning ── the end is known ──► waiting ── it is near ──► asking ── a fresh one was shown ──► waiting
 *         │                               ▲                        │ │
 *         │                               └───── a JWT's end ──┐   │ └─ it failed: again, after a pause
 *         └── there is no end, or the server does not say ─────┼───┴── the old one has ended ──► (over)
 *                                                          (start)
 */

import type { Clock, Waits } from "./clock.js";
import { ConnectionClosed, SigbridgeError, SignalingError } from "./errors.js";
import { ask, type TokenSource } from "./opening.js";

/** So long before a token ends a fresh one is asked for; half of what is left of it where that is less. */
const LEAD_SECONDS = 60;
/** The longest pause after a failure; the first is a second, and each is twice the one before. */
const LONGEST_PAUSE_SECONDS = 15;

/** The end of a token (Unix seconds); null or undefined where it has none. */
type End = number | null | undefined;

/** Returns when a JWT ends, unchecked; undefined where the token is none, or says no end. */
export function endOfJwt(token: string): number | undefined {
  const [, claims, ...rest] = token.split(".");
  if (!claims || rest.length !== 1) return undefined;
  try {
    const { exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
    return Number.isFinite(exp) ? exp : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Shows fresh tokens of `source` in a session; resolves when no more will be asked for.
 *
 * `shown` is the token that let it in. `show` shows one and resolves to its end; it throws SignalingError if that is
 * refused, and ConnectionClosed if the session has ended.
 */
export async function renew(
  source: TokenSource,
  shown: string,
  show: (token: string) => Promise<End>,
  clock: Clock,
  waits: Waits,
): Promise<void> {
  const between = (least: number, most: number) => least + clock.random() * (most - least);
  const sleepSeconds = (seconds: number) => waits.sleep(1000 * seconds);

  /**
   * Shows a fresh token; resolves to its end.
   *
   * @throws Error if there is none, for whatever reason
   */
  const showFresh = async (end: number): Promise<End> => {
    const token = await ask(source, waits);
    const isSame = token === shown;
    // The same text may be good for longer by now, where the server has a list of tokens.
    if (!token || (isSame && endOfJwt(token) !== undefined)) throw new SigbridgeError();
    const ends = await show(token);
    shown = token;
    if (isSame && ends != null && ends <= end) throw new SigbridgeError();
    return ends;
  };

  /** Waits until a token has nearly ended, and shows a fresh one; resolves to its end, undefined where that is all. */
  const replace = async (end: number): Promise<End> => {
    const ends = end - clock.unix();
    // Where it has ended, the server has let it in, so that our clock is wrong, or its word: it cannot have the program
    // asked without a pause.
    const left = ends > 1 ? ends : LEAD_SECONDS;
    const deadline = clock.now() / 1000 + left;
    await sleepSeconds(left - Math.min(LEAD_SECONDS, left / 2) * between(0.75, 1.25));
    for (let pause = 1; ; pause = Math.min(2 * pause, LONGEST_PAUSE_SECONDS)) {
      let wait = pause * between(0.75, 1.25);
      try {
        return await showFresh(end);
      } catch (error) {
        if (error instanceof ConnectionClosed) return undefined;
        if (error instanceof SignalingError) {
          if (isUnknownRequest(error)) return undefined;
          wait = Math.max(wait, (error.retryAfterMs ?? 0) / 1000);
        }
      }
      if (clock.now() / 1000 + wait >= deadline) return undefined;
      await sleepSeconds(wait);
    }
  };

  let end: End = endOfJwt(shown);
  if (end === undefined) {
    // Later than the moment in which many connect at once; and who stays for a moment only asks nothing.
    await sleepSeconds(between(1, 5));
    end = await show(shown).catch(() => undefined);
  }
  while (end != null) end = await replace(end);
}

/** Returns whether a server has refused what it does not know: on gRPC it sees a message that asks for nothing. */
function isUnknownRequest({ code, extra }: SignalingError): boolean {
  return code === "UNIMPLEMENTED" || (code === "INVALID_ARGUMENT" && !("field" in extra));
}
