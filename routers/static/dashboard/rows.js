// The rows of a batch: a filter, and no more of them in the page than a person would read.

import { announce, arrange, byId, make, whileBusy, write } from "./dom.js";
import { Excerpt, PAGE_ROWS, startOfPage } from "./excerpt.js";
import { Pager } from "./pager.js";
import { badge, line, table } from "./table.js";
import { count, duration, rowTone, rowWord, sentence } from "./words.js";

const DONE = new Set(["created", "created_and_activated"]);
const openRows = ({ total_hospitals, processed_hospitals, failed_hospitals }) =>
  total_hospitals - processed_hospitals - failed_hospitals;
const FILTERS = {
  all: { word: "All", none: "", has: () => true, number: (progress) => progress.total_hospitals },
  open: {
    word: "Open",
    none: "No row is open.",
    has: ({ status }) => status !== "failed" && !DONE.has(status),
    number: openRows,
  },
  failed: {
    word: "Failed",
    none: "No row has failed.",
    has: ({ status }) => status === "failed",
    number: (progress) => progress.failed_hospitals,
  },
};
const PAGED = ["all", "failed"]; // what the service selects; the rows of a short file are all here

/** The rows of one batch, in the page. */
export class Rows {
  #on;
  #chosen;
  #first;
  #closed;
  #filter = "all";
  #progress = null;
  #excerpt = null;
  #lines = new Map();
  #found = table("Rows", ["Row", "Hospital", "Status", "Id", "Time", "Note"]);
  #pager = new Pager({ turn: (offset) => this.#turn(this.#filter, offset), jump: (row) => this.#jump(row) });

  /**
   * @param on `ask(page, signal)` and `refused(problem)` as an Excerpt needs them, `correct(row)`
   *   when a row is to be corrected, and `moved(filter, first)` when somebody turned to a page
   * @param place the filter and the first row that the address says, if it says any
   * @param closed the rows are no longer shown
   */
  constructor(on, [filter, first = 1], closed) {
    this.#on = on;
    this.#chosen = PAGED.includes(filter) ? filter : null;
    this.#first = this.#chosen ? Math.max(Number(first) || 1, 1) : 1;
    this.#closed = closed;
    byId("rows").replaceChildren(this.#found.element);
    byId("rows-filter").replaceChildren(...Object.keys(FILTERS).map((name) => this.#button(name)));
  }

  /** Take an event: the first rows of the file, or, with `isWhole` false, those that changed. */
  take(progress, isWhole) {
    const before = this.#filter;
    this.#progress = progress;
    this.#filter = this.#chosen ?? usual(progress);
    if (this.#excerpt === null) this.#open();
    else if (this.#isLong && this.#filter !== before) this.#excerpt.go({ filter: this.#filter, offset: 0 });
    this.#excerpt.take(progress, isWhole);
  }

  /** Show them. */
  render() {
    const { rows, filter, offset, selected } = this.#excerpt;
    const { has, none } = FILTERS[this.#isLong ? filter : this.#filter];
    const chosen = rows?.filter(has) ?? [];
    const before = this.#lines;
    this.#lines = new Map(chosen.map((row) => [row.row, this.#line(row, before)]));
    arrange(this.#found.body, [...this.#lines.values()].map(({ element }) => element));
    this.#found.element.hidden = chosen.length === 0;
    write(byId("rows-note"), rows === null ? "Asking the service …" : chosen.length ? "" : none);
    for (const button of byId("rows-filter").children) this.#mark(button);
    this.#pager.hidden = !this.#isLong;
    if (this.#isLong) this.#pager.render({ filter, offset, selected, total: this.#progress.total_hospitals });
  }

  get #isLong() {
    return this.#progress.total_hospitals > PAGE_ROWS;
  }

  #open() {
    const offset = startOfPage(Math.min(this.#first, this.#progress.total_hospitals));
    // All rows of a short file are here: what is shown of them needs no asking.
    const page = this.#isLong ? { filter: this.#filter, offset } : { filter: "all", offset: 0 };
    this.#excerpt = new Excerpt({ ...this.#on, changed: () => this.render() }, page, this.#closed);
  }

  #button(name) {
    const button = make("button", { type: "button", data: { name } });
    button.onclick = () => whileBusy(button, () => this.#choose(name));
    return button;
  }

  async #choose(name) {
    if (this.#isLong) {
      await this.#turn(name, 0);
      return;
    }
    this.#chosen = this.#filter = name;
    this.render();
    announce(`${count(this.#found.body.children.length, "row")} shown.`);
  }

  /** Show another page. */
  async #turn(filter, offset) {
    this.#chosen = this.#filter = filter;
    this.#on.moved(filter, offset + 1);
    await this.#excerpt.go({ filter, offset });
    if (this.#closed.aborted) return;
    announce(this.#pager.place);
    if (byId("rows-section").getBoundingClientRect().top < 0) byId("rows-section").scrollIntoView();
  }

  /** Show the page that a row is on, and lead there. */
  async #jump(number) {
    await this.#turn("all", startOfPage(number));
    const row = this.#lines.get(number)?.element;
    if (!row || this.#closed.aborted) return;
    row.tabIndex = -1;
    row.focus();
  }

  #mark(button) {
    const { name } = button.dataset;
    const { word, number } = FILTERS[name];
    write(button, `${word} ${number(this.#progress).toLocaleString("en")}`);
    button.ariaPressed = String(name === this.#filter);
    button.hidden = this.#isLong && !PAGED.includes(name);
  }

  /** Return the line of a row: the one that is there, unless the row has changed. */
  #line(row, before) {
    const there = before.get(row.row);
    if (there?.row === row) return there;
    const cells = line(
      this.#found,
      row.row,
      row.name,
      badge(rowWord(row.status), rowTone(row.status)),
      row.hospital_id ?? "",
      row.processing_time === null ? "" : duration(row.processing_time),
      [sentence(row.error_message ?? ""), row.to_correct ? this.#correctButton(row) : null],
    );
    if (!there) return { row, element: cells };
    const hadFocus = there.element.querySelector(":focus") !== null;
    there.element.replaceChildren(...cells.children);
    if (hadFocus) there.element.querySelector("button")?.focus();
    return { row, element: there.element };
  }

  #correctButton(row) {
    const label = `Correct row ${row.row}, ${row.name}`;
    const onclick = () => this.#on.correct(row);
    return make("button", { type: "button", className: "quiet small", aria: { label }, onclick }, "Correct");
  }
}

/** Return the filter that nobody chose: the failed rows when they are all that is left to do. */
const usual = (progress) =>
  progress.is_completed && progress.failed_hospitals && !openRows(progress) ? "failed" : "all";
