/** The driver in a page: lines by a WebSocket to where the page is from. Those of one message are taken in one turn. */

import { driver } from "./core.js";
import { connectTapped } from "./tapped.js";

const lines = new WebSocket(`ws://${location.host}/lines`);
const take = driver(connectTapped, (line) => lines.send(line));
lines.onmessage = (message: MessageEvent<string>) => message.data.split("\n").forEach(take);

const uncaught = (error: unknown) => {
  lines.send(JSON.stringify({ uncaught: error instanceof Error ? (error.stack ?? String(error)) : String(error) }));
};
addEventListener("error", (event) => uncaught(event.error));
addEventListener("unhandledrejection", (event) => uncaught(event.reason));
