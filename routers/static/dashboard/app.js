// Which view is shown: the address says it, so that links and the back button work. It is empty, or
// a batch's id, or with it a page of the rows: `#<id>/failed/101`.

import { BatchView } from "./batch.js";
import { hideBatches, showBatches } from "./batches.js";
import { byId } from "./dom.js";
import { forgetFile, takeFiles } from "./upload.js";

let view = null;

takeFiles(({ batch_id }) => {
  forgetFile();
  location.hash = batch_id;
});
addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
  byId(view ? "batch-heading" : "load-heading").focus();
});
show();

function show() {
  const [id, ...place] = location.hash.slice(1).split("/");
  view?.close();
  view = id ? new BatchView(id, place) : null;
  byId("home").hidden = Boolean(id);
  byId("batch").hidden = !id;
  if (id) hideBatches();
  else showBatches();
}
