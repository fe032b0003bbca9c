/**
 * The client for Node, which speaks gRPC, too: `import { connect } from "sigbridge/grpc"`.
 *
 * It has all that `sigbridge` has, and needs the package `@grpc/grpc-js`; for ws:// and wss:// the package `ws` where the
 * runtime has no WebSocket, and where certificates are given.
 */

import { connectBy, type SignalingClient } from "./client.js";
import { SigbridgeError } from "./errors.js";
import { grpcOpener, type TlsOptions } from "./grpc/opening.js";
import type { ConnectOptions as CommonOptions } from "./index.js";
import { openWebSocket, type WebSocketConstructor } from "./websocket.js";

export * from "./index.js";

/** Options of a client over gRPC or WebSocket; the certificates are for grpcs:// and wss://. */
export interface ConnectOptions extends CommonOptions, TlsOptions {}

/**
 * Opens a session with a signaling server, and another one whenever it is lost; resolves to the client.
 *
 * It does what `connect` of `sigbridge` does, and knows `grpc://HOST:PORT` and `grpcs://HOST:PORT` besides; several URLs
 * may have differing schemes.
 *
 * @throws SigbridgeError if a URL is none of these, or the certificates cannot be used; what `token` throws is passed on
 * @throws ConnectionClosed if the server cannot be reached, or lets nobody in by this token
 */
export async function connect(
  url: string | URL | readonly (string | URL)[],
  options: ConnectOptions = {},
): Promise<SignalingClient> {
  const tls: TlsOptions = {};
  for (const name of ["rootCertificates", "certificate", "key"] as const) if (options[name]) tls[name] = options[name];
  const schemes = [url].flat().map((one) => URL.canParse(String(one)) && new URL(one).protocol);
  const byGrpc = grpcOpener(tls);
  const socket = schemes.includes("wss:") || schemes.includes("ws:") ? await socketFor(options, tls) : undefined;
  const bySocket = openWebSocket(socket);
  return connectBy({ ws: bySocket, wss: bySocket, grpc: byGrpc, grpcs: byGrpc }, url, options);
}

/** The class of sockets, which shows and trusts these certificates; undefined: the runtime's own. */
async function socketFor(options: ConnectOptions, tls: TlsOptions): Promise<WebSocketConstructor | undefined> {
  const certified = Object.keys(tls).length > 0;
  if (!certified && (options.WebSocket || "WebSocket" in globalThis)) return options.WebSocket;
  const socket = options.WebSocket ?? (await installed());
  if (!certified) return socket;
  if (!socket) throw new SigbridgeError("certificates for wss:// need the package ws");
  const Given = socket as CertifiedSocket;
  const { rootCertificates, certificate, key = certificate } = tls;
  return class extends Given {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, { ca: rootCertificates, cert: certificate, key: certificate && key });
    }
  };
}

/** A class of sockets as the package `ws` has it, which takes more than the standard says. */
type CertifiedSocket = new (url: string, protocols: string[], options: object) => InstanceType<WebSocketConstructor>;

async function installed(): Promise<WebSocketConstructor | undefined> {
  try {
    return (await import("ws")).WebSocket as unknown as WebSocketConstructor;
  } catch {
    return undefined;
  }
}
