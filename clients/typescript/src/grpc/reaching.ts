/**
 * Hints for programs whose URL says TLS where the server speaks none, or the other way round.
 *
 * Rule 1: a hint costs nothing where a client connects: it is looked for when that has failed. Rule 2: it says what the
 * server did, and not what a library makes of it: a client of TLS gets TLS back or something else.
 */

import { connect } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";

/** The time that a server has to respond when it is looked at. */
const LOOK_MS = 2_000;
/** The first byte of a response in TLS: the type of a record, alert or handshake (RFC 8446, section 5.1). */
const TLS_ANSWERS = [0x15, 0x16];

/** Resolves to a hint for who could not connect: the scheme that was probably meant; empty if nothing says so. */
export async function tlsHint({ protocol, hostname, port }: URL): Promise<string> {
  const isSecure = protocol === "grpcs:";
  const speaksTls = await doesSpeakTls(hostname.replace(/^\[|\]$/g, ""), Number(port || 443));
  if (speaksTls === undefined || speaksTls === isSecure) return "";
  const does = speaksTls ? "speaks TLS" : "speaks no TLS";
  return `the server ${does} there; ${isSecure ? "grpc" : "grpcs"}:// was probably meant`;
}

/** Resolves to whether a server responds to TLS in TLS; undefined if it cannot be reached or does not respond. */
function doesSpeakTls(host: string, port: number): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const handshake = connectTls({
      socket: new Duplex({
        read() {},
        write(bytes: Buffer, _encoding, done) {
          socket.write(bytes);
          done();
        },
      }),
      ALPNProtocols: ["h2"],
      rejectUnauthorized: false,
    });
    const end = (first?: number) => {
      clearTimeout(late);
      resolve(first === undefined ? undefined : TLS_ANSWERS.includes(first));
      socket.destroy();
      handshake.destroy();
    };
    const late = setTimeout(end, LOOK_MS);
    handshake.on("error", () => {});
    socket.once("data", (bytes: Buffer) => end(bytes[0]));
    socket.once("error", () => end());
    socket.once("close", () => end());
  });
}
