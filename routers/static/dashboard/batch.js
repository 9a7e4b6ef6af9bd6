// One batch: where it stands, what can be done, and its rows, as the event stream tells it.

import * as api from "./api.js";
import { Actions } from "./actions.js";
import { mayBeOld } from "./connection.js";
import { correct } from "./dialogs.js";
import { announce, byId, dateOf, make, write } from "./dom.js";
import { follow } from "./events.js";
import { Rows } from "./rows.js";
import { clearVerification } from "./verification.js";
import { batchTone, batchWord, count, duration, inLocalTime, roughly, sentence } from "./words.js";

const RENDER_MS = 100; // events may come faster than anybody reads
const HOUR_S = 3_600;
const TITLE = document.title;

/** A batch that is shown, from its making until `close`. */
export class BatchView {
  #id;
  #closing = new AbortController();
  #following = new AbortController();
  #progress = null;
  #toldAt = 0;
  #spoken = "";
  #about = null;
  #pending = null;
  #ticking = setInterval(() => this.#tick(), 1_000);
  #rows;
  #actions;

  /** @param place of its rows, as the address says it: `[filter, first row]`, or less */
  constructor(id, place) {
    this.#id = id;
    this.#rows = new Rows(
      {
        ask: (page, signal) => api.progress(id, page, signal),
        refused: (problem) => this.#refused(problem),
        correct: (row) => this.#correct(row),
        moved: (filter, first) => history.replaceState(null, "", `#${id}/${filter}/${first}`),
      },
      place,
      this.#closing.signal,
    );
    this.#actions = new Actions(id, {
      again: () => this.#follow(),
      abandoned: (message) => this.#leave("Abandoned", message),
      isClosed: () => this.#closing.signal.aborted,
    });
    clearVerification();
    this.#blank();
    this.#follow();
    const again = () => document.hidden || (this.#progress?.is_completed && this.#follow());
    document.addEventListener("visibilitychange", again, { signal: this.#closing.signal });
  }

  close() {
    this.#closing.abort();
    this.#following.abort();
    clearInterval(this.#ticking);
    clearTimeout(this.#pending);
    document.title = TITLE;
  }

  /** Follow the batch from its present state on: it may have changed, and may change again. */
  #follow() {
    this.#following.abort();
    this.#following = new AbortController();
    const { signal } = this.#following;
    follow(
      (lastEventId, joined) => api.events(this.#id, lastEventId, joined),
      {
        event: (name, data) => this.#take(name, data),
        ended: () => {},
        gone: (problem) => this.#refused(problem),
        refused: (problem) => this.#refused(problem),
      },
      signal,
    );
  }

  #take(name, progress) {
    this.#rows.take(progress, name !== "rows");
    this.#progress = progress;
    this.#toldAt = performance.now();
    this.#pending ??= setTimeout(() => {
      this.#pending = null;
      this.#render();
    }, RENDER_MS);
  }

  #render() {
    const progress = this.#progress;
    byId("state").hidden = false;
    byId("rows-section").hidden = false;
    write(byId("batch-heading"), progress.file_name ?? `Batch ${this.#id.slice(0, 8)}`);
    this.#tellAbout();
    byId("state").dataset.tone = batchTone(progress.status);
    write(byId("state-word"), batchWord(progress.status));
    write(byId("state-reason"), reason(progress));
    byId("state-bar").value = progress.processed_hospitals / progress.total_hospitals;
    this.#tick();
    this.#actions.render(progress);
    this.#rows.render();
    this.#speak();
    document.title = `${progress.is_completed ? batchWord(progress.status) : `${Math.floor(progress.progress_percentage)} %`} · ${byId("batch-heading").textContent}`;
  }

  #tellAbout() {
    const text = about(this.#progress);
    if (text === this.#about) return; // it seldom changes, and figures do all the time
    this.#about = text;
    byId("batch-about").replaceChildren("Uploaded ", dateOf(this.#progress.created_at), text, make("code", {}, this.#id));
  }

  /** Write the figures that change with time alone. */
  #tick() {
    const progress = this.#progress;
    if (!progress) return;
    const passed = progress.is_completed || mayBeOld() ? 0 : (performance.now() - this.#toldAt) / 1000;
    const left = progress.eta_seconds === null || progress.is_completed || mayBeOld() ? null : Math.max(progress.eta_seconds - passed, 0);
    figures({
      Created: `${progress.processed_hospitals.toLocaleString("en")} of ${progress.total_hospitals.toLocaleString("en")}`,
      Failed: progress.failed_hospitals.toLocaleString("en"),
      "Time taken": duration(progress.processing_time_seconds + passed),
      ...(left === null ? {} : { "Time left": outlook(left) }),
    });
  }

  /** Say aloud when the status changes, and at every quarter: not each row. */
  #speak() {
    const { status, progress_percentage, processed_hospitals, total_hospitals } = this.#progress;
    const key = `${status} ${Math.floor(progress_percentage / 25)}`;
    if (key === this.#spoken) return;
    this.#spoken = key;
    announce(`${batchWord(status)}: ${processed_hospitals.toLocaleString("en")} of ${count(total_hospitals, "row")} created.`);
  }

  async #correct(row) {
    const saved = await correct(row, (values) => api.correct(this.#id, row.row, values));
    if (!saved || this.#closing.signal.aborted) return;
    announce(`Row ${row.row} is corrected. Resume the batch to send it.`);
    this.#follow();
    this.#actions.focusOnceShown("resume");
  }

  #blank() {
    byId("state").hidden = true;
    byId("rows-section").hidden = true;
    write(byId("batch-heading"), `Batch ${this.#id.slice(0, 8)}`);
    byId("batch-about").replaceChildren("Asking the service …");
  }

  #refused(problem) {
    if (problem.status === 404) this.#leave("No such batch", problem.message);
    else this.#actions.tell(problem.message);
  }

  /** Show that the batch is no more, and stop. */
  #leave(heading, message) {
    this.close();
    clearVerification();
    this.#blank();
    write(byId("batch-heading"), heading);
    write(byId("batch-about"), message);
    announce(`${heading}. ${message}`);
    byId("batch-heading").focus();
  }
}

const about = ({ owner, resume_count }) =>
  `${owner ? ` by ${owner}` : ""}${resume_count ? `, resumed ${count(resume_count, "time")}` : ""} · `;

/** Return what to know about the state, in a sentence or two. */
function reason({ status, failure_reason, current_step, failed_hospitals }) {
  switch (status) {
    case "completed":
      return failed_hospitals
        ? `${count(failed_hospitals, "row")} of the file stayed out, each with its reason below; every other row is in the directory, once, active.`
        : "Every row is in the directory, once, active.";
    case "resumable":
      return `${failure_reason ?? ""} Nothing is lost: a resume goes on from here, and what the directory has already is not sent again.`;
    case "failed":
      return failure_reason ?? "";
    case "abandoning":
      return [sentence(current_step), failure_reason].filter(Boolean).join(". ");
    default:
      return sentence(inLocalTime(current_step));
  }
}

function outlook(left) {
  if (left < 1) return "a moment";
  return `about ${left > HOUR_S ? roughly(left) : duration(Math.ceil(left))}`;
}

function figures(texts) {
  const list = byId("state-figures");
  const names = Object.keys(texts);
  if ([...list.querySelectorAll("dt")].map((term) => term.textContent).join() !== names.join()) {
    list.replaceChildren(...names.map((name) => make("div", {}, make("dt", {}, name), make("dd"))));
  }
  names.forEach((name, index) => write(list.children[index].lastChild, texts[name]));
}
