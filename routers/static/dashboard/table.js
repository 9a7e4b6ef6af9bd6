// Tables that stay tables for a screen reader when a narrow screen shows their rows as cards.

import { make } from "./dom.js";

/**
 * Return a table; `body` is where its rows go.
 *
 * The roles are written out, since not every browser keeps them without `display: table`.
 */
export function table(label, columns) {
  const heads = columns.map((column) => make("th", { scope: "col", role: "columnheader" }, column));
  const body = make("tbody", { role: "rowgroup" });
  const element = make(
    "table",
    { role: "table", aria: { label } },
    make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
    body,
  );
  return { element, body, columns };
}

/** Return a row of a table: one list of contents for each column. */
export function line({ columns }, ...contents) {
  const cells = contents.map((content, index) => cell(columns[index], content));
  return make("tr", { role: "row" }, ...cells);
}

function cell(column, content) {
  const parts = [content].flat().filter((part) => part !== null && part !== "");
  const elements = parts.map((part) => (part instanceof Node ? part : make("span", {}, part)));
  return make("td", { role: "cell", data: { label: column } }, ...elements);
}

/** Return a status as a word on a colour. */
export const badge = (word, tone) => make("span", { className: "badge", data: { tone } }, word);
