/**
 * Opening sessions: which servers there are, by which protocol each is spoken to, and what is shown to them.
 *
 * Rule 1: of several servers the last good one is tried first, and the others in the order in which they are named.
 * Rule 2: a function that gives tokens is asked once for each round, and again where the server refuses what it
 * returned: it may have been replaced a moment ago.
 */

import { type Waits, within } from "./clock.js";
import { closedByWord } from "./disconnects.js";
import { ConnectionClosed, SigbridgeError } from "./errors.js";
import type { Listener, Opener, OpenOptions, Session } from "./session.js";

/** So long may an opening take. */
const OPEN_MS = 10_000;
/** So long may a function take that gives tokens. */
const SOURCE_MS = 30_000;

/** A function that returns a token that is good now, or a promise of it; undefined or null where there is none. */
export type TokenSource = () => string | null | undefined | Promise<string | null | undefined>;

/** Openers by the scheme of a URL, such as `ws`. */
export type Openers = Readonly<Record<string, Opener>>;

/** One server. */
interface Place {
  url: URL;
  open: Opener;
}

/** A listener of a session, which is told which one that is when it is open. */
type SessionListener = Listener & { session?: Session };

/** The one who hears of a session that was opened, and the token that let it in. */
export interface Opened<L extends SessionListener> {
  listener: L;
  shown: string | undefined;
}

/** Opens sessions with one of several servers. */
export interface Opening {
  /** The function that gives the tokens, where one does. */
  readonly source: TokenSource | undefined;
  /** Shows another token from now on; without effect where a function gives the tokens. */
  show(token: string): void;
  /**
   * Opens a session; tries every server once, each with a listener of its own. `signal` ends that early.
   *
   * @throws ConnectionClosed if none can be reached or takes anybody in, by the first failure that lets hope
   * @throws SigbridgeError if the function that gives tokens gives none that can be used; what it throws is passed on
   */
  open<L extends SessionListener>(listener: () => L, waits: Waits, signal: AbortSignal): Promise<Opened<L>>;
}

/**
 * Returns what opens sessions with the servers of these URLs.
 *
 * @throws SigbridgeError if one is no URL of a server
 */
export function newOpening(
  openers: Openers,
  urls: readonly (string | URL)[],
  token: string | TokenSource | undefined,
): Opening {
  let places = (urls.length ? urls : [""]).map((url) => placeOf(openers, url));
  const source = typeof token === "function" ? token : undefined;
  let fixed = token;
  return {
    source,
    show(fresh) {
      fixed = fresh;
    },
    async open(listener, waits, signal) {
      let shown = source ? await ask(source, waits) : (fixed as string | undefined);
      let mayAskAgain = source;
      const failures: ConnectionClosed[] = [];
      for (const untried = [...places]; untried.length; ) {
        signal.throwIfAborted();
        const place = untried[0]!;
        const told = listener();
        try {
          const how = { token: shown, timeoutMs: OPEN_MS, signal };
          told.session = await (globalThis.location ? openInPage(place, told, how, waits) : place.open(place.url, told, how));
          places = [place, ...places.filter((other) => other !== place)];
          return { listener: told, shown };
        } catch (refused) {
          if (!(refused instanceof ConnectionClosed)) throw refused;
          if (mayAskAgain && refused.reason === "unauthenticated") {
            const fresh = await ask(mayAskAgain, waits);
            mayAskAgain = undefined;
            if (fresh !== shown) {
              shown = fresh;
              continue;
            }
          }
          failures.push(refused);
          untried.shift();
        }
      }
      throw failures.find((failure) => failure.reconnect !== false) ?? failures[0]!;
    },
  };
}

/**
 * Opens a session in a page, where an opening says nothing of a refusal.
 *
 * A page sees nothing of a handshake that is refused: it is let in, and told by the end of the session.
 *
 * @throws ConnectionClosed if the session ends soon after
 */
async function openInPage({ url, open }: Place, listener: Listener, how: OpenOptions, waits: Waits): Promise<Session> {
  let session: Session;
  let settle: (outcome?: ConnectionClosed | true) => void;
  const outcome = new Promise<ConnectionClosed | true | undefined>((resolve) => (settle = resolve));
  const atTheDoor: Listener = {
    replied() {
      session.listener = listener;
      settle(true);
    },
    told() {},
    closed: (closed) => settle(closed),
  };
  session = await open(url, atTheDoor, how);
  how.signal!.onabort = () => settle();
  session.send(0, { method: "list_peers", params: { pageSize: 1 } });
  const said = await within(waits, OPEN_MS, outcome);
  if (!said) session.giveUp();
  if (said !== true) throw said ?? closedByWord("");
  return session;
}

/**
 * Resolves to a token of a source, empty where there is none.
 *
 * @throws SigbridgeError if nothing comes in time, or what is no text; what the source throws is passed on
 */
export async function ask(source: TokenSource, waits: Waits): Promise<string> {
  // Nobody waits for what it throws when its time is over.
  const asked = (async () => source())().then(
    (token) => ({ token }),
    (error: unknown) => ({ error }),
  );
  const outcome = await within(waits, SOURCE_MS, asked);
  if (outcome && "error" in outcome) throw outcome.error;
  const token = outcome && (outcome.token ?? "");
  if (typeof token !== "string") throw new SigbridgeError("no token came");
  return token;
}

/** Returns the URL of a server and its opener; its text is never told, since it might hold a secret. */
function placeOf(openers: Openers, url: string | URL): Place {
  try {
    const parsed = new URL(url);
    const scheme = parsed.protocol.slice(0, -1);
    const open = Object.hasOwn(openers, scheme) ? openers[scheme] : undefined;
    if (open && (parsed.host || scheme.endsWith("+unix"))) return { url: parsed, open };
  } catch {
    // It is no URL at all.
  }
  const expected = Object.keys(openers).map((scheme) => `${scheme}://HOST:PORT`);
  throw new SigbridgeError(`this is no signaling URL: expected one of ${expected.join(", ")}`);
}
