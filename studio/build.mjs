// Builds the app into the Python package: app.js, app.css, the engine and the licences.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { licences } from "./licences.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "src", "isthmus", "studio", "app");
const engine = join(here, "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm");

const result = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "external", // added to licences.txt
  metafile: true,
  outdir: out,
  write: false, // written below, so that a failure leaves the old app unchanged
});
const built = result.outputFiles.map((file) => [basename(file.path), file]);
const ending = (end) => built.filter(([name]) => name.endsWith(end));
const notices = ending(".LEGAL.txt").map(([, { text }]) => text);
const files = [
  ["engine.wasm.gz", gzipSync(await readFile(engine), { level: 9 })],
  ["licences.txt", await licences(here, Object.keys(result.metafile.inputs), notices)],
  ...ending(".css").map(([name, { contents }]) => [name, contents]),
  ...ending(".js").map(([name, { contents }]) => [name, contents]), // last: a page needs all other files
];
await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
for (const [name, contents] of files) await writeFile(join(out, name), contents);
