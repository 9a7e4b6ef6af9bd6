// Choosing a file, what is wrong with it, and starting to load it.

import { load, Problem, Unreachable, validate } from "./api.js";
import { backoff, patience } from "./connection.js";
import { announce, byId, make, save, whileBusy, write } from "./dom.js";
import { line, table } from "./table.js";
import { count, roughly } from "./words.js";

const SHOWN = 100; // to mend one after the other, more is of no use
const WORTH_TELLING_S = 60;
// A name belongs to the key that was shown with it: under another key it would be another upload.
const NOT_KNOWN = "The connection broke before the answer, and the key is not accepted any more: whether the file was taken is not known. Look into the list of batches before you load it again.";
const MEND = "Mend the file and choose it again";

const panel = byId("checked");
let checking = new AbortController();

/** Take files from now on. `onStarted(progress)` is called when one is being loaded. */
export function takeFiles(onStarted) {
  const input = byId("file");
  input.addEventListener("click", () => (input.value = "")); // the same file again, once mended
  input.addEventListener("change", () => input.files.length && check(input.files[0], onStarted));
  const drop = byId("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault(); // else a file that misses its place replaces the page
    drop.classList.toggle("aimed", isFile(event) && isShown());
  });
  addEventListener("dragleave", () => drop.classList.remove("aimed"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("aimed");
    const [file] = event.dataTransfer.files;
    if (file && isShown()) check(file, onStarted);
  });
}

/** Forget the file that was chosen last. */
export function forgetFile() {
  checking.abort();
  byId("file").value = "";
  panel.hidden = true;
}

const isShown = () => !byId("home").hidden;
const isFile = (event) => event.dataTransfer.types.includes("Files");

async function check(chosen, onStarted) {
  checking.abort();
  checking = new AbortController();
  const { signal } = checking;
  show(chosen, [make("p", { aria: { busy: "true" } }, "Checking the file …")]);
  try {
    // A copy: what is loaded later is what was checked, whatever becomes of the file until then.
    const file = new File([await readable(chosen)], chosen.name, { type: chosen.type });
    const result = await validate(file, signal);
    if (!signal.aborted) tell(file, result, onStarted);
  } catch (error) {
    if (!signal.aborted) refuse(chosen, error, isForNow(error) && againButton(chosen, onStarted));
  }
}

/** Return whether the same file may well be checked later. */
const isForNow = (error) =>
  error instanceof Unreachable || [401, 429].includes(error.status) || error.status >= 500;

async function readable(file) {
  try {
    return await file.arrayBuffer();
  } catch (error) {
    throw new Error("The file cannot be read: choose it again.", { cause: error });
  }
}

function tell(file, result, onStarted) {
  const isWhole = result.errors.some(({ row }) => row === 0);
  const canSkip = !result.is_valid && !isWhole && result.valid_rows > 0;
  const verdict = result.is_valid ? `${count(result.total_rows, "row")}, no errors.` : shortfall(result, isWhole);
  const canStart = result.is_valid || canSkip;
  const estimate = canStart ? estimateOf(result) : "";
  announce([`${file.name}: ${verdict}`, estimate].join(" ").trim());
  show(file, [
    make("p", {}, make("strong", {}, verdict), !result.is_valid && ` ${MEND}${canSkip ? ", or load the sound rows alone" : ""}.`),
    estimate && make("p", { id: "estimate" }, estimate),
    ...warnings(result.warnings),
    ...(result.errors.length ? errorTable(result.errors) : preview(result)),
    canStart && startButton(file, result, onStarted),
    problemPlace(),
  ], result.is_valid ? "good" : "bad");
}

/** Return how long loading takes, in words; empty if one would sit and wait for it. */
function estimateOf({ valid_rows, estimated_seconds: seconds }) {
  if (seconds <= WORTH_TELLING_S) return "";
  return `Loading ${count(valid_rows, "row")} takes about ${roughly(seconds)}, longer if others are loaded meanwhile. It goes on without this page.`;
}

function shortfall({ errors, invalid_rows, total_rows }, isWhole) {
  const errorsIn = isWhole ? "" : ` in ${invalid_rows} of ${count(total_rows, "row")}`;
  return `${count(errors.length, "error")}${errorsIn}. Nothing was sent.`;
}

