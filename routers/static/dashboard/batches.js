// The batches of before, newest first, kept fresh while they are shown.

import { batches, Problem } from "./api.js";
import { askedToWait, backoff, heard, lost, patience } from "./connection.js";
import { announce, arrange, byId, dateOf, make, write } from "./dom.js";
import { keyInTime } from "./key.js";
import { badge, line, table } from "./table.js";
import { batchStatuses, batchTone, batchWord, count } from "./words.js";

const PAGE = 20;
const MOST_AT_ONCE = 100; // what the service gives in one answer; a longer list is not refreshed
const REFRESH_MS = 5_000;

const found = table("Batches", ["File", "Status", "Rows", "Uploaded"]);
const filter = byId("batches-filter");
const more = byId("batches-more");
let shown = [];
let cursor = null;
let lines = new Map();
let fresh = new AbortController();

byId("batches").append(found.element);
filter.append(
  make("option", { value: "" }, "all"),
  make("option", { value: "resumable,failed" }, "stopped or failed"),
  ...batchStatuses.map((status) => make("option", { value: status }, batchWord(status).toLowerCase())),
);
filter.addEventListener("change", showBatches);
more.addEventListener("click", showMore);

/** Show the list, and keep it fresh until `hideBatches`. */
export async function showBatches() {
  hideBatches();
  fresh = new AbortController();
  const { signal } = fresh;
  shown = [];
  let failures = 0;
  while (!signal.aborted) {
    failures = (await refresh(signal)) ? 0 : failures + 1;
    await patience(failures ? backoff(failures) : REFRESH_MS, signal);
  }
}

export function hideBatches() {
  fresh.abort();
}

const chosen = () => filter.value.split(",").filter(Boolean);

/** Ask for what is shown once more; false if the service did not answer. */
async function refresh(signal) {
  if (document.hidden || shown.length > MOST_AT_ONCE) return true;
  return answered(async () => {
    const limit = Math.max(PAGE, shown.length);
    const page = await batches({ statuses: chosen(), limit }, signal);
    if (signal.aborted) return;
    shown = page.batches;
    cursor = page.next_cursor;
    render();
  });
}

async function showMore() {
  const { signal } = fresh;
  const before = shown.length;
  await answered(async () => {
    const page = await batches({ statuses: chosen(), limit: PAGE, cursor }, signal);
    if (signal.aborted) return;
    shown = [...shown, ...page.batches];
    cursor = page.next_cursor;
    render();
    announce(`${count(shown.length, "batch", "batches")} shown.`);
    found.body.children[before]?.querySelector("a").focus();
  });
}

async function answered(work) {
  const { signal } = fresh;
  try {
    await work();
    if (!signal.aborted) heard();
    return true;
  } catch (error) {
    if (signal.aborted) return true;
    if (!(error instanceof Problem) || error.status >= 500) {
      lost();
      return false;
    }
    if (error.status === 401) {
      write(byId("batches-note"), "They are shown once the service has a key from you.");
      await keyInTime(error.refusedKey, signal);
    } else if (error.status === 429) {
      await askedToWait(error.waitMs, signal);
    } else {
      write(byId("batches-note"), error.message);
      return true;
    }
    return signal.aborted || answered(work);
  }
}

function render() {
  const before = lines;
  lines = new Map(shown.map((batch) => [batch.batch_id, lineOf(batch, before)]));
  arrange(found.body, [...lines.values()].map(({ element }) => element));
  found.element.hidden = shown.length === 0;
  more.hidden = cursor === null;
  write(byId("batches-note"), noteOf());
}

function noteOf() {
  if (shown.length > MOST_AT_ONCE) return "A list as long as this is not refreshed by itself.";
  if (shown.length) return "";
  return filter.value ? "There is no batch of that status." : "There are none yet: load a file, and it stands here.";
}

/** Return the line of a batch: the one that is there, unless something about it has changed. */
function lineOf(batch, before) {
  const state = JSON.stringify(batch);
  const there = before.get(batch.batch_id);
  if (there?.state === state) return there;
  const cells = line(
    found,
    make("a", { href: `#${batch.batch_id}` }, batch.file_name ?? `Batch ${batch.batch_id.slice(0, 8)}`),
    [badge(batchWord(batch.status), batchTone(batch.status)), why(batch)],
    rowsOf(batch),
    [dateOf(batch.created_at), batch.owner && `by ${batch.owner}`],
  );
  if (!there) return { state, element: cells };
  const hadFocus = there.element.contains(document.activeElement);
  there.element.replaceChildren(...cells.children);
  if (hadFocus) there.element.querySelector("a").focus();
  return { state, element: there.element };
}

function why({ failure_reason: reason }) {
  return reason && make("p", { className: "why", title: reason }, reason);
}

function rowsOf({ total_hospitals, processed_hospitals, failed_hospitals }) {
  const [total, done, failed] = [total_hospitals, processed_hospitals, failed_hospitals].map((number) => number.toLocaleString("en"));
  return `${done} of ${total}${failed_hospitals ? `, ${failed} failed` : ""}`;
}
