/** Fresh tokens of a session: when the program is asked, what is shown, and what becomes of failures. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ConnectionClosed, SignalingError } from "../src/errors.js";
import type { TokenSource } from "../src/opening.js";
import { endOfJwt, renew } from "../src/renewal.js";
import { waitsBy } from "../src/clock.js";
import { play, settled, VirtualClock } from "./played.js";

const NOW = 1_000_000;
const encoded = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
/** A JWT that nobody has signed, and that ends so many seconds after the beginning of the test. */
const jwt = (end: number, note = "") => `${encoded({ alg: "none" })}.${encoded({ exp: NOW + end, note })}.x`;
const endOf = (token: string) => endOfJwt(token)! - NOW;

/**
 * Plays what a session shows in so many seconds, and resolves to it: when, and which token.
 *
 * `server` says the end of a token that is shown, in seconds from the beginning, or throws.
 */
async function shownBy(
  server: (token: string) => number | null,
  source: (passed: number) => ReturnType<TokenSource>,
  shown: string,
  seconds = 10_000,
): Promise<[seconds: number, token: string][]> {
  const clock = new VirtualClock();
  const passed = () => Math.round(clock.ms) / 1000;
  const all: [number, string][] = [];
  const show = async (token: string) => {
    all.push([passed(), token]);
    const end = server(token);
    return end === null ? null : NOW + end;
  };
  let isOver = false;
  void renew(() => source(passed()), shown, show, clock, waitsBy(clock)).then(() => (isOver = true));
  for (let left = seconds; left > 0 && !isOver; left -= 100) await clock.pass(100);
  return all;
}

const never = () => {
  throw new assert.AssertionError({ message: "nobody is asked" });
};

for (const [token, end] of [
  [jwt(60), NOW + 60],
  [`x.${encoded({ exp: 1 })}.`, 1],
  [`x.${encoded({ exp: 1.5, note: "ÿ?>" })}.y`, 1.5],
  [`x.${encoded({ exp: true })}.y`, undefined],
  [`x.${encoded({ exp: "1" })}.y`, undefined],
  [`x.${encoded({})}.y`, undefined],
  [`x.${encoded([1])}.y`, undefined],
  [`x.${encoded(null)}.y`, undefined],
  ["x.ZXhw.y", undefined],
  ["x.%%%.y", undefined],
  ["x.é.y", undefined],
  ["..", undefined],
  ["an.opaque", undefined],
  ["a.b.c.d", undefined],
  ["", undefined],
] as const)
  test(`the end of a JWT is read, and that of nothing else: ${token}`, () => assert.equal(endOfJwt(token), end));

test("a fresh JWT is shown before the old one ends", async () => {
  const ends = [1600, 1640];
  const shown = await shownBy(
    endOf,
    () => {
      const end = ends.shift();
      return end === undefined ? null : jwt(end);
    },
    jwt(600),
  );
  assert.deepEqual(shown, [
    [525, jwt(1600)],
    [1525, jwt(1640)],
  ]);
});

test("the end of an opaque token is what the server says", async () => {
  const ends: Record<string, number | null> = { first: 300, second: 1000, third: null };
  const fresh = ["second", "third"];
  const shown = await shownBy((token) => ends[token]!, async () => fresh.shift(), "first");
  assert.deepEqual(shown, [
    [5, "first"],
    [225, "second"],
    [925, "third"],
  ]);
});

test("the same token counts where the server has made it good for longer", async () => {
  const ends = [300, 300, 900, null];
  const shown = await shownBy(() => ends.shift()!, () => "the-one", "the-one");
  assert.deepEqual(
    shown.map(([seconds]) => seconds),
    [5, 225, 226.25, 825],
  );
});

test("a clock that is wrong asks no more often than twice a minute", async () => {
  const shown = await shownBy(endOf, (passed) => jwt(-1000, `${passed}`), jwt(-1000), 300);
  assert.equal(shown.length, 13);
  assert.equal(shown[0]?.[0], 22.5);
});

test("a server whose ends are always near does not have the program asked without a pause", async () => {
  let number = 0;
  const shown = await shownBy(
    (token) => Number(token.split(" ")[1]) + 0.5,
    (passed) => `${number++} ${passed}`,
    jwt(600),
    1000,
  );
  assert.equal(shown[0]?.[0], 525);
  assert(shown.length < 25);
});

