/** Which offer a client's messages belong to, by the cases that Python's client plays, too (`tests/core/calls.json`). */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { newCalls } from "../src/calls.js";
import { type CodeName, SignalingError } from "../src/errors.js";
import type { AnswerReceived } from "../src/messages.js";
import type { Request, Result } from "../src/session.js";

type Case = { name: string; steps: [verb: string, ...needs: (string | boolean | null)[]][] };
const cases = JSON.parse(
  readFileSync(new URL("../../../../tests/core/calls.json", import.meta.url), "utf8"),
) as Case[];

const OFFER: Request = { method: "offer", params: { toPeerId: "b", sdp: "v=0" } };

/** The calls of one client, and what happens to it; see `tests/core/test_calls.py`. */
function program() {
  const calls = newCalls();
  const numbers = new Map<string, number>();
  let number = 0;
  const act = (request: Request, result: Result) => {
    calls.sent(++number, request);
    calls.replied(number, request, result);
  };
  const last = (name: string | null = "all") => (name === null ? 0 : (numbers.get(name) ?? Infinity));
  const answer = (offerId: string, type = "answer") =>
    ({ kind: "answer", fromPeerId: "b", sdp: "v=0", type, ...(offerId && { offerId }) }) as AnswerReceived;
  const verbs = {
    offers(name: string) {
      numbers.set(name, ++number);
      calls.sent(number, OFFER);
    },
    "is taken": (name: string, offerId: string) =>
      calls.replied(numbers.get(name)!, OFFER, { offerId, toPeerId: "b" }),
    "is refused": (name: string, code: CodeName) =>
      calls.replied(numbers.get(name)!, OFFER, new SignalingError(code, "no")),
    answers(offerId: string | null, type?: "answer" | "pranswer") {
      const params = { toPeerId: "b", sdp: "v=0", offerId: offerId ?? calls.answering("b"), ...(type && { type }) };
      act({ method: "answer", params }, { toPeerId: "b" });
    },
    "sends candidate": () => act({ method: "ice_candidate", params: { toPeerId: "b" } }, { toPeerId: "b" }),
    "hangs up": (offerId: string) => act({ method: "disconnect", params: { peerId: "b", offerId } }, { peerId: "b" }),
    announces: (resumed: boolean | null) =>
      act(
        { method: "announce", params: { peerId: "a" } },
        { peerId: "a", peersCount: 0, otherPeers: [], ...(resumed !== null && { resumed }) },
      ),
    "is another": () => calls.forget(),
    "hears joining": () =>
      assert(calls.handed({ kind: "peer_joined", peerId: "b", capabilities: {}, metadata: {} })),
    "hears leaving": (peerId: string, name?: string | null) =>
      assert(calls.handed({ kind: "peer_left", peerId }, last(name))),
    "hears candidate": () => assert(calls.handed({ kind: "ice_candidate", fromPeerId: "b", candidate: "c" })),
    "hears hang-up": (offerId: string, name?: string | null) =>
      assert(calls.handed({ kind: "peer_disconnected", peerId: "b", ...(offerId && { offerId }) }, last(name))),
    "hears offer": (offerId: string) =>
      assert(calls.handed({ kind: "offer", fromPeerId: "b", offerId, sdp: "v=0", type: "offer" })),
    "hears answer": (offerId: string, type?: string) => assert(calls.handed(answer(offerId, type))),
    "drops answer": (offerId: string, remark?: string) => assert(!calls.handed(answer(offerId)), remark),
    depends: (offerId: string, name: string | null, remark?: string) =>
      assert.equal(calls.dependsOn(answer(offerId)), name === null ? 0 : numbers.get(name), remark),
    says: (answering: string, current: string, remark?: string) =>
      assert.deepEqual([calls.answering("b"), calls.current("b")], [answering, current], remark),
  };
  return verbs as unknown as Record<string, ((...needs: unknown[]) => void) | undefined>;
}

for (const { name, steps } of cases)
  test(name, () => {
    const verbs = program();
    for (const [verb, ...needs] of steps) {
      const act = verbs[verb];
      assert(act, `there is no verb ${verb}`);
      act(...needs);
    }
  });

test("events of other kinds depend on nothing", () => {
  const calls = newCalls();
  calls.sent(1, OFFER);
  assert.equal(calls.dependsOn({ kind: "peer_disconnected", peerId: "b" }), 0);
});
