// What a comparison of the directory with the file found.

import { announce, byId, make, timeOf } from "./dom.js";
import { badge, line, table } from "./table.js";
import { count } from "./words.js";

const SHOWN = 200;
const KINDS = { missing: "Missing", surplus: "Surplus", inactive: "Inactive" };
const TO_COMPLETE = { resumable: "resume it", failed: "correct the failed rows, then resume it" };

const panel = byId("verification");

/** Show a result, as of now, for a batch of this status. */
export function showVerification(result, status) {
  const entries = Object.entries(KINDS).flatMap(([kind, word]) => result[kind].map((entry) => ({ word, ...entry })));
  const verdict = result.matches
    ? "The directory has each row of the file, once, active."
    : `${count(entries.length, "difference")} between the directory and the file.`;
  const outlook = status in TO_COMPLETE && ` Created rows are inactive until the batch is completed: ${TO_COMPLETE[status]}.`;
  panel.dataset.tone = result.matches ? "good" : "bad";
  panel.replaceChildren(
    make("h2", { id: "verification-heading" }, "Compared with the directory"),
    make("p", {}, make("strong", {}, verdict), " Looked at ", timeOf(new Date()), "; nothing was changed.", outlook),
  );
  if (entries.length) panel.append(...differences(entries));
  panel.hidden = false;
  announce(verdict);
}

export function clearVerification() {
  panel.hidden = true;
  panel.replaceChildren();
}

function differences(entries) {
  const found = table("Differences", ["What", "Row", "Id", "Hospital"]);
  for (const { word, row, hospital_id, name } of entries.slice(0, SHOWN)) {
    found.body.append(line(found, badge(word, "bad"), row ?? "", hospital_id ?? "", name));
  }
  const more = entries.length > SHOWN ? [make("p", {}, `The first ${SHOWN} are shown.`)] : [];
  return [found.element, ...more];
}
