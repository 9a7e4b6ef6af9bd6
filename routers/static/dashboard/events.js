// A batch's event stream over fetch, since EventSource can send no header of ours.

import { Problem } from "./api.js";
import { askedToWait, backoff, heard, lost, patience } from "./connection.js";
import { keyInTime } from "./key.js";

const QUIET_MS = 40_000; // the service sends at least a comment every 15 s

/**
 * Follow a stream until it has ended, reconnecting with growing pauses.
 *
 * @param open (lastEventId, signal) -> the stream's answer
 * @param on `event(name, data)` for each event, then one of `ended()`, `gone(problem)` (404) and
 *   `refused(problem)` (another 4xx, but none that asks for a key or to wait)
 * @param signal ends it without a word
 */
export async function follow(open, on, signal) {
  let lastEventId = null;
  let failures = 0;
  while (!signal.aborted) {
    const silence = new Silence(QUIET_MS);
    try {
      const answer = await open(lastEventId, AbortSignal.any([signal, silence.signal]));
      heard();
      if (answer.status === 204) return on.ended();
      for await (const { name, id, data } of eventsOf(answer.body, () => silence.broken())) {
        failures = 0;
        lastEventId = id ?? lastEventId;
        on.event(name, JSON.parse(data));
        if (name === "done") return on.ended();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status < 500) {
        if (error.status === 404) return on.gone(error);
        if (error.status === 401) await keyInTime(error.refusedKey, signal);
        else if (error.status === 429) await askedToWait(error.waitMs, signal);
        else return on.refused(error);
        continue;
      }
    } finally {
      silence.end();
    }
    if (failures > 0 || silence.isOver) lost(); // else it may only have been a hiccup
    await patience(backoff(failures), signal);
    failures += 1;
  }
}

/** Yield `{name, id, data}` for each event of a body; `onBytes` is called when any bytes come. */
export async function* eventsOf(body, onBytes = () => {}) {
  let event = emptyEvent();
  for await (const line of linesOf(body, onBytes)) {
    if (line === "") {
      if (event.data.length) yield { ...event, data: event.data.join("\n") };
      event = emptyEvent();
      continue;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
    else if (field === "data") event.data.push(value ?? "");
  }
}

const emptyEvent = () => ({ name: "message", id: null, data: [] });

// Pieces are joined once a line is complete: a large event comes in hundreds of them.
async function* linesOf(body, onBytes) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pieces = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    onBytes();
    const [first, ...others] = value.split("\n");
    pieces.push(first);
    for (const other of others) {
      yield pieces.join("").replace(/\r$/, "");
      pieces = [other];
    }
  }
}

/** Aborts its signal when nothing was heard for a while: a connection can die without a word. */
class Silence {
  #controller = new AbortController();
  #ms;
  #timer;
  isOver = false; // it was as long as that

  constructor(ms) {
    this.#ms = ms;
    this.#wait();
  }

  get signal() {
    return this.#controller.signal;
  }

  broken() {
    heard();
    this.#wait();
  }

  end() {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }

  #wait() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.isOver = true;
      this.#controller.abort();
    }, this.#ms);
  }
}
