/**
 * Says what the compiler has to say of programs, all in one process: `node compile.mjs TYPESCRIPT PROGRAM…`.
 *
 * TYPESCRIPT is the folder of the compiler, and each PROGRAM the JSON of a file and the options that it is compiled with.
 * What is beside the compiler, its own types and those of other packages, is read, but not checked: it is the same for all.
 */

import { createRequire } from "node:module";
import { dirname, sep } from "node:path";

const [, , typescript, ...programs] = process.argv;
const ts = createRequire(import.meta.url)(typescript);
const isBrought = (name) => name.startsWith(dirname(typescript) + sep);
const brought = new Map();

for (const { file, options } of programs.map((program) => JSON.parse(program))) {
  const { options: parsed, errors } = ts.convertCompilerOptionsFromJson(options, dirname(file));
  const host = ts.createCompilerHost(parsed);
  const read = host.getSourceFile;
  host.getSourceFile = (name, how, ...more) => {
    if (!isBrought(name)) return read.call(host, name, how, ...more);
    const key = `${how.impliedNodeFormat} ${name}`;
    if (!brought.has(key)) brought.set(key, read.call(host, name, how, ...more));
    return brought.get(key);
  };
  host.getCurrentDirectory = () => dirname(file);
  const program = ts.createProgram([file], parsed, host);
  const checked = program.getSourceFiles().filter(({ fileName }) => !isBrought(fileName));
  if (!checked.length) throw new Error(`${file} is not there`);
  const said = checked.flatMap((source) => ts.getPreEmitDiagnostics(program, source));
  for (const { file: where, start, messageText } of [...errors, ...ts.sortAndDeduplicateDiagnostics(said)]) {
    const place = where ? `${where.fileName}:${where.getLineAndCharacterOfPosition(start).line + 1}: ` : "";
    console.log(`${file}: ${place}${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
  }
}
