// Whether the service is there, and what the page says while it is not.

import { announce, byId, make, timeOf } from "./dom.js";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

const banner = byId("connection");
const wake = new EventTarget();
const LOST = "lost";
const ASKED_TO_WAIT = "asked to wait";
let lastHeard = null;
let trouble = null;

addEventListener("online", tryNow);

/** Say that the service was heard just now. */
export function heard() {
  lastHeard = new Date();
  if (!trouble) return;
  announce(trouble === LOST ? "Connected again." : "The service answers again.");
  trouble = null;
  banner.replaceChildren();
  document.body.classList.remove("lost");
}

/** Say that the service does not answer; what is shown may be old from now on. */
export function lost() {
  const since = lastHeard
    ? [make("strong", {}, "Connection lost."), " Last heard from the service at ", timeOf(lastHeard), ": what is shown may be old."]
    : [make("strong", {}, "The service cannot be reached.")];
  show(
    LOST,
    make("p", {}, ...since, " Batches go on without this page. Trying again by itself."),
    make("button", { type: "button", className: "quiet", onclick: tryNow }, "Try now"),
  );
}

/** Say that the service wants fewer requests, and wait for as long as it says. */
export async function askedToWait(ms, signal) {
  show(
    ASKED_TO_WAIT,
    make("p", {}, make("strong", {}, "The service asks to wait."), " Too many requests came at once: what is shown may be old. It goes on by itself."),
  );
  await patience(ms, signal);
}

/** Return whether what is shown may be old. */
export const mayBeOld = () => trouble !== null;

function show(what, ...content) {
  if (trouble === what) return; // not read out again
  trouble = what;
  document.body.classList.add("lost");
  banner.replaceChildren(...content);
}

/** Return how long to wait after so many failures in a row, in milliseconds. */
export function backoff(failures) {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  return pause * (0.8 + 0.4 * Math.random()); // not all pages at once after a restart
}

/** Wait, but not longer than until somebody wants it tried now, or until the signal. */
export function patience(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      wake.removeEventListener("now", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    wake.addEventListener("now", done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

function tryNow() {
  wake.dispatchEvent(new Event("now"));
}
