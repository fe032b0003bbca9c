/** Calls of a client whose server and peer do what a test says, with connections that are pretended. */

import type { Candidate, Description } from "../src/client.js";
import { Call, Calls, type EndReason } from "../src/call.js";
import type { ConnectOptions } from "../src/client.js";
import type { Request, Result } from "../src/session.js";
import { type FakeServer, play, type Played, settled, type VirtualClock } from "./played.js";

let connections = 0;

/** Whose description it is: of a session, with certificates and fragments of ICE. */
export function sdpOf(session: string, { fingerprint = session, fragment = session, more = "m=audio 9" } = {}): string {
  return [
    "v=0",
    `o=- ${session} 2 IN IP4 127.0.0.1`,
    `a=fingerprint:sha-256 ${fingerprint}`,
    more,
    `a=ice-ufrag:${fragment}`,
    "",
  ].join("\r\n");
}

/** A connection as W3C WebRTC has it, of which a test says when it connects and fails. */
export class PretendedConnection extends EventTarget {
  signalingState = "stable";
  connectionState = "new";
  localDescription: Description | null = null;
  remoteDescription: Description | null = null;
  configuration: object;
  /** What it was given, in order. */
  readonly added: (Candidate | undefined)[] = [];
  readonly done: string[] = [];
  readonly name = `own-${++connections}`;
  /** What the next of its methods throws. */
  faults: Record<string, number> = {};
  restarts = 0;
  relayed = false;
  /** The media section that it has. */
  media = "m=audio 9";
  #stable: [Description | null, Description | null] = [null, null];

  constructor(configuration: object) {
    super();
    this.configuration = configuration;
  }

  #begin(what: string): void {
    this.done.push(what);
    if (this.signalingState === "closed") throw new Error("it is closed");
    if (this.faults[what]) {
      this.faults[what]--;
      throw new Error(what);
    }
  }

  #sdp(): string {
    return sdpOf(this.name, { fragment: `${this.name}-${this.restarts}`, more: this.media });
  }

  async createOffer(): Promise<Description> {
    this.#begin("createOffer");
    return { type: "offer", sdp: this.#sdp() };
  }

  async createAnswer(): Promise<Description> {
    this.#begin("createAnswer");
    return { type: "answer", sdp: this.#sdp() };
  }

  async setLocalDescription(description: Description): Promise<void> {
    this.#begin(`local ${description.type}`);
    this.localDescription = description.type === "rollback" ? this.#stable[0] : description;
    this.signalingState = description.type === "offer" ? "have-local-offer" : "stable";
    this.#keep();
  }

  async setRemoteDescription(description: Description): Promise<void> {
    this.#begin(`remote ${description.type}`);
    if (description.type === "offer") {
      if (this.signalingState !== "stable") throw new Error("an offer is out");
      this.signalingState = "have-remote-offer";
    } else if (!this.signalingState.startsWith("have-")) throw new Error("no answer is awaited");
    else this.signalingState = description.type === "answer" ? "stable" : "have-remote-pranswer";
    this.remoteDescription = description;
    this.#keep();
  }

  #keep(): void {
    if (this.signalingState === "stable") this.#stable = [this.localDescription, this.remoteDescription];
  }

  async addIceCandidate(candidate: Candidate | undefined): Promise<void> {
    this.#begin("addIceCandidate");
    this.added.push(candidate);
  }

  restartIce(): void {
    this.restarts++;
    this.dispatchEvent(new Event("negotiationneeded"));
  }

  getConfiguration(): object {
    return this.configuration;
  }

  setConfiguration(configuration: object): void {
    this.configuration = configuration;
  }

  async getStats(): Promise<Map<string, object>> {
    return new Map<string, object>([
      ["p", { type: "candidate-pair", state: "succeeded", nominated: true, localCandidateId: "c" }],
      ["c", { type: "local-candidate", candidateType: this.relayed ? "relay" : "host" }],
    ]);
  }

  close(): unknown {
    return void (this.signalingState = this.connectionState = "closed");
  }

  /** It has found a candidate; null: all. */
  finds(candidate: string | null): void {
    this.dispatchEvent(Object.assign(new Event("icecandidate"), { candidate: candidate && { candidate, sdpMid: "0" } }));
  }

  becomes(state: string): void {
    this.connectionState = state;
    this.dispatchEvent(new Event("connectionstatechange"));
  }
}

