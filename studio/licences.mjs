// Gathers the licences of all that the app is made of; what may not be passed on fails the build.
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const PERMISSIVE = "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause CC0-1.0 ISC MIT Unlicense Zlib";
const RULE = `\n${"=".repeat(78)}\n\n`;
const ABOUT = `The studio's app is made of these packages. Of some it holds parts only, or nothing:
they are here since those that need them may bring them within their own files.
`;

/**
 * Return one text: of each package its licence, then the notices that stand in the code itself.
 * `inputs` are the files that were bundled, as esbuild names them.
 */
export async function licences(root, inputs, notices) {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")).packages;
  const folders = Object.keys(lock).filter((folder) => folder && !lock[folder].dev);
  const stranger = inputs.find(
    (file) => file.startsWith("node_modules/") && !folders.some((f) => file.startsWith(`${f}/`)),
  );
  if (stranger) throw new Error(`${stranger} is in the app, but of no package in "dependencies".`);
  const texts = await Promise.all(folders.map((folder) => licence(join(root, folder))));
  return [ABOUT, ...texts, ...notices].join(RULE);
}

async function licence(folder) {
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const { name, version, license } = about;
  if (!PERMISSIVE.split(" ").includes(license))
    throw new Error(`${name} is under ${license}; what the app holds must be of: ${PERMISSIVE}.`);
  const text = (await inFiles(folder)) || (await inReadme(folder)) || declared(about);
  const more = name === "onnxruntime-web" ? engine(version) : "";
  return `${name} ${version} (${license})\n\n${text.trim()}\n${more}`;
}

async function inFiles(folder) {
  const names = (await readdir(folder)).filter((f) => /^(licen[cs]e|notice|copying)/i.test(f));
  const texts = names.sort().map((name) => readFile(join(folder, name), "utf8"));
  return (await Promise.all(texts)).join("\n");
}

/** Return the licence that stands in a readme, if it is the whole text and no link. */
async function inReadme(folder) {
  const name = (await readdir(folder)).find((f) => /^readme/i.test(f));
  const text = name ? await readFile(join(folder, name), "utf8") : "";
  const section = text.split(/^#+ *licen[cs]e *$/im)[1]?.split(/^#/m)[0] ?? "";
  return /copyright/i.test(section) ? section : "";
}

function declared({ license, author, repository }) {
  const by = author?.name ?? author;
  return `It brings no licence file. It declares: ${license}, by ${by}; ${repository?.url}`;
}

/** Return what the package does not say of the engine in it. */
function engine(version) {
  return `
Copyright (c) Microsoft Corporation. The engine, engine.wasm.gz, was compiled from works of others
too, such as Abseil, Eigen (MPL-2.0), FlatBuffers, ONNX, Protocol Buffers and RE2. Their notices:
https://github.com/microsoft/onnxruntime/blob/v${version}/ThirdPartyNotices.txt
and their sources, where cmake/deps.txt of the same place says.
`;
}
