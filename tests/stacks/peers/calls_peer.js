/** Peers in JavaScript whose calls are those of `sigbridge/call`; the other peers, of peer.js, negotiate themselves. */

import { Calls } from "sigbridge/call";

const bytes = new TextEncoder();

/** One announced peer, and its calls. */
export class CallsPeer {
  #stack;
  #say;
  #client;
  #calls;
  #channels = new Map();
  #called = new WeakSet();
  #last = Promise.resolve();
  #losesNext = false;

  constructor(stack, say) {
    this.#stack = stack;
    this.#say = say;
  }

  queue(act) {
    const fault = (error) => this.#say("fault", { why: error?.stack ?? String(error) });
    this.#last = this.#last.then(() => act(this)).catch(fault);
  }

  async join({ url, id, room }) {
    this.#client = await this.#stack.connect(url);
    for (const kind of ["reconnecting", "resumed", "session_lost", "closed"]) {
      this.#client.addEventListener(kind, () => this.#say(kind));
    }
    this.#calls = new Calls(this.#client, (configuration, call) => this.#build(call));
    this.#calls.addEventListener("call", ({ detail: call }) => this.#attend(call));
    await this.#client.announce(id, { room });
    this.#say("joined");
  }

  call({ to }) {
    const call = this.#calls.call(to);
    this.#called.add(call);
    this.#attend(call);
  }

  hang_up({ to }) {
    this.#calls.call(to).hangUp();
  }

  call_again({ to }) {
    this.hang_up({ to });
    this.call({ to });
  }

  send({ to, text }) {
    const channels = this.#channels.get(this.#calls.call(to).connection) ?? [];
    channels.find(({ readyState }) => readyState === "open")?.send(bytes.encode(text));
  }

  lose_next() {
    this.#losesNext = true;
  }

  async leave() {
    this.#calls.close();
    await this.#client.close();
  }

  #attended = new WeakSet();

  #attend(call) {
    if (this.#attended.has(call)) return;
    this.#attended.add(call);
    call.addEventListener("connected", () => this.#say("connected", { with: call.peerId }));
    call.addEventListener("ended", ({ detail }) => {
      if (call.error) this.#say("error", { why: call.error?.stack ?? String(call.error) });
      this.#say("ended", { with: call.peerId, why: detail });
    });
  }

  #build(call) {
    const connection = this.#stack.newConnection();
    const use = (channel) => {
      channel.binaryType = "arraybuffer";
      channel.onopen = () => {
        const channels = this.#channels.get(connection);
        if (channels) channels.push(channel);
        else {
          this.#channels.set(connection, [channel]);
          this.#say("open", { with: call.peerId });
        }
      };
      channel.onmessage = ({ data }) => {
        const text = typeof data === "string" ? data : new TextDecoder().decode(data);
        this.#say("heard", { with: call.peerId, text });
      };
      if (channel.readyState === "open") channel.onopen();
    };
    if (this.#called.has(call)) use(connection.createDataChannel("talk"));
    connection.ondatachannel = ({ channel }) => use(channel);
    if (this.#losesNext) {
      this.#losesNext = false;
      connection.onconnectionstatechange = () => {
        if (connection.connectionState !== "connecting") return;
        this.#say("lost_connection", { with: call.peerId });
        connection.close();
      };
    }
    return connection;
  }
}
