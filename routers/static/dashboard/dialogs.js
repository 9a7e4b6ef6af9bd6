// Questions that stand before everything else: whether to do something, and what a row should say.

import { Problem } from "./api.js";
import { byId, make, whileBusy, write } from "./dom.js";
import { sentence } from "./words.js";

const FIELDS = { name: "Name", address: "Address", phone: "Phone (may be empty)" };

/** Ask whether to do something that cannot be undone; resolves to true or false. */
export function confirm({ heading, text, yes, no }) {
  const dialog = byId("question");
  write(byId("question-heading"), heading);
  write(byId("question-text"), text);
  write(byId("question-yes"), yes);
  write(byId("question-no"), no);
  byId("question-yes").onclick = () => dialog.close("yes");
  byId("question-no").onclick = () => dialog.close("no");
  return opened(dialog, byId("question-no"), () => dialog.returnValue === "yes");
}

/**
 * Let a person correct a row; resolves to the row as it was saved, or null.
 *
 * @param save values -> the saved row, or throws; what the service refuses is told at the fields
 */
export function correct(row, save) {
  const dialog = byId("correction");
  write(byId("correction-heading"), `Correct row ${row.row}`);
  write(byId("correction-refusal"), sentence(row.error_message ?? ""));
  write(byId("correction-problem"), "");
  const fields = Object.keys(FIELDS).map((name) => new Field(name, row.to_correct[name]));
  byId("correction-fields").replaceChildren(...fields.map((field) => field.element));
  let saved = null;
  byId("correction-cancel").onclick = () => dialog.close();
  byId("correction-form").onsubmit = (event) => {
    event.preventDefault();
    whileBusy(byId("correction-save"), async () => {
      saved = await submitted(fields, save);
      if (saved) dialog.close();
    });
  };
  return opened(dialog, fields[0].input, () => saved);
}

async function submitted(fields, save) {
  write(byId("correction-problem"), "");
  for (const field of fields) field.accept();
  try {
    return await save(Object.fromEntries(fields.map((field) => [field.name, field.input.value])));
  } catch (error) {
    const told = error instanceof Problem ? error.errors : [];
    for (const field of fields) {
      field.refuse(told.filter(({ column }) => column === field.name).map(({ message }) => message));
    }
    const refused = fields.find((field) => field.isRefused);
    write(byId("correction-problem"), refused ? "" : error.message);
    refused?.input.focus();
    return null;
  }
}

class Field {
  constructor(name, value) {
    this.name = name;
    this.input = make("input", { id: `correction-${name}`, name, value: value ?? "" });
    this.input.type = name === "phone" ? "tel" : "text";
    this.refusal = make("small", { id: `correction-${name}-refusal`, className: "problem" });
    const label = make("label", { htmlFor: this.input.id }, FIELDS[name]);
    this.element = make("div", {}, label, this.input, this.refusal);
  }

  get isRefused() {
    return this.input.ariaInvalid === "true";
  }

  accept() {
    this.refuse([]);
  }

  refuse(messages) {
    write(this.refusal, messages.join(" "));
    if (messages.length) {
      this.input.setAttribute("aria-invalid", "true");
      this.input.setAttribute("aria-describedby", this.refusal.id);
    } else {
      this.input.removeAttribute("aria-invalid");
      this.input.removeAttribute("aria-describedby");
    }
  }
}

/** Show a dialog; the browser gives the focus back to where it came from when it closes. */
function opened(dialog, first, result) {
  dialog.returnValue = "";
  dialog.showModal();
  first.focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(result()), { once: true });
  });
}
