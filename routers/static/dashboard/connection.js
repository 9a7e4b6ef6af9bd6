// Whether the service is there, and what the page says while it is not.

import { announce, byId, make, timeOf } from "./dom.js";

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 15_000;

const banner = byId("connection");
const wake = new EventTarget();
let lastHeard = null;
let isLost = false;

addEventListener("online", tryNow);

/** Say that the service was heard just now. */
export function heard() {
  lastHeard = new Date();
  if (!isLost) return;
  isLost = false;
  banner.replaceChildren();
  document.body.classList.remove("lost");
  announce("Connected again.");
}

/** Say that the service does not answer; what is shown may be old from now on. */
export function lost() {
  if (isLost) return;
  isLost = true;
  document.body.classList.add("lost");
  const since = lastHeard
    ? [make("strong", {}, "Connection lost."), " Last heard from the service at ", timeOf(lastHeard), ": what is shown may be old."]
    : [make("strong", {}, "The service cannot be reached.")];
  banner.replaceChildren(
    make("p", {}, ...since, " Batches go on without this page. Trying again by itself."),
    make("button", { type: "button", className: "quiet", onclick: tryNow }, "Try now"),
  );
}

/** Return whether what is shown may be old. */
export const mayBeOld = () => isLost;

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
