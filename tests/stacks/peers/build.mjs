/** Bundles the peers into the folder that its argument names: `node.js` and `page.js`. */

import { cpSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const client = join(here, "../../../clients/typescript");
const { build } = createRequire(join(client, "package.json"))("esbuild");

const outdir = process.argv[2];
const common = { bundle: true, target: "es2022", format: "esm", logLevel: "warning", outdir };
await build({
  ...common,
  entryPoints: [join(here, "node.js")],
  platform: "node",
  alias: { "sigbridge/grpc": join(client, "src/grpc.ts"), "sigbridge/call": join(client, "src/call.ts") },
  external: ["@grpc/grpc-js", "werift", "ws"],
  outExtension: { ".js": ".mjs" },
});
await build({
  ...common,
  entryPoints: [join(here, "page.js")],
  platform: "browser",
  alias: { sigbridge: join(client, "src/index.ts"), "sigbridge/call": join(client, "src/call.ts") },
});
cpSync(join(here, "page.html"), join(outdir, "page.html"));
