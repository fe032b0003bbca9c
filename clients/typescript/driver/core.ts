/**
 * A driver: a program without a will of its own, that plays clients on command and tells everything they are told.
 *
 * Commands and tidings are lines of JSON, each of one client, by its number. Commands, by the member that names them:
 *
 *     connect   a URL, or several, with `options` as `connect` takes them; `tapped`: tell what arrives, too;
 *               `speed`: how much faster its time is than the machine's
 *     call      a method with `params`, by the `number` of the request where there is one, else by the client's own
 *     invoke    the client's own method of that name, with `arguments`
 *     giveUp    lose the connection, without a word
 *     close     leave
 *
 * `key` is who asks: what becomes of `call` and `invoke` is said under it. Tidings, likewise:
 *
 *     connected, failed   the client stands; or it does not, and why
 *     replied             the reply to a request, at its arrival: by its number, with its method
 *     told                an event at its arrival, with its `seq`
 *     lost                the end of the session at its arrival
 *     settled             the outcome of what was asked by that key, as the promise says it
 *     handed              an event, as the iterator hands it out
 *     ended               the iterator has ended, all that was asked is settled, and this is `client.closed`
 *     left                `close` has resolved
 *
 * A client of which `ended` and `left`, or `failed`, has been said is forgotten.
 */

import { type ConnectOptions, connectBy, type SignalingClient } from "../src/client.js";
import { machineClock } from "../src/clock.js";
import { ConnectionClosed, SignalingError } from "../src/errors.js";
import type { Method } from "../src/messages.js";
import type { Openers } from "../src/opening.js";
import type { Listener, Opener, Session } from "../src/session.js";

/** A command, as it stands in its line. */
interface Command {
  client: number;
  key: number;
  connect?: string | string[];
  options?: ConnectOptions;
  tapped?: boolean;
  speed?: number;
  call?: Method;
  params?: object;
  number?: number;
  invoke?: string;
  arguments?: unknown[];
  giveUp?: true;
  close?: true;
}

/** Connects one client by what `tap` makes of openers, whose time passes so much faster. */
type Connect = (
  url: string | string[],
  options: ConnectOptions,
  speed: number,
  tap: (opener: Opener) => Opener,
) => Promise<SignalingClient>;

/** Returns what connects by such openers. */
export function connectTappedBy(openers: Openers): Connect {
  return (url, options, speed, tap) => {
    const tapped = Object.fromEntries(Object.entries(openers).map(([scheme, opener]) => [scheme, tap(opener)]));
    return connectBy(tapped, url, options, {
      ...machineClock,
      now: () => speed * machineClock.now(),
      after: (ms, call) => machineClock.after(ms / speed, call),
    });
  };
}

type Tell = (tidings: object) => void;

/** Returns the function that takes a line; `send` is given lines, without their ends. */
export function driver(connect: Connect, send: (line: string) => void): (line: string) => void {
  const clients = new Map<number, (command: Command) => void>();
  return (line) => {
    const command = JSON.parse(line) as Command;
    const number = command.client;
    const tell: Tell = (tidings) => send(JSON.stringify({ client: number, ...tidings }));
    const known = clients.get(number);
    if (known) known(command);
    else {
      clients.set(
        number,
        played(command, connect, tell, () => clients.delete(number)),
      );
    }
  };
}

/** Connects one client, and returns what takes its further commands; `over` is called when nothing follows. */
function played(first: Command, connect: Connect, tell: Tell, over: () => void): (command: Command) => void {
  let session: Session | undefined;
  let client: SignalingClient | undefined;
  let hasEnded = false;
  let hasLeft = false;
  const pending = new Set<Promise<void>>();

  const tap = (opener: Opener): Opener => async (url, listener, options) => {
    session = await opener(url, listener, options);
    return session;
  };
  const tapping = (opener: Opener) => tap(first.tapped ? watched(opener, tell) : opener);

  const begin = async () => {
    try {
      client = await connect(first.connect!, first.options ?? {}, first.speed ?? 1, tapping);
    } catch (error) {
      tell({ failed: outcomeOf(error) });
      over();
      return;
    }
    tell({ connected: true });
    for await (const event of client.events()) tell({ handed: event });
    while (pending.size) await Promise.all(pending);
    tell({ ended: closedOf(client.closed) });
    if (hasLeft) over();
    hasEnded = true;
  };

  const leave = async (one: SignalingClient) => {
    await one.close();
    tell({ left: true });
    if (hasEnded) over();
    hasLeft = true;
  };

  const settle = async (key: number, asked: () => Promise<unknown>) => {
    let outcome: object;
    try {
      outcome = { result: await asked() };
    } catch (error) {
      outcome = outcomeOf(error);
    }
    tell({ settled: key, ...outcome });
  };

  const ask = (key: number, asked: () => Promise<unknown>) => {
    const settling = settle(key, asked);
    pending.add(settling);
    void settling.then(() => pending.delete(settling));
  };

  void begin();
  return (command) => {
    const { key, number } = command;
    if (!client) throw new Error("a command before the client stands");
    const one = client;
    if (command.call) {
      const method = command.call;
      ask(key, () => one.call(method, command.params as never, number === undefined ? {} : { number }));
    } else if (command.invoke) {
      const method = one[command.invoke as "health"] as (...values: unknown[]) => Promise<unknown>;
      ask(key, () => method.apply(one, command.arguments ?? []));
    } else if (command.giveUp) session?.giveUp();
    else if (command.close) void leave(one);
    else throw new Error("no command");
  };
}

/** An opener whose sessions tell what arrives, before they pass it on. */
function watched(opener: Opener, tell: Tell): Opener {
  return async (url, listener, options) => {
    const methods = new Map<number, Method>();
    const watch = (one: Listener): Listener => ({
      replied(number, outcome) {
        const said = outcome instanceof SignalingError ? outcomeOf(outcome) : { result: outcome };
        tell({ replied: number, method: methods.get(number), ...said });
        one.replied(number, outcome);
      },
      told(event, seq) {
        tell({ told: event, seq });
        one.told(event, seq);
      },
      closed(closed) {
        tell({ lost: closedOf(closed) });
        one.closed(closed);
      },
    });
    let present = listener;
    const inner = await opener(url, watch(listener), options);
    return {
      get listener() {
        return present;
      },
      set listener(one) {
        present = one;
        inner.listener = watch(one);
      },
      send(number, request) {
        methods.set(number, request.method);
        inner.send(number, request);
      },
      close: () => inner.close(),
      giveUp: () => inner.giveUp(),
    };
  };
}

function closedOf(closed: ConnectionClosed | undefined): object | null {
  if (!closed) return null;
  const { name, reason, reconnect, retryAfterMs } = closed;
  return { name, reason, reconnect, retryAfterMs };
}

/** The words of an error: a refusal, an end, or, where it is neither, what nobody has expected. */
function outcomeOf(error: unknown): object {
  if (error instanceof SignalingError) {
    return { refused: { code: error.code, message: error.message, extra: error.extra } };
  }
  if (error instanceof ConnectionClosed) return { closed: closedOf(error) };
  return { broken: error instanceof Error ? (error.stack ?? String(error)) : String(error) };
}
