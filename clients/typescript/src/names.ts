/**
 * Names of members: `from_peer_id` on the wire is `fromPeerId` in JavaScript, and `sdp_mline_index` is `sdpMLineIndex`,
 * as W3C WebRTC writes it.
 *
 * Only the members of a message itself are renamed. What peers say (`capabilities`, `metadata`) stays as it is, and so
 * do ICE servers, whose members are W3C's.
 */

/** Returns a message with the names of JavaScript. */
export function fromWire(members: Record<string, unknown>): Record<string, unknown> {
  return renamed(members, (wire) => wire.replace(/_(ml|[a-z])/g, (_, letters: string) => letters.toUpperCase()));
}

/** Returns a message with the names of the wire, without members that are undefined or null. */
export function toWire(members: object): Record<string, unknown> {
  return renamed(members, (name) => name.replace(/ML|[A-Z]/g, (letters) => `_${letters.toLowerCase()}`));
}

function renamed(members: object, rename: (name: string) => string): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(members)) if (value != null) result[rename(name)] = value;
  return result;
}
