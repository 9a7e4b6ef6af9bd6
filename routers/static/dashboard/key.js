// The key of a service that asks for one: kept for this tab, and nowhere else.

import { byId, whileBusy, write } from "./dom.js";

const STORED = "hospital-bulk-key";
const POSSIBLE = /^[!-~]+$/; // what a key is made of; nothing else can stand in a header
const NOT_ACCEPTED = "The service does not accept this key: look whether all of it is there.";
const NOT_TRIED = "The service cannot say whether it accepts the key: try again in a moment.";

const dialog = byId("key");
const input = byId("key-input");
const control = byId("key-control");
const changes = new EventTarget();
let key = read();
let asking = null;

offer(key === null ? null : ["Forget the key", forget]);

/** Return the key to show to the service; null while there is none. */
export const presentKey = () => key;

/** Return the headers that show a key. */
export const showing = (shown) => (shown === null ? {} : { "X-API-Key": shown });

/** Ask for a key in the place of one that was refused; resolves to whether there is another. */
export async function anotherKey(refused) {
  if (key !== refused) return true; // it was given meanwhile
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

/** The same for what nobody waits for: who closed the dialog is not asked again by itself. */
export async function keyInTime(refused, signal) {
  if (signal.aborted || (await anotherKey(refused))) return;
  await new Promise((resolve) => {
    if (signal.aborted) resolve();
    changes.addEventListener("key", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

function ask() {
  write(byId("key-why"), key === null
    ? "This service asks for a key. Whoever runs it has one for you."
    : "The key of this tab is not valid any more. Whoever runs the service has another for you.");
  refuse("");
  byId("key-later").onclick = () => dialog.close();
  byId("key-form").onsubmit = (event) => {
    event.preventDefault();
    whileBusy(byId("key-use"), () => tryOut(input.value.trim()));
  };
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(isGiven()), { once: true });
  });
}

async function tryOut(tried) {
  const problem = await wrongWith(tried);
  if (!dialog.open) return; // closed meanwhile: it was not meant
  refuse(problem);
  if (problem) input.select();
  else keep(tried);
}

async function wrongWith(tried) {
  if (!POSSIBLE.test(tried)) return NOT_ACCEPTED;
  try {
    const { ok, status } = await fetch("hospitals/batches?limit=1", { headers: showing(tried), cache: "no-store" });
    return ok ? "" : status === 401 ? NOT_ACCEPTED : NOT_TRIED;
  } catch {
    return NOT_TRIED;
  }
}

function refuse(problem) {
  write(byId("key-problem"), problem);
  if (problem) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid"); // "false" would be shown as: accepted
}

function keep(accepted) {
  key = accepted;
  storage()?.setItem(STORED, key);
  dialog.close("given");
}

function isGiven() {
  input.value = "";
  const given = dialog.returnValue === "given";
  offer(given ? ["Forget the key", forget] : ["Enter the key", () => anotherKey(key)]);
  if (given) changes.dispatchEvent(new Event("key"));
  return given;
}

/** Forget the key, and with it all that it brought into the page. */
function forget() {
  storage()?.removeItem(STORED);
  location.reload();
}

function offer(what) {
  control.hidden = what === null;
  if (what) [control.textContent, control.onclick] = what;
}

function read() {
  return storage()?.getItem(STORED) ?? null;
}

/** Return where the tab keeps things; null where the browser forbids it. */
function storage() {
  try {
    return sessionStorage;
  } catch {
    return null; // a reload asks again
  }
}
