/**
 * Peers in JavaScript that do what they are told; node.js plays them with werift, page.js with the browser's own stack.
 *
 * A peer is an object with the methods that the orders name; `say` tells what happens. tests/shared/rtc_stacks.py has their
 * meaning.
 */

import { CallsPeer } from "./calls_peer.js";

const bytes = new TextEncoder();

/** Returns true where `one` comes after `other` by their bytes in UTF-8, which `>` of JavaScript does not say. */
export function isGreater(one, other) {
  const [a, b] = [bytes.encode(one), bytes.encode(other)];
  const at = a.findIndex((byte, index) => byte !== b[index]);
  return at >= 0 && (at >= b.length || a[at] > b[at]);
}

/** Returns the certificates that a description names: another connection has others. */
export const certificatesOf = (sdp) => [...new Set(sdp.match(/^a=fingerprint:.*$/gim))].sort().join();

/** Takes lines, each for the peer of its number; `stack` has `connect`, `newConnection` and `candidateOf`. */
export function player(stack, tell) {
  const peers = new Map();
  return (line) => {
    const { peer: number, op, calls, ...order } = JSON.parse(line);
    const say = (said, more = {}) => tell(JSON.stringify({ peer: number, said, ...more }));
    if (!peers.has(number)) peers.set(number, calls ? new CallsPeer(stack, say) : new Peer(stack, say));
    peers.get(number).queue((peer) => peer[op](order));
  };
}

/**
 * One announced peer and its calls. What it does is done one after the other, in the order in which it was told.
 *
 * The states of a call, and what leads from one to the next:
 *
 *     offering ──their answer──► talking      we have called: their candidates are held until then
 *     answering ──our answer is taken──► talking
 *     any ──hang-up, their leaving, their newer offer──► over
 */
class Peer {
  #stack;
  #say;
  #calls = new Map();
  #last = Promise.resolve();
  #client;
  #id;

  constructor(stack, say) {
    this.#stack = stack;
    this.#say = say;
  }

  queue(act) {
    const fault = (error) => this.#say("fault", { why: error?.stack ?? String(error) });
    this.#last = this.#last.then(() => act(this)).catch(fault);
  }

  // What it is told.

  async join({ url, id, room }) {
    this.#id = id;
    this.#client = await this.#stack.connect(url);
    for (const kind of ["offer", "answer", "ice_candidate", "peer_disconnected", "peer_left"]) {
      this.#client.addEventListener(kind, ({ detail }) => this.queue(() => this[kind](detail)));
    }
    for (const kind of ["reconnecting", "resumed", "session_lost", "closed"]) {
      this.#client.addEventListener(kind, () => this.#say(kind));
    }
    await this.#client.announce(id, { room });
    this.#say("joined");
  }

  async call({ to }) {
    if (this.#calls.has(to)) return; // they have called meanwhile, and one call is enough
    const call = this.#begin(to, "offering");
    this.#use(to, call, call.connection.createDataChannel("talk"));
    const offer = await call.connection.createOffer();
    try {
      ({ offerId: call.offerId } = await this.#client.offer(to, offer));
    } catch (error) {
      this.#end(to, error.code ?? "lost");
      return;
    }
    // Only now, so that no candidate overtakes the offer, and each can say its id.
    await call.connection.setLocalDescription(offer);
  }

  async hang_up({ to }) {
    const call = this.#calls.get(to);
    if (!call) return;
    this.#end(to, "hung_up");
    await this.#client.disconnect(to, { offerId: call.offerId });
  }

  async call_again({ to }) {
    await this.hang_up({ to });
    await this.call({ to });
  }

  send({ to, text }) {
    this.#calls.get(to)?.channel?.send(bytes.encode(text));
  }

  async leave() {
    for (const to of [...this.#calls.keys()]) this.#end(to, "left");
    await this.#client.close();
  }

  // What the server tells it.

  async offer({ fromPeerId: from, sdp, offerId }) {
    const before = this.#calls.get(from);
    // Glare: of two that call each other at once, the greater id is heard.
    if (before?.state === "offering" && isGreater(this.#id, from)) return;
    // Of the connection that there is, it negotiates that anew; of another one, it is another call.
    const isSame = before && before.theirs === certificatesOf(sdp);
    if (before && !isSame) this.#end(from, "called_again");
    const call = isSame ? before : this.#begin(from, "answering");
    call.offerId = offerId;
    call.theirs = certificatesOf(sdp);
    await call.connection.setRemoteDescription({ type: "offer", sdp });
    const answer = await call.connection.createAnswer();
    try {
      await this.#client.answer(from, answer, { offerId });
    } catch {
      // They have hung up, or left, or call anew, which is on its way.
      if (this.#calls.get(from) === call) this.#end(from, "refused");
      return;
    }
    call.state = "talking";
    await call.connection.setLocalDescription(answer);
  }

  async answer({ fromPeerId: from, sdp, offerId = "" }) {
    const call = this.#ours(from, offerId);
    if (call?.state !== "offering") return;
    await call.connection.setRemoteDescription({ type: "answer", sdp });
    call.theirs = certificatesOf(sdp);
    call.state = "talking";
    for (const candidate of call.held) this.#add(call, candidate);
  }

  ice_candidate(candidate) {
    const call = this.#ours(candidate.fromPeerId, candidate.offerId);
    if (call?.state === "offering") call.held.push(candidate);
    else if (call) this.#add(call, candidate);
  }

  peer_disconnected({ peerId, offerId }) {
    if (this.#ours(peerId, offerId)) this.#end(peerId, "peer_hung_up");
  }

  peer_left({ peerId }) {
    if (this.#calls.has(peerId)) this.#end(peerId, "peer_left");
  }

  // Its connections.

  #begin(to, state) {
    const connection = this.#stack.newConnection();
    const call = { state, offerId: "", theirs: "", connection, channel: undefined, held: [] };
    this.#calls.set(to, call);
    connection.ondatachannel = ({ channel }) => this.#use(to, call, channel);
    connection.onicecandidate = ({ candidate }) =>
      this.queue(async () => {
        if (this.#calls.get(to) !== call) return;
        // Refused where they have left.
        await this.#client.iceCandidate(to, candidate ?? null, { offerId: call.offerId }).catch(() => {});
      });
    connection.onconnectionstatechange = () => {
      if (connection.connectionState === "failed") this.#say("failed", { with: to });
    };
    return call;
  }

  #use(to, call, channel) {
    channel.binaryType = "arraybuffer";
    const open = () => {
      if (call.state === "over" || call.channel) return;
      call.channel = channel;
      this.#say("open", { with: to, offer_id: call.offerId });
    };
    channel.onopen = () => this.queue(open);
    channel.onmessage = ({ data }) =>
      this.queue(() => {
        const text = typeof data === "string" ? data : new TextDecoder().decode(data);
        this.#say("heard", { with: to, text });
      });
    if (channel.readyState === "open") this.queue(open);
  }

  #ours(from, offerId = "") {
    const call = this.#calls.get(from);
    return call && (!offerId || offerId === call.offerId) ? call : undefined;
  }

  /** Adds a candidate, which nothing waits for: one of a name in mDNS may take seconds. */
  #add(call, candidate) {
    call.connection.addIceCandidate(this.#stack.candidateOf(candidate)).catch((error) => {
      if (call.state !== "over") this.#say("fault", { why: `${error}, of ${JSON.stringify(candidate)}` });
    });
  }

  #end(to, why) {
    const call = this.#calls.get(to);
    this.#calls.delete(to);
    call.state = "over";
    call.connection.close();
    this.#say("ended", { with: to, why, offer_id: call.offerId });
  }
}