/** A client with calls, who is `alice` among `bob` and others. */
export class PlayedCalls {
  readonly played: Played;
  readonly calls: Calls<PretendedConnection>;
  readonly built: PretendedConnection[] = [];
  readonly called: Call<PretendedConnection>[] = [];
  /** What became of calls, in order. */
  readonly heard: string[] = [];
  /** What a connection waits for, or what is thrown. */
  building: (call: Call) => unknown = () => {};
  #said = 0;

  constructor(played: Played) {
    this.played = played;
    const build = async (configuration: object, call: Call) => {
      await this.building(call);
      const connection = new PretendedConnection(configuration);
      this.built.push(connection);
      return connection;
    };
    this.calls = new Calls(played.client, build, played.clock);
    this.calls.addEventListener("call", ({ detail: call }) => {
      this.called.push(call);
      this.watch(call);
    });
  }

  watch(call: Call<PretendedConnection>): Call<PretendedConnection> {
    call.addEventListener("connected", () => this.heard.push("connected"));
    call.addEventListener("ended", ({ detail }: { detail: EndReason }) => this.heard.push(detail));
    return call;
  }

  /** Begins a call. */
  call(peerId = "bob"): Call<PretendedConnection> {
    return this.watch(this.calls.call(peerId));
  }

  get connection(): PretendedConnection {
    return this.built.at(-1)!;
  }

  /** What was sent since this was asked the last time, in short. */
  async sent(): Promise<string[]> {
    await settled();
    const requests = this.played.server.sessions.flatMap((session) => session.requests);
    const news = requests.slice(this.#said).filter(({ method }) => !["announce", "get_ice_servers"].includes(method));
    this.#said = requests.length;
    return news.map(shortly);
  }

  /** The server takes the last request of a kind, or refuses it. */
  async takes(method: Request["method"], outcome: object): Promise<void> {
    await settled();
    const { session } = this.played;
    const [number] = session.sent.filter(([, request]) => request.method === method).at(-1)!;
    session.reply(number, outcome as Result);
    await settled();
  }

  takesOffer(offerId: string): Promise<void> {
    return this.takes("offer", { offerId, toPeerId: "bob" });
  }

  async hears(...events: object[]): Promise<void> {
    await settled();
    for (const event of events) this.played.session.tell(event as never);
    await settled();
  }

  hearsOffer(offerId: string, session = "bob", more = {}): Promise<void> {
    return this.hears({ kind: "offer", fromPeerId: "bob", offerId, type: "offer", sdp: sdpOf(session, more) });
  }

  hearsAnswer(offerId: string, session = "bob", more = {}): Promise<void> {
    return this.hears({ kind: "answer", fromPeerId: "bob", offerId, type: "answer", sdp: sdpOf(session, more) });
  }

  hearsCandidate(candidate: string, offerId?: string): Promise<void> {
    const said = offerId === undefined ? {} : { offerId };
    return this.hears({ kind: "ice_candidate", fromPeerId: "bob", candidate, ...(candidate && { sdpMid: "0" }), ...said });
  }

  hearsHangUp(offerId?: string): Promise<void> {
    return this.hears({ kind: "peer_disconnected", peerId: "bob", ...(offerId === undefined ? {} : { offerId }) });
  }

  /** Calls, and is answered. */
  async talks(offerId = "a1"): Promise<Call<PretendedConnection>> {
    const call = this.call();
    await settled();
    await this.takesOffer(offerId);
    await this.hearsAnswer(offerId);
    this.connection.becomes("connected");
    await this.sent();
    return call;
  }
}

function shortly({ method, params }: Request): string {
  const { offerId, candidate } = params as { offerId?: string; candidate?: string };
  return [method, candidate ?? "", offerId ?? ""].filter(Boolean).join(" ");
}

/** Plays a program with calls of a client; its own id is given. */
export function playCalls(
  program: (played: PlayedCalls, clock: VirtualClock) => Promise<void>,
  { id = "alice", ...options }: ConnectOptions & { id?: string } = {},
  prepare: (server: FakeServer, clock: VirtualClock) => void = () => {},
): Promise<void> {
  return play(
    async (played) => {
      await played.client.announce(id);
      const calls = new PlayedCalls(played);
      await program(calls, played.clock);
      calls.calls.close();
    },
    options,
    (server, clock) => {
      server.silentTo = ["offer"];
      prepare(server, clock);
    },
  );
}
