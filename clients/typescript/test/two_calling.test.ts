/** Two peers that call each other, hang up, fail and are lost as chance has it; server and connections are pretended. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Call, Calls } from "../src/call.js";
import type { Description, SignalingClient } from "../src/client.js";
import { OutcomeUnknown } from "../src/errors.js";
import { refused, settled, VirtualClock } from "./played.js";
import { PretendedConnection } from "./played_calls.js";

/** Numbers from 0 to 1, by a seed (mulberry32). */
function chanceOf(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Calls back in order, each after a while of its own. */
class Line {
  #until = 0;
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  bring(call: () => void): void {
    const { clock, chance, latencyMs } = this.world;
    this.#until = Math.max(this.#until + 1e-3, clock.now() + chance() * latencyMs);
    clock.after(this.#until - clock.now(), call);
  }
}

/** Connects with the connection whose description it has been given, where that has its own. */
class MeetingConnection extends PretendedConnection {
  readonly world: World;
  /** The restarts of both when they failed; they connect when there was another one. */
  failedAt = -1;

  /** One that is simple takes no offer back and restarts no ICE. */
  readonly isSimple: boolean;

  constructor(world: World, configuration: object, isSimple: boolean) {
    super(configuration);
    this.world = world;
    this.isSimple = isSimple;
    if (isSimple) Object.assign(this, { restartIce: undefined });
    world.made.push(this);
  }

  get other(): MeetingConnection | undefined {
    const of = /o=- (\S+)/.exec(this.remoteDescription?.sdp ?? "")?.[1];
    return this.world.made.find(({ name }) => name === of);
  }

  async #step(): Promise<void> {
    const { clock, chance, stepMs } = this.world;
    if (stepMs) await new Promise<void>((resolve) => clock.after(chance() * stepMs, resolve));
    if (this.signalingState === "closed") throw new Error("it was closed");
  }

  override async createOffer(): Promise<Description> {
    await this.#step();
    return this.#make(await super.createOffer());
  }

  override async createAnswer(): Promise<Description> {
    await this.#step();
    return this.#make(await super.createAnswer());
  }

  /** Returns a description of which there is no other. */
  #make({ type, sdp }: Description): Description {
    return { type, sdp: `${sdp}a=number:${++this.world.described}\r\n` };
  }

  /** Tells whether each has been given what the other one has. */
  get agrees(): boolean {
    const { other } = this;
    return (
      !!other &&
      this.signalingState === "stable" &&
      other.signalingState === "stable" &&
      this.remoteDescription!.sdp === other.localDescription?.sdp &&
      other.remoteDescription?.sdp === this.localDescription?.sdp
    );
  }

  override async setLocalDescription(description: Description): Promise<void> {
    if (this.isSimple && description.type === "rollback") throw new Error("none");
    await super.setLocalDescription(description);
    await this.#step();
    this.#look();
  }

  override async setRemoteDescription(description: Description): Promise<void> {
    await super.setRemoteDescription(description);
    await this.#step();
    this.#look();
  }

  #look(): void {
    const { other } = this;
    if (!other || !this.agrees) return;
    if (this.restarts + other.restarts <= this.failedAt) return;
    for (const one of [this, other])
      if (one.connectionState !== "connected") this.world.clock.after(0, () => one.#come());
  }

  #come(): void {
    if (this.connectionState !== "closed" && this.other?.connectionState !== "closed") this.becomes("connected");
  }

  fail(): void {
    const { other } = this;
    if (this.connectionState !== "connected" || !other) return;
    for (const one of [this, other]) {
      one.failedAt = this.restarts + other.restarts;
      if (one.connectionState !== "closed") one.becomes("failed");
    }
  }

  override close(): void {
    const { other } = this;
    super.close();
    // The other side notices that nothing comes any more.
    if (other) this.world.clock.after(15_000, () => other.fail());
  }
}

interface OpenOffer {
  from: string;
  to: string;
}

/** A client of a server that knows two peers. */
class MeetingClient extends EventTarget {
  closed = undefined;
  readonly peerId: string;
  readonly world: World;
  readonly #there: Line;
  readonly #back: Line;
  #session = 0;
  /** What says to those who wait for replies that the session is lost. */
  #lost: (() => void)[] = [];

