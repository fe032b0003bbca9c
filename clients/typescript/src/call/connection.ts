/** Connections as W3C WebRTC has them, of a browser or a library, and what their descriptions say of them. */

import type { Candidate, Description } from "../client.js";

/** The used part of an `RTCPeerConnection`. */
export interface Connection {
  readonly signalingState: string;
  readonly connectionState: string;
  readonly localDescription: Description | null | undefined;
  createOffer(): Promise<any>;
  createAnswer(): Promise<any>;
  setLocalDescription(description: any): Promise<unknown>;
  setRemoteDescription(description: any): Promise<unknown>;
  addIceCandidate(candidate: any): Promise<unknown>;
  addEventListener(type: string, listener: (event: any) => void): void;
  close(): unknown;
  restartIce?(): void;
  getConfiguration?(): object;
  setConfiguration?(configuration: any): void;
  getStats?(): Promise<any>;
}

/** The event of a connection that has found a candidate; null or undefined: there are no more. */
export interface Found {
  candidate?: Candidate | null;
}

/** The marks of a description that tell one connection of a peer from another. */
export interface Identity {
  session: string;
  fragments: string;
  fingerprints: string;
}

/** Returns the marks of the connection that a description is of. */
export function identityOf(sdp: string): Identity {
  const all = (line: RegExp) => [...new Set([...sdp.matchAll(line)].map(([, value]) => value!.toLowerCase()))].sort().join();
  return {
    session: all(/^o=\S* (\S+)/gm),
    fragments: all(/^a=ice-ufrag:(\S+)/gm),
    fingerprints: all(/^a=fingerprint:(\S+ \S+)/gm),
  };
}

/**
 * Returns whether two descriptions are of two connections of a peer: those have other certificates, or began anew.
 *
 * One that restarts ICE keeps its session id (RFC 8829), and some write another one into each description: alone
 * neither says anything.
 */
export const isOther = (one: Identity, other: Identity): boolean =>
  (!!one.fingerprints && !!other.fingerprints && one.fingerprints !== other.fingerprints) ||
  (one.session !== other.session && one.fragments !== other.fragments);

/** Returns whether a description has a media section, as one of data has, too. */
export const describes = (sdp = ""): boolean => /^m=/m.test(sdp);

/** Returns whether one id is smaller than another by the bytes of their UTF-8, which is not the order of JavaScript. */
export function isBefore(one: string, other: string): boolean {
  const bytes = (id: string) => String.fromCharCode(...new TextEncoder().encode(id));
  return bytes(one) < bytes(other);
}

/** Resolves to whether what a connection sends goes by a TURN server of its own. */
export async function isRelayed(connection: Connection): Promise<boolean> {
  const stats = new Map<string, any>((await connection.getStats?.()) ?? []);
  return [...stats.values()].some(
    ({ type, state, nominated, localCandidateId }) =>
      type === "candidate-pair" &&
      state === "succeeded" &&
      nominated &&
      stats.get(localCandidateId)?.candidateType === "relay",
  );
}
