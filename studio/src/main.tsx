/** Entry point: choose the backend and render the app. */

import { render } from "preact";
import { App, Failure } from "./App";
import { LiveBackend } from "./live";
import { PageBackend } from "./page";
import { begin, manifest } from "./state";
import "./style.css";

async function open() {
  const inline = document.getElementById("manifest");
  if (inline) return new PageBackend(JSON.parse(inline.textContent ?? ""));
  const token = new URLSearchParams(window.location.search).get("token") ?? "";
  return LiveBackend.open(token);
}

async function start() {
  const root = document.getElementById("studio")!;
  try {
    begin(await open());
    document.title = manifest.value.title;
    render(<App />, root);
  } catch (error) {
    render(<Failure message={error instanceof Error ? error.message : String(error)} />, root);
  }
}

void start();
