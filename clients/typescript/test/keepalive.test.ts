/** Signs of life, and silences of a server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { play } from "./played.js";
import { bob, outcomeOf, refused, settled } from "./played.js";

const WATCHED = { keepaliveSeconds: 25 };

test("a server hears of a silent program, once the request before has its response", () =>
  play(
    async (played) => {
      const { clock, session, server } = played;
      await played.client.announce("alice");
      await clock.pass(24.9);
      assert.deepEqual(session.methods, ["announce"]);
      server.silentTo = ["list_peers"];
      await clock.pass(0.2);
      assert.deepEqual(session.requests.at(-1), { method: "list_peers", params: { pageSize: 1 } });
      await clock.pass(100);
      assert.deepEqual(session.methods, ["announce", "list_peers"]);
      session.reply(session.sent[1]![0], refused("PERMISSION_DENIED"));
      await settled();
      await clock.pass(0);
      assert.deepEqual(session.methods, ["announce", "list_peers", "list_peers"]);
      assert.deepEqual(played.client.closed, undefined);
    },
    { ...WATCHED, resume: false },
  ));

test("who sends and hears needs no sign of life", () =>
  play(async (played) => {
    for (let i = 0; i < 10; i++) {
      await played.clock.pass(20);
      await played.client.health();
    }
    assert(!played.session.methods.includes("list_peers"));
  }, WATCHED));

test("a connection on which nothing comes counts as lost", () =>
  play(async (played) => {
    const { clock, server } = played;
    await played.client.announce("alice");
    server.silentTo = ["list_peers"];
    await clock.until(() => server.sessions.length === 2);
    assert(clock.now() >= 45_000 && clock.now() < 46_000);
    assert.deepEqual(server.sessions[0]?.methods, ["announce", "list_peers", "list_peers"]);
    assert.equal(server.givenUp, 1);
    await played.untilBack();
    assert.deepEqual(played.ofConnection, ["reconnecting", "resumed"]);
  }, WATCHED));

test("a connection on which nothing comes counts as lost, however much the program asks", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.silentTo = ["list_peers", "health_check"];
    for (let i = 0; i < 5; i++) {
      void outcomeOf(played.client.health());
      await played.clock.pass(10);
    }
    assert.equal(played.server.givenUp, 1);
  }, WATCHED));

test("whatever comes shows that the connection stands", () =>
  play(async (played) => {
    await played.client.announce("alice");
    played.server.silentTo = ["list_peers"];
    for (let seq = 1; seq < 20; seq++) {
      played.session.tell(bob, seq);
      await played.clock.pass(12);
    }
    assert.equal(played.server.sessions.length, 1);
  }, WATCHED));

test("a page that sleeps does not take its own lateness for the server's silence", () =>
  play(async (played) => {
    const { clock, server } = played;
    await played.client.announce("alice");
    server.silentTo = ["list_peers"];
    for (let i = 0; i < 10; i++) {
      await clock.pass(9);
      clock.skip(600);
    }
    await clock.pass(9);
    assert.equal(server.sessions.length, 1);
    server.silentTo = [];
    await clock.pass(60);
    assert.equal(server.sessions.length, 1);
  }, WATCHED));

test("a page whose timers come once a minute finds a silent connection all the same", () =>
  play(async (played) => {
    const { clock, server } = played;
    await played.client.announce("alice");
    server.silentTo = ["list_peers"];
    for (let i = 0; i < 5; i++) {
      clock.skip(59);
      await clock.pass(1);
    }
    assert.equal(server.givenUp, 1);
  }, WATCHED));
