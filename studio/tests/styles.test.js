import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "../src");
const OTHERS = /^(u-|of-)/; // of uPlot, and of kinds of items, whose names are put together

function read(endings) {
  const files = readdirSync(SOURCE, { recursive: true });
  return files.filter((file) => endings.test(file)).map((file) => readFileSync(join(SOURCE, file), "utf8")).join("\n");
}

it("has no style for a class that no component has", () => {
  const styles = read(/\.css$/).replace(/\/\*.*?\*\//gs, "").replace(/\{[^{}]*\}/g, "{}");
  const classes = new Set([...styles.matchAll(/\.([a-z][\w-]*)/g)].map((match) => match[1]));
  const texts = [...read(/\.tsx?$/).matchAll(/"([^"\n]*)"|(?<==\{)`([^`]*)`/g)].map((match) => match[1] ?? match[2]);
  const words = new Set(texts.flatMap((text) => text.split(/[^\w-]+/)));
  expect([...classes].filter((name) => !OTHERS.test(name) && !words.has(name))).toEqual([]);
});
