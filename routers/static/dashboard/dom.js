// Elements and text. Data becomes text nodes and properties, never markup.

export const byId = (id) => document.getElementById(id);

/**
 * Return a new element.
 *
 * @param properties of the element; `data`, `aria` and `role` become attributes
 * @param children elements and texts; null and false are left out
 */
export function make(tag, { aria = {}, data = {}, role, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  if (role) element.setAttribute("role", role);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/** Write a text, but leave it alone when it stands there already. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Have `parent` hold `wanted` in that order; what stays is not moved, and keeps the focus. */
export function arrange(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((child, index) => {
    const there = parent.children[index] ?? null;
    if (there !== child) parent.insertBefore(child, there);
  });
}

/** Have a screen reader say something. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Run `work` once at a time for a button, which shows that it is busy. */
export async function whileBusy(button, work) {
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  try {
    await work();
  } finally {
    button.ariaBusy = "false";
  }
}

/** Offer content as a file to keep. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Return a time of day as an element. */
export const timeOf = (date) =>
  make("time", { dateTime: date.toISOString() }, date.toLocaleTimeString());

/** Return a day and time as an element. */
export const dateOf = (text) => {
  const date = new Date(text);
  const shown = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  return make("time", { dateTime: text, title: date.toLocaleString() }, shown);
};