function startButton(file, result, onStarted) {
  const left = result.invalid_rows;
  const text = result.is_valid
    ? `Load ${count(result.valid_rows, "row")}`
    : `Load the ${count(result.valid_rows, "sound row")}, leave out ${left}`;
  const button = make("button", { type: "button", id: "start" }, text);
  button.onclick = () => whileBusy(button, () => start(file, !result.is_valid, onStarted));
  return make("div", { className: "actions" }, button);
}

async function start(file, skipInvalid, onStarted) {
  const { signal } = checking;
  const place = byId("start-problem");
  place.textContent = "";
  try {
    const started = await loadOnce(file, skipInvalid, place, signal);
    if (started) onStarted(started);
  } catch (error) {
    if (signal.aborted) return;
    if (error instanceof Problem && error.errors.length) refuse(file, error);
    else place.textContent = error.message;
  }
}

/** Load a file, and send it again when no answer came: under one name it becomes one batch. */
async function loadOnce(file, skipInvalid, place, signal) {
  const name = uploadName();
  let isInDoubt = false;
  for (let failures = 0; !signal.aborted; failures += 1) {
    try {
      return await load(file, skipInvalid, name, isInDoubt);
    } catch (error) {
      isInDoubt ||= mayHaveArrived(error);
      if (isInDoubt && error.status === 401) throw new Error(NOT_KNOWN);
      if (!isInDoubt || isFinal(error)) throw error;
      write(place, "The connection broke before the answer. The file is sent again by itself, and is loaded once, whatever became of it.");
      await patience(Math.max(backoff(failures), error.waitMs ?? 0), signal);
    }
  }
  return null; // another file was chosen
}

/** Return a name that no other upload has. `randomUUID` is missing on a page without TLS. */
const uploadName = () =>
  `page-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

const mayHaveArrived = (error) => error instanceof Unreachable || (error.status >= 500 && !error.isTold);

/** Return whether an answer holds for an earlier sending too; "not now" does not. */
const isFinal = (error) =>
  error instanceof Problem && error.isTold && error.status < 500 && error.status !== 429;

function refuse(file, error, button = false) {
  announce(error.message);
  const found = error.errors ?? [];
  show(file, [
    make("p", {}, make("strong", {}, error.message), found.length > 0 && ` ${MEND}.`),
    ...(found.length ? errorTable(found) : []),
    button,
  ], "bad");
}

function againButton(chosen, onStarted) {
  const onclick = () => check(chosen, onStarted);
  return make("div", { className: "actions" }, make("button", { type: "button", onclick }, "Check again"));
}

function show(file, content, tone = "calm") {
  panel.dataset.tone = tone;
  panel.replaceChildren(make("h2", { id: "checked-heading" }, file.name), ...content.filter(Boolean));
  panel.hidden = false;
}

const problemPlace = () => make("p", { id: "start-problem", className: "problem", role: "alert" });

function warnings(texts) {
  if (!texts.length) return [];
  const items = texts.map((text) => make("li", {}, text));
  return [make("h3", {}, count(texts.length, "warning")), make("ul", { className: "warnings" }, ...items)];
}

function errorTable(errors) {
  const found = table("Errors of the file", ["Row", "Line", "Column", "Value", "What to do"]);
  for (const { row, line: number, column, value, message } of errors.slice(0, SHOWN)) {
    const shown = value === null ? "" : make("code", {}, value);
    found.body.append(line(found, row || "whole file", number || "", column ?? "", shown, message));
  }
  return errors.length > SHOWN ? [found.element, further(errors)] : [found.element];
}

function further(errors) {
  const text = `The first ${SHOWN} of ${count(errors.length, "error")} are shown, leaving out ${(errors.length - SHOWN).toLocaleString("en")}. Often many have one cause: mend these first, or download all of them.`;
  const onclick = () => save(new Blob([JSON.stringify(errors, null, 1)], { type: "application/json" }), "errors.json");
  const button = make("button", { type: "button", className: "quiet small", onclick }, "Download all errors (JSON)");
  return make("p", {}, text, " ", button);
}

function preview({ preview_hospitals: rows, total_rows }) {
  const first = table("The first rows", ["Row", "Name", "Address", "Phone"]);
  for (const { row, name, address, phone } of rows) {
    first.body.append(line(first, row, name, address, phone ?? ""));
  }
  const text = rows.length < total_rows ? `The first ${rows.length} rows` : "The rows";
  return [make("details", {}, make("summary", {}, text), first.element)];
}
