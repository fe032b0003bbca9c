/** The `connect` of a page. */

import { openWebSocket } from "../src/websocket.js";
import { connectTappedBy } from "./core.js";

export const connectTapped = connectTappedBy({ ws: openWebSocket(), wss: openWebSocket() });
