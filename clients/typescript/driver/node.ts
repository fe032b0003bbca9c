/** The driver in Node: lines on stdin and stdout, until stdin ends. Those up to an empty line are taken in one turn. */

import { driver } from "./core.js";
import { connectTapped } from "./tapped_grpc.js";

const take = driver(connectTapped, (line) => void process.stdout.write(`${line}\n`));

let unread = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (text: string) => {
  // Node's own reader of lines ends one at U+2028, too.
  const batches = (unread + text).split("\n\n");
  unread = batches.pop()!;
  for (const batch of batches) for (const line of batch.split("\n")) take(line);
});
process.stdin.on("end", () => process.exit(0));
