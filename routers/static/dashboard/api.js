// Every request of the page. What all of them must carry goes into `ask`.

import { anotherKey, presentKey, showing } from "./key.js";
import { duration } from "./words.js";

const WAIT_S = 5; // when asked to wait without being told how long
const LONGEST_WAIT_S = 3600;

/**
 * The service answered, but not with what was asked for; the message is its `detail`.
 *
 * `isTold` says that it was the service itself, and no gateway; `waitMs` how long one has to wait
 * (429), and `refusedKey` which key was shown (401).
 */
export class Problem extends Error {
  constructor(answer, told, shownKey) {
    super(messageOf(answer, told));
    this.status = answer.status;
    this.errors = told?.errors ?? [];
    this.isTold = told?.detail !== undefined;
    this.waitMs = answer.status === 429 ? secondsToWait(answer) * 1000 : null;
    this.refusedKey = shownKey;
  }
}

/** No answer came, or none that can be read. */
export class Unreachable extends Error {}

const AT_ONCE = { Prefer: "respond-async" };

export const validate = (file, signal) => json("POST", "validate", { body: form(file), signal });

/** Load a file; `isAgain` under the same name and key, it joins the batch that it became. */
export const load = (file, skipInvalid, name, isAgain) =>
  json("POST", skipInvalid ? "bulk?skip_invalid=true" : "bulk", {
    body: form(file),
    headers: { ...AT_ONCE, "Idempotency-Key": name },
    isAsking: !isAgain,
  });

export const resume = (id) => json("POST", `resume/${segment(id)}`, { headers: AT_ONCE });

export const cancel = (id) => json("POST", `batch/${segment(id)}/cancel`);

export const abandon = (id) => json("DELETE", `batch/${segment(id)}/abandon`);

export const verify = (id) => json("GET", `batch/${segment(id)}/verify`);

export const correct = (id, row, values) =>
  json("PATCH", `batch/${segment(id)}/rows/${row}`, {
    body: JSON.stringify(values),
    headers: { "Content-Type": "application/json" },
  });

/**
 * Return `{batches, next_cursor}`; no `statuses` are all of them, no `cursor` is the start.
 *
 * This, `progress` and `events` are asked in the background: a refused key is theirs to deal with.
 */
export function batches({ statuses, cursor, limit }, signal) {
  const query = new URLSearchParams({ limit });
  for (const status of statuses) query.append("status", status);
  if (cursor) query.set("cursor", cursor);
  return json("GET", `batches?${query}`, { signal, isAsking: false });
}

/** Return a Progress document with a page of the batch's rows. */
export function progress(id, { filter, offset, limit }, signal) {
  const query = new URLSearchParams({ offset, limit });
  if (filter !== "all") query.set("only", filter);
  return json("GET", `progress/${segment(id)}?${query}`, { signal, isAsking: false });
}

/** Return the report as a Blob. */
export async function report(id, onlyFailed) {
  const query = onlyFailed ? "?only=failed" : "";
  return read(await ask("GET", `batch/${segment(id)}/report.csv${query}`), "blob");
}

/** Return the answer whose body is the batch's event stream, or which has status 204. */
export const events = (id, lastEventId, signal) =>
  ask("GET", `progress/${segment(id)}/events`, {
    headers: lastEventId ? { "Last-Event-ID": lastEventId } : {},
    signal,
    isAsking: false,
  });

async function json(method, path, options) {
  return read(await ask(method, path, options), "json");
}

/** Return the answer; a person is asked for a key if one is needed, and then it is sent again. */
async function ask(method, path, { isAsking = true, ...request } = {}) {
  for (;;) {
    const key = presentKey();
    const answer = await exchange(method, path, request, key);
    if (answer.ok) return answer;
    const problem = new Problem(answer, await answer.json().catch(() => null), key);
    if (problem.status !== 401 || !isAsking || !(await anotherKey(key))) throw problem;
  }
}

async function exchange(method, path, { body, headers, signal }, key) {
  try {
    return await fetch(`hospitals/${path}`, {
      method,
      body,
      headers: { ...headers, ...showing(key) },
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The service cannot be reached.", { cause: error });
  }
}

async function read(answer, kind) {
  try {
    return await answer[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The service's answer broke off or cannot be read.", { cause: error });
  }
}

function messageOf(answer, told) {
  if (answer.status === 401) return "The service needs a key for this.";
  const detail = told?.detail ?? `The service answered ${answer.status} without saying why.`;
  return answer.status === 429 ? `${detail} It asks to wait ${duration(secondsToWait(answer))} first.` : detail;
}

function secondsToWait(answer) {
  const told = Number(answer.headers.get("Retry-After")) || WAIT_S;
  return Math.min(Math.max(told, 1), LONGEST_WAIT_S);
}

function form(file) {
  const form = new FormData();
  form.append("file", file);
  return form;
}

const segment = encodeURIComponent;
