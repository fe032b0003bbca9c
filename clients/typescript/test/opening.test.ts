/** Opening sessions: which servers are tried, and what is shown to them. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { newBackoff } from "../src/backoff.js";
import { connectBy, type ConnectOptions } from "../src/client.js";
import { machineClock } from "../src/clock.js";
import { ConnectionClosed, SigbridgeError } from "../src/errors.js";
import { FakeServer, FakeSession, lost, play, settled, VirtualClock } from "./played.js";

function connecting(urls: string | string[], options: ConnectOptions = {}, prepare = (_: FakeServer) => {}) {
  const clock = new VirtualClock();
  const server = new FakeServer(clock);
  prepare(server);
  const connecting = connectBy({ fake: server.open, "fake+unix": server.open }, urls, options, clock);
  return { clock, server, connecting };
}

for (const url of ["", "host:50051", "http://host", "fake:", "fake://", "fake", "toString://host", []])
  test(`what is no URL of a server: ${JSON.stringify(url)}`, () =>
    assert.rejects(connecting(url).connecting, (error) => {
      assert(error instanceof SigbridgeError);
      assert.equal(error.message, "this is no signaling URL: expected one of fake://HOST:PORT, fake+unix://HOST:PORT");
      return true;
    }));

test("a URL of a socket has no host", async () => {
  const { connecting: opening, server } = connecting("fake+unix:/run/server.sock");
  await (await opening).close();
  assert.deepEqual(server.urls, ["fake+unix:/run/server.sock"]);
});

test("where nobody can be reached, the failure is told that lets hope", async () => {
  const failures = [new ConnectionClosed("unauthenticated", false), lost(), new ConnectionClosed("draining", true)];
  const { connecting: opening } = connecting(["fake://1", "fake://2", "fake://3"], {}, (server) => {
    server.failures = failures;
  });
  await assert.rejects(opening, { reason: "connection_lost" });
});

test("of several servers the last good one is tried first, and the others in their order", () =>
  play(
    async (played) => {
      const { server } = played;
      assert.deepEqual(server.urls.splice(0), ["fake://1", "fake://2"]);
      await played.lose();
      assert.deepEqual(server.urls.splice(0), ["fake://2"]);
      server.failures = [lost(), lost()];
      await played.lose();
      assert.deepEqual(server.urls.splice(0), ["fake://2", "fake://1", "fake://3"]);
      server.failures = [lost()];
      await played.lose();
      assert.deepEqual(server.urls.splice(0), ["fake://3", "fake://2"]);
    },
    {},
    (server) => (server.failures = [lost()]),
    ["fake://1", "fake://2", "fake://3"],
  ));

const unauthenticated = () => new ConnectionClosed("unauthenticated", false);

test("a function is asked for the token, and again where the first is refused", async () => {
  const given = ["of yesterday", "good"];
  const { connecting: opening, server } = connecting("fake://host", { token: async () => given.shift() }, (server) => {
    server.failures = [unauthenticated()];
  });
  await (await opening).close();
  assert.deepEqual(server.tokens, ["of yesterday", "good"]);
});

test("a function is asked twice in a round, and the same token is not shown twice", async () => {
  for (const [given, shown] of [
    [
      ["wrong", "wrong"],
      ["wrong", "wrong"],
    ],
    [
      ["wrong", "wrong again"],
      ["wrong", "wrong again", "wrong again"],
    ],
  ] as [string[], string[]][]) {
    const { connecting: opening, server } = connecting(
      ["fake://1", "fake://2"],
      { token: () => given.shift() },
      (server) => {
        server.failures = [unauthenticated(), unauthenticated(), unauthenticated()];
      },
    );
    await assert.rejects(opening, { reason: "unauthenticated" });
    assert.deepEqual([server.tokens, given], [shown, []]);
  }
});

test("a fixed token that is refused is shown once", async () => {
  const { connecting: opening, server } = connecting("fake://host", { token: "wrong" }, (server) => {
    server.failures = [unauthenticated()];
  });
  await assert.rejects(opening, { reason: "unauthenticated" });
  assert.deepEqual(server.tokens, ["wrong"]);
});

test("what a function throws is what connect rejects with", async () => {
  const token = () => {
    throw new RangeError("no key");
  };
  await assert.rejects(connecting("fake://host", { token }).connecting, RangeError);
  await assert.rejects(connecting("fake://host", { token: () => 17 as never }).connecting, SigbridgeError);
});

test("a function that never returns is no good", async () => {
  const { clock, connecting: opening } = connecting("fake://host", { token: () => new Promise(() => {}) });
  const outcome = assert.rejects(opening, SigbridgeError);
  await clock.pass(30);
  await outcome;
  assert.equal(clock.waiting, 0);
});

/** Plays in what looks like a page. */
async function inAPage(program: () => Promise<void>): Promise<void> {
  Object.assign(globalThis, { location: { href: "https://page" } });
  try {
    await program();
  } finally {
    delete (globalThis as { location?: unknown }).location;
  }
}

