// Collects the licences of the packages in the app; a licence that is not permissive fails the build.
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";

const PERMISSIVE = "0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause CC0-1.0 ISC MIT Unlicense Zlib";
const RULE = `\n${"=".repeat(78)}\n\n`;
const ABOUT = `The studio app is built from these packages. It may contain only parts
of a package, or none of it: some are listed because other packages may include them in their files.
`;

/**
 * Return the licence of each package, followed by the notices found in the code.
 * `inputs` are the paths of the bundled files, as esbuild reports them.
 */
export async function licences(root, inputs, notices) {
  const lock = JSON.parse(await readFile(join(root, "package-lock.json"), "utf8")).packages;
  const folders = Object.keys(lock).filter((folder) => folder && !lock[folder].dev);
  const stranger = inputs.find(
    (file) => file.startsWith("node_modules/") && !folders.some((f) => file.startsWith(`${f}/`)),
  );
  if (stranger) throw new Error(`${stranger} is bundled, but belongs to no package in "dependencies".`);
  const texts = await Promise.all(folders.map((folder) => licence(join(root, folder))));
  return [ABOUT, ...texts, ...notices].join(RULE);
}

async function licence(folder) {
  const about = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const { name, version, license } = about;
  if (!PERMISSIVE.split(" ").includes(license))
    throw new Error(`${name} has licence ${license}, expected one of: ${PERMISSIVE}.`);
  const text = (await inFiles(folder)) || (await inReadme(folder)) || declared(about);
  const more = name === "onnxruntime-web" ? engine(version) : "";
  return `${name} ${version} (${license})\n\n${text.trim()}\n${more}`;
}

async function inFiles(folder) {
  const names = (await readdir(folder)).filter((f) => /^(licen[cs]e|notice|copying)/i.test(f));
  const texts = names.sort().map((name) => readFile(join(folder, name), "utf8"));
  return (await Promise.all(texts)).join("\n");
}

/** Return the licence section of a readme, if it contains the full text and not just a link. */
async function inReadme(folder) {
  const name = (await readdir(folder)).find((f) => /^readme/i.test(f));
  const text = name ? await readFile(join(folder, name), "utf8") : "";
  const section = text.split(/^#+ *licen[cs]e *$/im)[1]?.split(/^#/m)[0] ?? "";
  return /copyright/i.test(section) ? section : "";
}

function declared({ license, author, repository }) {
  const by = author?.name ?? author;
  return `This package has no licence file. It declares: ${license}, by ${by}; ${repository?.url}`;
}

/** Return notices for the WebAssembly engine that the package itself does not include. */
function engine(version) {
  return `
Copyright (c) Microsoft Corporation. engine.wasm.gz also contains third-party code, such as
Abseil, Eigen (MPL-2.0), FlatBuffers, ONNX, Protocol Buffers and RE2. Notices:
https://github.com/microsoft/onnxruntime/blob/v${version}/ThirdPartyNotices.txt
Sources: see cmake/deps.txt in the same repository.
`;
}
