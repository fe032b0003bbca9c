/** Peers with the browser's own stack, in a page: lines by a WebSocket to where the page is from. */

import { connect } from "sigbridge";
import { player } from "./peer.js";

const lines = new WebSocket(`ws://${location.host}/lines`);
const take = player(
  {
    connect,
    newConnection: () => new RTCPeerConnection(),
    candidateOf: (candidate) => candidate,
  },
  (line) => lines.send(line),
);
lines.onmessage = ({ data }) => take(data);
