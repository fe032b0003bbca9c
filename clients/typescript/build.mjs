/**
 * Builds the package: `node build.mjs` writes `dist/`, `node build.mjs --tests` the tests into `.build/`.
 *
 * `dist/index.*`, `dist/grpc.*` and `dist/call.*` are ES modules and CommonJS with their types, in which each class is
 * there once, whichever of them a program loads; `dist/sigbridge.js` and `dist/sigbridge-call.js` are the files, ES
 * modules without spaces, that browsers load. What is built depends on the sources and on package-lock.json alone.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { minify } from "terser";

process.chdir(fileURLToPath(new URL(".", import.meta.url)));

const ENTRIES = { index: "src/index.ts", grpc: "src/grpc.ts", call: "src/call.ts" };
/** The files that browsers load, and what they are made of. */
const SCRIPTS = { "sigbridge.js": ENTRIES.index, "sigbridge-call.js": ENTRIES.call };
/** The packages that a program brings along, if it uses it at all. */
const PEERS = ["@grpc/grpc-js", "ws"];
const COMMON = { bundle: true, target: "es2022", external: PEERS, logLevel: "warning" };

async function buildPackage() {
  rmSync("dist", { recursive: true, force: true });
  const library = { ...COMMON, entryPoints: ENTRIES, outdir: "dist", platform: "node", chunkNames: "shared" };
  await build({ ...library, format: "esm", splitting: true });
  for (const file of readdirSync("dist")) await writeCommonJs(file);
  await buildForBrowsers();
  buildTypes();
}

/** Members of objects that stay within the client, and that are named nowhere in a text: in its one file they are short. */
const INNER = "answering atReply dependsOn forgetEvents heardAt outBy received sentAt tellOfConnection written";

/** Writes the files for browsers, which are to be small, and each of which is whole. */
async function buildForBrowsers() {
  const inner = { properties: { regex: new RegExp(`^(${INNER.replaceAll(" ", "|")})$`) } };
  for (const [script, source] of Object.entries(SCRIPTS)) {
    const { outputFiles } = await build({ ...COMMON, entryPoints: [source], format: "esm", minify: true, write: false });
    const mangle = source === ENTRIES.index ? inner : {};
    const made = await minify(outputFiles[0].text, { module: true, ecma: 2020, compress: { passes: 3 }, mangle });
    writeFileSync(join("dist", script), `${made.code}\n`);
  }
}

/** Writes an ES module of the package as CommonJS beside it. */
async function writeCommonJs(file) {
  const { code } = await transform(readFileSync(join("dist", file), "utf8"), { format: "cjs", platform: "node" });
  const own = code.replace(/require\("(\.\/[^"]+)\.js"\)/g, 'require("$1.cjs")');
  writeFileSync(join("dist", file.replace(/\.js$/, ".cjs")), own);
}

/** Writes the types that the entries reach, for both kinds of modules. */
function buildTypes() {
  mkdirSync(".build", { recursive: true });
  const folder = mkdtempSync(join(".build", "types-"));
  try {
    const types = ["--emitDeclarationOnly", "--declaration", "--noEmit", "false", "--outDir", folder, "--rootDir", "src"];
    execFileSync("node_modules/.bin/tsc", ["--project", "tsconfig.build.json", ...types], { stdio: "inherit" });
    const files = Object.keys(ENTRIES).map((name) => `${name}.d.ts`);
    // Grows while it is gone through.
    for (const file of files) {
      const text = readFileSync(join(folder, file), "utf8");
      const path = join("dist", file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text);
      writeFileSync(path.replace(/ts$/, "cts"), text.replace(OWN, "$1.cjs$3"));
      for (const [, , name] of text.matchAll(OWN)) {
        const reached = join(dirname(file), `${name}.d.ts`);
        if (!files.includes(reached)) files.push(reached);
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A module of the package that its types name: what is before its name's end, the name, and what follows. */
const OWN = /((?:from |import\()"(\.{1,2}\/[^"]+))\.js(")/g;

async function buildTests() {
  rmSync(".build/test", { recursive: true, force: true });
  const tests = readdirSync("test", { recursive: true }).filter((name) => name.endsWith(".test.ts"));
  const entryPoints = tests.sort().map((name) => join("test", name));
  const folder = { outdir: ".build/test", outbase: "test" };
  await build({ ...COMMON, ...folder, entryPoints, format: "esm", platform: "node", splitting: true });
}

await (process.argv.includes("--tests") ? buildTests() : buildPackage());