  constructor(peerId: string, world: World) {
    super();
    this.peerId = peerId;
    this.world = world;
    this.#there = new Line(world);
    this.#back = new Line(world);
  }

  tell(event: { kind: string }): void {
    const session = this.#session;
    this.#back.bring(() => {
      if (session === this.#session) this.dispatchEvent(new CustomEvent(event.kind, { detail: event }));
    });
  }

  #ask<T>(work: () => T): Promise<T> {
    const session = this.#session;
    return new Promise((resolve, reject) => {
      const unknown = () => reject(new OutcomeUnknown("lost"));
      this.#lost.push(unknown);
      this.#there.bring(() => {
        if (session !== this.#session) return unknown();
        let reply: () => void;
        try {
          const result = work();
          reply = () => resolve(result);
        } catch (error) {
          reply = () => reject(error as Error);
        }
        this.#back.bring(reply);
      });
    });
  }

  offer(to: string, { sdp }: Description): Promise<object> {
    return this.#ask(() => {
      const { world, peerId } = this;
      const target = world.find(to);
      for (const [id, one] of world.offers) if (one.from === peerId && one.to === to) world.offers.delete(id);
      const offerId = `${peerId}-${++world.offered}`;
      world.offers.set(offerId, { from: peerId, to });
      target.tell({ kind: "offer", fromPeerId: peerId, offerId, type: "offer", sdp } as never);
      return { offerId, toPeerId: to };
    });
  }

  answer(to: string, { sdp }: Description, { offerId }: { offerId: string }): Promise<object> {
    return this.#ask(() => {
      const target = this.world.find(to);
      if (!this.world.offers.delete(offerId)) throw refused("FAILED_PRECONDITION");
      target.tell({ kind: "answer", fromPeerId: this.peerId, offerId, type: "answer", sdp } as never);
      return { toPeerId: to };
    });
  }

  disconnect(to: string, { offerId }: { offerId: string }): Promise<object> {
    return this.#ask(() => {
      const target = this.world.find(to);
      this.world.offers.delete(offerId);
      target.tell({ kind: "peer_disconnected", peerId: this.peerId, offerId } as never);
      return { peerId: to };
    });
  }

  async iceCandidate(): Promise<object> {
    return {};
  }

  async getIceServers(): Promise<object> {
    return { iceServers: [] };
  }

  /** Loses its session for good, and has another one at once. */
  lose(): void {
    this.#session++;
    const { world, peerId } = this;
    for (const [id, one] of world.offers) if ([one.from, one.to].includes(peerId)) world.offers.delete(id);
    for (const client of world.clients) if (client !== this) client.tell({ kind: "peer_left", peerId } as never);
    this.#lost.splice(0).forEach((unknown) => unknown());
    this.tell({ kind: "session_lost" });
  }
}

class World {
  readonly clock = new VirtualClock();
  readonly offers = new Map<string, OpenOffer>();
  readonly made: MeetingConnection[] = [];
  readonly clients: MeetingClient[];
  readonly calls: Calls<MeetingConnection>[];
  offered = 0;
  described = 0;
  readonly chance: () => number;
  readonly latencyMs: number;
  readonly stepMs: number;

  constructor(seed: number) {
    this.chance = chanceOf(seed);
    this.latencyMs = this.choose([0, 1, 10, 100]);
    this.stepMs = this.choose([0, 1, 10, 100]);
    const names = this.choose([["alice", "bob"], ["bob", "alice"], ["z", "ä"], ["\u{1f600}", "\uffee"]]);
    this.clients = names.map((name) => new MeetingClient(name, this));
    const buildMs = this.choose([0, 0, 10, 3000]);
    const build = async (configuration: object, isSimple: boolean) => {
      if (buildMs) await new Promise<void>((resolve) => this.clock.after(this.chance() * buildMs, resolve));
      return new MeetingConnection(this, configuration, isSimple);
    };
    this.calls = this.clients.map((client) => {
      const isSimple = this.chance() < 0.3;
      return new Calls(client as unknown as SignalingClient, (configuration) => build(configuration, isSimple), this.clock);
    });
  }

