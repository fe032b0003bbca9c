/**
 * Says what the compiler has to say of programs, all in one process: `node compile.mjs TYPESCRIPT PROGRAM…`.
 *
 * TYPESCRIPT is the folder of the compiler, and each PROGRAM the JSON of a file and the options that it is compiled with.
 */

import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const [, , typescript, ...programs] = process.argv;
const ts = createRequire(import.meta.url)(typescript);
const libraries = new Map();

for (const { file, options } of programs.map((program) => JSON.parse(program))) {
  const { options: parsed, errors } = ts.convertCompilerOptionsFromJson(options, dirname(file));
  const host = ts.createCompilerHost(parsed);
  const read = host.getSourceFile;
  // What the compiler brings is the same for all of them.
  host.getSourceFile = (name, ...more) => {
    if (dirname(name) !== join(typescript, "lib")) return read.call(host, name, ...more);
    if (!libraries.has(name)) libraries.set(name, read.call(host, name, ...more));
    return libraries.get(name);
  };
  host.getCurrentDirectory = () => dirname(file);
  const program = ts.createProgram([file], parsed, host);
  for (const { file: where, start, messageText } of [...errors, ...ts.getPreEmitDiagnostics(program)]) {
    const place = where ? `${where.fileName}:${where.getLineAndCharacterOfPosition(start).line + 1}: ` : "";
    console.log(`${file}: ${place}${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
  }
}
