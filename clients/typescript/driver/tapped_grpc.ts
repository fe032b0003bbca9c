/** The `connect` of a program in Node. */

import { WebSocket } from "ws";
import { grpcOpener } from "../src/grpc/opening.js";
import { openWebSocket } from "../src/websocket.js";
import { connectTappedBy } from "./core.js";

const byWebSocket = openWebSocket(WebSocket);
const byGrpc = grpcOpener();

export const connectTapped = connectTappedBy({ ws: byWebSocket, wss: byWebSocket, grpc: byGrpc, grpcs: byGrpc });
