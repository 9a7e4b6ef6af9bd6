// The rows of a batch that are shown: a page of them, kept as the service has them.

import { Problem } from "./api.js";
import { askedToWait, backoff, heard, lost, patience } from "./connection.js";
import { keyInTime } from "./key.js";

export const PAGE_ROWS = 100;
const REFRESH_MS = 500; // a large batch changes faster than anybody reads

/**
 * A page of a batch's rows, or of those that failed. What the events tell is taken from them;
 * they have the first rows of a file and what changes, so that other pages are asked for.
 *
 * `rows` are in file order, `offset` is how many of the selected ones stand before them, and
 * `selected` how many there are; `rows` is null until the first are there.
 */
export class Excerpt {
  rows = null;
  filter = "all";
  offset = 0;
  selected = 0;
  #on;
  #closed;
  #wanted;
  #asking = new AbortController();
  #isAsking = false;
  #askedAt = -REFRESH_MS;
  #due = null;
  #isOld = false;
  #changed = new Map(); // rows that changed while a page is under way, which may be from before

  /**
   * @param on `ask(page, signal)` for a Progress document with that page, `changed()`, and
   *   `refused(problem)` (a 4xx, but none that asks for a key or to wait)
   * @param page `{ only, offset }`, where `only` is "failed" or empty
   * @param closed ends it without a word
   */
  constructor(on, page, closed) {
    this.#on = on;
    this.#wanted = page;
    this.#closed = closed;
    closed.addEventListener("abort", () => clearTimeout(this.#due));
  }

  /** Get another page now; resolves once it is there, or when yet another one is wanted. */
  go(page) {
    this.#wanted = page;
    return this.#get();
  }

  /** Take an event: the first rows of the file, or, with `isWhole` false, those that changed. */
  take(progress, isWhole) {
    if (!isWhole) this.#update(progress.hospitals);
    if (isWhole && !this.#isAsking && this.#isIn(progress)) this.#hold(this.#cutFrom(progress), this.#wanted);
    else if (isWhole || this.#isOutdatedBy(progress)) this.#refresh();
  }

  #update(changed) {
    if (this.#isAsking) for (const row of changed) this.#changed.set(row.row, row);
    const news = new Map(changed.map((row) => [row.row, row]));
    this.rows = this.rows?.map((row) => news.get(row.row) ?? row) ?? null;
  }

  #isIn({ hospitals, total_hospitals }) {
    const { filter, offset } = this.#wanted;
    return filter === "all" && Math.min(offset + PAGE_ROWS, total_hospitals) <= hospitals.length;
  }

  #cutFrom({ hospitals, total_hospitals }) {
    const { offset } = this.#wanted;
    return { hospitals: hospitals.slice(offset, offset + PAGE_ROWS), selected_hospitals: total_hospitals };
  }

  /** Return whether other rows belong to the page since an event. */
  #isOutdatedBy({ hospitals, failed_hospitals }) {
    const { filter, offset } = this.#wanted;
    if (filter !== this.filter || offset !== this.offset) return !this.#isAsking;
    if (filter === "all") return false;
    return failed_hospitals !== this.selected || hospitals.some(({ status }) => status === "failed");
  }

  /** Have the page asked for soon, and once more if it is under way. */
  #refresh() {
    this.#isOld = this.#isAsking;
    if (this.#isAsking || this.#due !== null) return;
    const pause = Math.max(this.#askedAt + REFRESH_MS - performance.now(), 0);
    this.#due = setTimeout(() => this.#get(), pause);
  }

  async #get() {
    clearTimeout(this.#due);
    this.#due = null;
    this.#asking.abort();
    this.#asking = new AbortController();
    const signal = AbortSignal.any([this.#asking.signal, this.#closed]);
    this.#isAsking = true;
    this.#isOld = false;
    this.#askedAt = performance.now();
    this.#changed.clear();
    const wanted = this.#wanted;
    try {
      const page = await answered(() => this.#on.ask({ ...wanted, limit: PAGE_ROWS }, signal), signal);
      if (!signal.aborted) this.#arrived(page, wanted);
    } catch (error) {
      if (signal.aborted) return;
      this.#isAsking = false;
      this.#on.refused(error);
    }
  }

  #arrived(page, wanted) {
    this.#isAsking = false;
    if (page.hospitals.length === 0 && page.selected_hospitals > 0) { // there are fewer now
      this.#wanted = { ...wanted, offset: startOfPage(page.selected_hospitals) };
      this.#refresh();
      return;
    }
    this.#hold(page, wanted);
    this.#update([...this.#changed.values()]);
    this.#on.changed();
    if (this.#isOld) this.#refresh();
  }

  #hold({ hospitals, selected_hospitals }, { filter, offset }) {
    this.rows = hospitals;
    this.filter = filter;
    this.offset = offset;
    this.selected = selected_hospitals;
  }
}

/** Return how many rows stand before the page that the nth one is on. */
export const startOfPage = (nth) => Math.floor((nth - 1) / PAGE_ROWS) * PAGE_ROWS;

/** Ask until there is an answer; a refusal is thrown. */
async function answered(ask, signal) {
  for (let failures = 0; ; failures += 1) {
    try {
      const answer = await ask();
      heard();
      return answer;
    } catch (error) {
      if (signal.aborted) throw error;
      if (!(error instanceof Problem) || error.status >= 500) {
        lost();
        await patience(backoff(failures), signal);
      } else if (error.status === 401) await keyInTime(error.refusedKey, signal);
      else if (error.status === 429) await askedToWait(error.waitMs, signal);
      else throw error;
    }
  }
}
