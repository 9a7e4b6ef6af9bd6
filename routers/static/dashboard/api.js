// Every request of the page. What all of them must carry goes into `ask`.

/** The service answered, but not with what was asked for; the message is its `detail`. */
export class Problem extends Error {
  constructor(status, told) {
    super(told?.detail ?? `The service answered ${status} without saying why.`);
    this.status = status;
    this.errors = told?.errors ?? [];
  }
}

/** No answer came, or none that can be read. */
export class Unreachable extends Error {}

const AT_ONCE = { Prefer: "respond-async" };

export const validate = (file, signal) => json("POST", "validate", { body: form(file), signal });

export const load = (file, skipInvalid) =>
  json("POST", skipInvalid ? "bulk?skip_invalid=true" : "bulk", { body: form(file), headers: AT_ONCE });

export const resume = (id) => json("POST", `resume/${segment(id)}`, { headers: AT_ONCE });

export const cancel = (id) => json("POST", `batch/${segment(id)}/cancel`);

export const abandon = (id) => json("DELETE", `batch/${segment(id)}/abandon`);

export const verify = (id) => json("GET", `batch/${segment(id)}/verify`);

export const correct = (id, row, values) =>
  json("PATCH", `batch/${segment(id)}/rows/${row}`, {
    body: JSON.stringify(values),
    headers: { "Content-Type": "application/json" },
  });

/** Return `{batches, next_cursor}`; no `statuses` are all of them, no `cursor` is the start. */
export function batches({ statuses, cursor, limit }, signal) {
  const query = new URLSearchParams({ limit });
  for (const status of statuses) query.append("status", status);
  if (cursor) query.set("cursor", cursor);
  return json("GET", `batches?${query}`, { signal });
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
  });

async function json(method, path, options) {
  return read(await ask(method, path, options), "json");
}

async function ask(method, path, { body, headers, signal } = {}) {
  let answer;
  try {
    answer = await fetch(`hospitals/${path}`, { method, body, headers, signal, cache: "no-store" });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable("The service cannot be reached.", { cause: error });
  }
  if (answer.ok) return answer;
  throw new Problem(answer.status, await answer.json().catch(() => null));
}

async function read(answer, kind) {
  try {
    return await answer[kind]();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Unreachable("The service's answer broke off or cannot be read.", { cause: error });
  }
}

function form(file) {
  const form = new FormData();
  form.append("file", file);
  return form;
}

const segment = encodeURIComponent;
