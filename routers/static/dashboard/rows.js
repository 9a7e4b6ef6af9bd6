// The rows of a batch: a filter, and no more of them in the page than a person would read.

import { announce, arrange, byId, make, write } from "./dom.js";
import { badge, line, table } from "./table.js";
import { count, duration, rowTone, rowWord, sentence } from "./words.js";

const SHOWN = 200;
const DONE = new Set(["created", "created_and_activated"]);
const FILTERS = {
  all: ["All", () => true],
  open: ["Open", ({ status }) => status !== "failed" && !DONE.has(status)],
  failed: ["Failed", ({ status }) => status === "failed"],
};

/** The rows of one batch, in the page. `onCorrect(row)` is called when one is to be corrected. */
export class Rows {
  #all = [];
  #chosen = null;
  #filter = "all";
  #lines = new Map();
  #found = table("Rows", ["Row", "Hospital", "Status", "Id", "Time", "Note"]);
  #onCorrect;

  constructor(onCorrect) {
    this.#onCorrect = onCorrect;
    byId("rows").replaceChildren(this.#found.element);
    byId("rows-filter").replaceChildren(...Object.keys(FILTERS).map((name) => this.#button(name)));
  }

  /** Take every row, or, with `isWhole` false, those that changed. */
  take(rows, isWhole) {
    if (isWhole) this.#all = rows;
    else for (const row of rows) this.#all[row.row - 1] = row;
  }

  /** Show them; when nothing but failed ones is left to do, those, unless others were chosen. */
  render(hasEnded) {
    const has = (name) => this.#all.some(FILTERS[name][1]);
    this.#filter = this.#chosen ?? (hasEnded && has("failed") && !has("open") ? "failed" : "all");
    const chosen = this.#all.filter(FILTERS[this.#filter][1]);
    const before = this.#lines;
    this.#lines = new Map(chosen.slice(0, SHOWN).map((row) => [row.row, this.#line(row, before)]));
    arrange(this.#found.body, [...this.#lines.values()].map(({ element }) => element));
    this.#found.element.hidden = chosen.length === 0;
    write(byId("rows-note"), note(chosen.length, this.#filter));
    for (const button of byId("rows-filter").children) this.#mark(button);
  }

  #button(name) {
    const onclick = () => {
      this.#chosen = name;
      this.render();
      announce(`${count(this.#found.body.children.length, "row")} shown.`);
    };
    return make("button", { type: "button", data: { name }, onclick });
  }

  #mark(button) {
    const [word, belongs] = FILTERS[button.dataset.name];
    write(button, `${word} ${this.#all.filter(belongs).length.toLocaleString("en")}`);
    button.ariaPressed = String(button.dataset.name === this.#filter);
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
    const hadFocus = there.element.contains(document.activeElement);
    there.element.replaceChildren(...cells.children);
    if (hadFocus) there.element.querySelector("button")?.focus();
    return { row, element: there.element };
  }

  #correctButton(row) {
    const label = `Correct row ${row.row}, ${row.name}`;
    const onclick = () => this.#onCorrect(row);
    return make("button", { type: "button", className: "quiet small", aria: { label }, onclick }, "Correct");
  }
}

function note(found, filter) {
  if (found > SHOWN) return `The first ${SHOWN} of ${count(found, "row")} are shown; the report has all.`;
  if (found) return "";
  return { all: "", open: "No row is open.", failed: "No row has failed." }[filter];
}