test("a page learns by the end of its first session that it is refused, and asks for another token", () =>
  inAPage(async () => {
    const given = ["of yesterday", "good"];
    const { connecting: opening, server } = connecting("fake://host", { token: () => given.shift() }, (server) => {
      const { open } = server;
      server.open = async (url, listener, options) => {
        const session = await open(url, listener, options);
        if (options.token !== "good") queueMicrotask(() => (session as FakeSession).lose(unauthenticated()));
        return session;
      };
    });
    const client = await opening;
    assert.deepEqual(server.tokens, ["of yesterday", "good"]);
    const announced = await client.announce("alice");
    assert.equal(announced.peerId, "alice");
    assert.deepEqual(server.session.methods, ["list_peers", "announce"]);
    await client.close();
  }));

test("a page that is refused is not connected", () =>
  inAPage(async () => {
    const { connecting: opening } = connecting("fake://host", {}, (server) => {
      server.reply = () => {
        queueMicrotask(() => server.session.lose(new ConnectionClosed("sessions", true)));
        return undefined;
      };
    });
    await assert.rejects(opening, { reason: "sessions" });
  }));

test("a page that is told nothing is not connected", () =>
  inAPage(async () => {
    const { connecting: opening, clock, server } = connecting("fake://host", {}, (server) => {
      server.silentTo = ["list_peers"];
    });
    const outcome = assert.rejects(opening, { reason: "connection_lost" });
    await clock.pass(10);
    await outcome;
    assert.equal(server.givenUp, 1);
  }));

test("closing ends the opening that is under way", async () => {
  const signals: AbortSignal[] = [];
  await play(
    async (played) => {
      played.server.failures = ["never"];
      played.session.lose();
      await played.clock.until(() => signals.length === 2);
      assert.equal(signals[1]?.aborted, false);
      await played.client.close();
      assert.equal(signals[1]?.aborted, true);
    },
    {},
    (server) => {
      const { open } = server;
      server.open = (url, listener, options) => {
        signals.push(options.signal!);
        return open(url, listener, options);
      };
    },
  );
});

test("a pause is not shorter than it has to be, and the next one may be twice as long", () => {
  const backoff = newBackoff(() => 0.5);
  assert.deepEqual([backoff.next(), backoff.next(1000), backoff.next()], [50, 1000, 200]);
  backoff.stood(59_999);
  assert.equal(backoff.next(), 400);
  backoff.stood(60_000);
  assert.equal(backoff.next(), 50);
});

test("a timer may be longer than the machine's longest", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let calls = 0;
  machineClock.after(2 ** 31 + 1000, () => calls++);
  const stop = machineClock.after(Infinity, () => calls++);
  context.mock.timers.tick(2 ** 31 - 1);
  context.mock.timers.tick(1000);
  assert.equal(calls, 0);
  context.mock.timers.tick(1);
  assert.equal(calls, 1);
  stop();
  context.mock.timers.tick(2 ** 31);
  assert.equal(calls, 1);
  await settled();
});

test("closing tries no other server", async () => {
  const given: string[] = [];
  await play(
    async (played) => {
      played.session.lose();
      await played.clock.until(() => given.length === 2);
      await played.client.close();
      await settled();
      assert.deepEqual(given, ["fake://1", "fake://1"]);
    },
    {},
    (server) => {
      const { open } = server;
      server.open = (url, listener, options) => {
        given.push(url.href);
        if (given.length === 1) return open(url, listener, options);
        return new Promise((_, reject) => (options.signal!.onabort = () => reject(lost())));
      };
    },
    ["fake://1", "fake://2"],
  );
});

test("a token that comes when the client is closed is shown to nobody", async () => {
  let give = (_: string) => {};
  let asked = 0;
  const token = () => (asked++ ? new Promise<string>((resolve) => (give = resolve)) : "first");
  await play(
    async (played) => {
      played.session.lose();
      await played.clock.until(() => asked === 2);
      await played.client.close();
      give("second");
      await settled();
      assert.deepEqual(played.server.tokens, ["first"]);
    },
    { token },
  );
});

test("closing ends an opening that a page waits for at the door", () =>
  inAPage(() =>
    play(async (played) => {
      const { server } = played;
      server.silentTo.push("list_peers");
      played.session.lose();
      await played.clock.until(() => server.sessions.length === 2);
      await played.client.close();
      await settled();
      assert.equal(server.givenUp, 1);
    }),
  ));

test("who is let in at the door of a page says farewell all the same", () =>
  inAPage(() =>
    play(async (played) => {
      await played.client.close();
      assert.equal(played.server.left, 1);
    }),
  ));
