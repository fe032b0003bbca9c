/** Peers with werift, in Node: lines on stdin and stdout. */

import { createInterface } from "node:readline";
import { connect } from "sigbridge/grpc";
import { RTCPeerConnection } from "werift";
import WebSocket from "ws";
import { player } from "./peer.js";

const take = player(
  {
    connect: (url) => connect(url, { WebSocket }),
    newConnection: () =>
      new RTCPeerConnection({
        // Where no STUN server is named it asks one of its own, which is not on this machine.
        iceServers: [{ urls: "stun:127.0.0.1:9" }],
        iceStunGatherTimeout: 0.1,
        iceUseIpv6: false,
        iceAdditionalHostAddresses: ["127.0.0.1"],
        iceInterfaceAddresses: { udp4: "127.0.0.1" },
      }),
    // It knows no media section of the name "".
    candidateOf: (candidate) => ({ ...candidate, sdpMid: candidate.sdpMid || undefined }),
  },
  (line) => process.stdout.write(`${line}\n`),
);
createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })
  .on("line", take)
  .on("close", () => process.exit(0));
