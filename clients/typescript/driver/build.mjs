/** Builds the driver into the folder that its argument names, which must lie within this package: `node.js` and `page.js`. */

import { cpSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const outdir = process.argv[2];
const here = fileURLToPath(new URL(".", import.meta.url));
const common = { bundle: true, target: "es2022", format: "esm", logLevel: "warning", outdir };
await build({
  ...common,
  entryPoints: [join(here, "node.ts")],
  platform: "node",
  external: ["@grpc/grpc-js", "ws"],
  sourcemap: "inline",
});
// As what browsers load.
await build({ ...common, entryPoints: [join(here, "page.ts")], platform: "browser", minify: true });
cpSync(join(here, "page.html"), join(outdir, "page.html"));
