/** A server of gRPC that does what a test says, frame by frame, and one who hears what a session tells. */

import http2, { type ServerHttp2Stream, type IncomingHttpHeaders } from "node:http2";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { ConnectionClosed, SignalingError } from "../src/errors.js";
import {
  type SignalingRequest,
  SignalingRequestSchema,
  SignalingResponseSchema,
} from "../src/generated/webrtc_signaling_pb.js";
import type { ServerEvent } from "../src/messages.js";
import type { Listener, Result } from "../src/session.js";

/** Things that come one after the other, for who waits for the next one. */
export class Queue<T> {
  readonly #kept: T[] = [];
  readonly #waiting: ((one: T) => void)[] = [];

  put(one: T): void {
    const next = this.#waiting.shift();
    if (next) next(one);
    else this.#kept.push(one);
  }

  next(): Promise<T> {
    return this.#kept.length ? Promise.resolve(this.#kept.shift()!) : new Promise((tell) => this.#waiting.push(tell));
  }

  get size(): number {
    return this.#kept.length;
  }
}

/** What a session tells, in its order. */
export class Heard implements Listener {
  readonly replies = new Queue<[number, Result | SignalingError]>();
  readonly events = new Queue<[ServerEvent, number]>();
  readonly ends = new Queue<ConnectionClosed>();

  replied(number: number, outcome: Result | SignalingError): void {
    this.replies.put([number, outcome]);
  }

  told(event: ServerEvent, seq: number): void {
    this.events.put([event, seq]);
  }

  closed(closed: ConnectionClosed): void {
    this.ends.put(closed);
  }
}

/** One call at the server. */
export class Call {
  readonly path: string;
  readonly token: string | undefined;
  readonly stream: ServerHttp2Stream;
  readonly messages = new Queue<Buffer>();
  /** Resolves when the client has said all that it has to say. */
  readonly halfClosed: Promise<unknown>;
  readonly closed: Promise<unknown>;

  constructor(stream: ServerHttp2Stream, headers: IncomingHttpHeaders) {
    this.stream = stream;
    this.path = String(headers[":path"]);
    this.token = headers.authorization;
    let unread = Buffer.alloc(0);
    stream.on("data", (bytes: Buffer) => {
      unread = Buffer.concat([unread, bytes]);
      while (unread.length >= 5 && unread.length >= 5 + unread.readUInt32BE(1)) {
        const end = 5 + unread.readUInt32BE(1);
        this.messages.put(unread.subarray(5, end));
        unread = unread.subarray(end);
      }
    });
    stream.on("error", () => {});
    this.halfClosed = new Promise((tell) => stream.once("end", tell));
    this.closed = new Promise((tell) => stream.once("close", tell));
  }

  /** Sends the initial metadata. */
  begin(): this {
    this.stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    return this;
  }

  /** Sends a message, as it is or as a response. */
  say(message: Uint8Array | MessageInitShape<typeof SignalingResponseSchema>): void {
    const bytes =
      message instanceof Uint8Array
        ? message
        : toBinary(SignalingResponseSchema, create(SignalingResponseSchema, message));
    const head = Buffer.alloc(5);
    head.writeUInt32BE(bytes.length, 1);
    this.stream.write(Buffer.concat([head, bytes]));
  }

  /** Ends the call with these trailers. */
  end(trailers: Record<string, string>): void {
    this.stream.once("wantTrailers", () => this.stream.sendTrailers(trailers));
    this.stream.end();
  }

  /** Ends the call with trailers alone. */
  refuse(trailers: Record<string, string>, status = 200, type = "application/grpc"): void {
    this.stream.respond({ ":status": status, "content-type": type, ...trailers }, { endStream: true });
  }

  async request(): Promise<SignalingRequest> {
    return fromBinary(SignalingRequestSchema, await this.messages.next());
  }
}

/** A server, until the test is over. */
export interface Server {
  url: URL;
  calls: Queue<Call>;
  /** How many connections there were. */
  connections(): number;
  /** Breaks every connection. */
  reset(): void;
}

export async function serve(test: TestContext): Promise<Server> {
  const server = http2.createServer();
  const calls = new Queue<Call>();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on("session", (session) => {
    session.on("error", () => {});
    sessions.add(session);
  });
  server.on("stream", (stream, headers) => calls.put(new Call(stream, headers)));
  await new Promise<void>((tell) => server.listen(0, "127.0.0.1", tell));
  const reset = () => {
    for (const session of sessions) session.destroy();
  };
  test.after(() => {
    reset();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: new URL(`grpc://127.0.0.1:${port}`), calls, connections: () => sessions.size, reset };
}
