// Which page of a table is shown, and the way to another one.

import { byId, whileBusy, write } from "./dom.js";
import { PAGE_ROWS, startOfPage } from "./excerpt.js";

const WORDS = { all: "Rows", failed: "Failed rows" };
const TO = {
  first: () => 0,
  previous: ({ offset }) => Math.max(offset - PAGE_ROWS, 0),
  next: ({ offset, selected }) => Math.min(offset + PAGE_ROWS, lastPage(selected)),
  last: ({ selected }) => lastPage(selected),
};

/** The pager of one batch. */
export class Pager {
  #shown = null;

  /** @param on `turn(offset)` and `jump(row)`; both return a promise */
  constructor(on) {
    this.hidden = true;
    for (const name of Object.keys(TO)) {
      const button = byId(`pager-${name}`);
      button.onclick = () => this.#leads(name) && whileBusy(button, () => on.turn(TO[name](this.#shown)));
    }
    byId("pager-form").onsubmit = (event) => {
      event.preventDefault();
      whileBusy(byId("pager-go"), () => on.jump(byId("pager-row").valueAsNumber));
    };
    byId("pager-form").reset();
  }

  set hidden(isHidden) {
    byId("pager").hidden = isHidden;
  }

  /** Show the page of the `selected` rows that begins after `offset` of them. */
  render(shown) {
    this.#shown = shown;
    write(byId("pager-place"), this.place);
    byId("pager-row").max = shown.total;
    // Not `disabled`: who pressed it on the way to the last page would lose the place in the page.
    for (const name of Object.keys(TO)) byId(`pager-${name}`).ariaDisabled = String(!this.#leads(name));
  }

  /** What is shown, in words. */
  get place() {
    const { filter, offset, selected } = this.#shown;
    const last = Math.min(offset + PAGE_ROWS, selected);
    const numbers = [Math.min(offset + 1, last), last, selected].map((number) => number.toLocaleString("en"));
    return `${WORDS[filter]} ${numbers[0]} to ${numbers[1]} of ${numbers[2]}`;
  }

  #leads(name) {
    return this.#shown !== null && TO[name](this.#shown) !== this.#shown.offset;
  }
}

const lastPage = (selected) => (selected ? startOfPage(selected) : 0);