test("what ends in ten years never does", async () => {
  assert.deepEqual(await shownBy(never, never, jwt(11 * 365 * 86400)), []);
  assert.deepEqual(await shownBy(never, never, jwt(1e300)), []);
});

const unknown = [new SignalingError("UNIMPLEMENTED", "no"), new SignalingError("INVALID_ARGUMENT", "no")];
for (const refusal of [...unknown, new SignalingError("UNAUTHENTICATED", "no")])
  test(`a server that does not say the end is asked once: ${refusal.code}`, async () => {
    const refuse = () => {
      throw refusal;
    };
    assert.deepEqual(await shownBy(refuse, never, "opaque"), [[5, "opaque"]]);
  });

for (const refusal of unknown)
  test(`a server that knows no authenticate is shown one fresh token: ${refusal.code}`, async () => {
    const refuse = () => {
      throw refusal;
    };
    assert.deepEqual(await shownBy(refuse, () => jwt(9000), jwt(600)), [[525, jwt(9000)]]);
  });

test("a source that fails is asked again after pauses, until the old token ends", async () => {
  const asked: number[] = [];
  const shown = await shownBy(
    never,
    (passed) => {
      asked.push(passed);
      throw new Error("no");
    },
    jwt(600),
  );
  assert.deepEqual(shown, []);
  assert.deepEqual(asked, [525, 526.25, 528.75, 533.75, 543.75, 562.5, 581.25]);
});

for (const fresh of [null, "", 17, jwt(600)])
  test(`what is no fresh token is not shown, and the next one is: ${fresh}`, async () => {
    const given = [fresh as string, jwt(9000)];
    assert.deepEqual(await shownBy(() => null, () => given.shift(), jwt(600)), [[526.25, jwt(9000)]]);
  });

test("a fresh token that is refused is a failure, and a wish to wait is heeded", async () => {
  const refusals = [
    new SignalingError("UNAUTHENTICATED", "no"),
    new SignalingError("RESOURCE_EXHAUSTED", "no", { retry_after_ms: 7000 }),
    new SignalingError("INVALID_ARGUMENT", "no", { field: "token" }),
  ];
  let number = 0;
  const shown = await shownBy(
    () => {
      const refusal = refusals.shift();
      if (refusal) throw refusal;
      return null;
    },
    () => jwt(9000, `${number++}`),
    jwt(600),
  );
  assert.deepEqual(
    shown.map(([seconds]) => seconds),
    [525, 526.25, 533.25, 538.25],
  );
});

test("a source that never returns is given up, and asked again", async () => {
  let asked = 0;
  const shown = await shownBy(
    () => null,
    () => (asked++ ? jwt(9000) : new Promise(() => {})),
    jwt(600),
  );
  assert.deepEqual(shown, [[556.25, jwt(9000)]]);
});

test("it ends with its session", async () => {
  const end = () => {
    throw new ConnectionClosed("token_expired", true);
  };
  assert.deepEqual(await shownBy(end, () => jwt(9000), jwt(600)), [[525, jwt(9000)]]);
});

test("a client shows fresh tokens in its session, and the next session has its own", () => {
  const given = [jwt(600, "1"), jwt(1200, "2"), jwt(1200, "3"), jwt(1800, "4")];
  const fresh = [...given];
  return play(
    async (played) => {
      await played.clock.pass(530);
      const [request] = played.session.requests;
      assert.deepEqual(request, { method: "authenticate", params: { token: given[1] } });
      await played.lose();
      assert.deepEqual(played.server.tokens, [given[0], given[2]]);
      await played.clock.pass(600);
      assert.deepEqual(played.session.requests.at(-1), { method: "authenticate", params: { token: given[3] } });
      await settled();
    },
    { token: () => fresh.shift() ?? null },
  );
});

for (const isClosed of [false, true])
  test(`a source that fails when its session has ended is asked no more${isClosed ? ", nor when the client is closed" : ""}`, () => {
    let asked = 0;
    let fail = () => {};
    const token = () => {
      if (!asked++) return jwt(600);
      if (asked === 2) return new Promise<string>((_, reject) => (fail = () => reject(new Error("no network"))));
      return jwt(10_000);
    };
    return play(
      async (played) => {
        await played.clock.until(() => asked === 2);
        if (isClosed) await played.client.close();
        else await played.lose();
        fail();
        await played.clock.pass(60);
        assert.equal(asked, isClosed ? 2 : 3);
      },
      { token },
    );
  });