  choose<T>(among: T[]): T {
    return among[Math.floor(this.chance() * among.length)]!;
  }

  find(peerId: string): MeetingClient {
    const client = this.clients.find((one) => one.peerId === peerId);
    if (!client) throw refused("NOT_FOUND");
    return client;
  }

  get open(): MeetingConnection[] {
    return this.made.filter(({ connectionState }) => connectionState !== "closed");
  }
}

async function playAtRandom(seed: number, actions: string[], sides = [0, 1]): Promise<void> {
  const world = new World(seed);
  const { clock } = world;
  const now: (Call<MeetingConnection> | undefined)[] = [undefined, undefined];
  const watch = (side: number, call: Call<MeetingConnection>) => {
    if (now[side] === call) return;
    now[side] = call;
    call.addEventListener("ended", () => now[side] === call && (now[side] = undefined));
  };
  world.calls.forEach((calls, side) => calls.addEventListener("call", ({ detail }) => watch(side, detail)));
  for (let i = 1 + Math.floor(world.chance() * 20); i > 0; i--) {
    const side = world.choose(sides);
    const action = world.choose(actions);
    if (action === "call") watch(side, world.calls[side]!.call(world.clients[1 - side]!.peerId));
    else if (action === "hang up") now[side]?.hangUp();
    else if (action === "lose") world.clients[side]!.lose();
    else if (action === "fail") world.open.forEach((one) => one.fail());
    else if (action === "add") now[side]?.connection?.dispatchEvent(new Event("negotiationneeded"));
    await clock.pass(world.choose([0, 0, 0.0005, 0.005, 0.05, 0.5, 6]));
  }
  const what = () =>
    JSON.stringify({
      calls: now.map((call) => call && [call.state, call.connection?.name, call.connection?.signalingState]),
      open: world.open.map(({ name, connectionState, signalingState }) => [name, connectionState, signalingState]),
    });
  // By turns it is left as it is, and both hang up at whatever moment that is.
  if (seed % 2) {
    for (const side of world.chance() < 0.5 ? sides : [...sides].reverse()) {
      now[side]?.hangUp();
      await clock.pass(world.choose([0, 0.0005, 0.005, 0.05]));
    }
    // A call that the other side had begun before it was told may have come since.
    if (sides.length > 1) {
      await clock.pass(1);
      for (const call of now) call?.hangUp();
    }
    await clock.pass(300);
    assert.deepEqual([...now, world.open, clock.waiting], [undefined, undefined, [], 0], what());
    return;
  }
  await clock.pass(300);
  const [one, other] = now;
  if (!one || !other) assert.deepEqual([one, other, world.open], [undefined, undefined, []], what());
  else {
    assert.deepEqual([one.state, other.state], ["connected", "connected"], what());
    assert.deepEqual(new Set(world.open), new Set([one.connection, other.connection]), what());
    assert.ok(one.connection?.agrees, what());
  }
  world.calls.forEach((calls) => calls.close());
  await settled();
  assert.deepEqual(world.open, []);
}

for (const [what, actions] of Object.entries({
  "call and hang up": ["call", "call", "hang up"],
  "call, hang up, and add": ["call", "call", "hang up", "add", "add"],
  "fail, too,": ["call", "call", "call", "hang up", "fail"],
  "are lost, too,": ["call", "call", "call", "hang up", "lose"],
  "do all of that": ["call", "call", "call", "hang up", "lose", "fail", "add"],
}))
  test(`two that ${what} at random agree in the end`, async () => {
    const seeds = Number(process.env["SEEDS"] ?? 30);
    const faults: string[] = [];
    for (let seed = 0; seed < seeds; seed++)
      await playAtRandom(seed, actions).catch((error: Error) => faults.push(`${seed}: ${error.message}`));
    assert.deepEqual(faults, []);
  });

test("what one alone begins and ends, in whatever haste, is over on the other side", async () => {
  const faults: string[] = [];
  for (let seed = 1; seed < 300; seed += 2)
    await playAtRandom(seed, ["call", "call", "hang up", "add"], [0]).catch((error: Error) => faults.push(`${seed}: ${error.message}`));
  assert.deepEqual(faults, []);
});
