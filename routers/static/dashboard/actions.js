// What can be done with a batch, as buttons: which of them there are follows from its status.

import * as api from "./api.js";
import { confirm } from "./dialogs.js";
import { announce, arrange, byId, make, save, whileBusy, write } from "./dom.js";
import { clearVerification, showVerification } from "./verification.js";
import { count } from "./words.js";

const RUNNING = new Set(["initializing", "validating", "processing"]);
const ENDED = new Set(["completed", "resumable", "failed"]);
const ABANDONABLE = new Set(["resumable", "failed", "abandoning"]);

const OFFERED = {
  resume: ({ status }) => status === "resumable",
  cancel: ({ status, current_step }) => RUNNING.has(status) && !current_step.startsWith("cancelled"),
  verify: ({ status }) => ENDED.has(status),
  report: () => true,
  // As a file to mend and load anew: only once nothing can send or delete what is in it any more.
  failed: ({ status, failed_hospitals }) => status === "completed" && failed_hospitals > 0,
  abandon: ({ status }) => ABANDONABLE.has(status),
};

/**
 * The buttons of one batch.
 *
 * @param on `again()` when the batch must be asked about anew, `abandoned(message)`, and
 *   `isClosed()`: whether the batch is no longer shown, so that an answer is nobody's business
 */
export class Actions {
  #id;
  #on;
  #progress = null;
  #wanted = null;
  #buttons;

  constructor(id, on) {
    this.#id = id;
    this.#on = on;
    this.#buttons = {
      resume: this.#button("resume", "Resume", "", () => this.#resume()),
      cancel: this.#button("cancel", "Cancel", "quiet", () => this.#cancel()),
      verify: this.#button("verify", "Verify", "quiet", () => this.#verify()),
      report: this.#button("report", "Download the report", "quiet", () => this.#report(false)),
      failed: this.#button("failed", "Download the failed rows", "quiet", () => this.#report(true)),
      abandon: this.#button("abandon", "Abandon", "danger quiet", () => this.#abandon()),
    };
    this.tell("");
  }

  /** Offer what can be done now. */
  render(progress) {
    const { status } = progress;
    // What was told was about another state; but why an abandonment ended half-way, that stays.
    if (status !== this.#progress?.status && status !== "abandoning") this.tell("");
    this.#progress = progress;
    const offered = Object.keys(OFFERED).filter((name) => this.#isOffered(name));
    const hadFocus = byId("actions").contains(document.activeElement);
    arrange(byId("actions"), offered.map((name) => this.#buttons[name]));
    // The button that was pressed may be gone: who works by keyboard stays where the batch is told.
    if (hadFocus && document.activeElement === document.body) byId("batch-heading").focus();
    if (offered.includes(this.#wanted)) {
      this.#buttons[this.#wanted].focus();
      this.#wanted = null;
    }
  }

  /** Tell what went wrong with an action; an empty text clears it. */
  tell(text) {
    write(byId("action-problem"), text);
  }

  focusOnceShown(name) {
    this.#wanted = name;
  }

  #isOffered(name) {
    return OFFERED[name](this.#progress);
  }

  #button(name, text, className, work) {
    const button = make("button", { type: "button", className }, text);
    button.onclick = () => whileBusy(button, () => this.#attempt(name, work));
    return button;
  }

  async #attempt(name, work) {
    this.tell("");
    try {
      await work();
    } catch (error) {
      if (this.#on.isClosed()) return;
      const isUnknown = error instanceof api.Unreachable;
      if (this.#isOffered(name)) {
        this.tell(isUnknown ? `${error.message} Whether it was done shows once it answers again.` : error.message);
      }
      if (isUnknown || name === "abandon") this.#on.again(); // deletes may have begun
    }
  }

  async #resume() {
    await api.resume(this.#id);
    clearVerification(); // it was about the batch as it stood
    this.#on.again();
  }

  async #cancel() {
    await api.cancel(this.#id);
    announce("Cancelling: the rows under way are finished first.");
  }

  async #verify() {
    const result = await api.verify(this.#id);
    if (!this.#on.isClosed() && this.#isOffered("verify")) showVerification(result, this.#progress.status);
  }

  async #report(onlyFailed) {
    const blob = await api.report(this.#id, onlyFailed);
    save(blob, `hospitals-${this.#id.slice(0, 8)}${onlyFailed ? "-failed" : ""}.csv`);
  }

  async #abandon() {
    const { file_name, processed_hospitals } = this.#progress;
    const isSure = await confirm({
      heading: `Abandon ${file_name ?? "this batch"}?`,
      text: `Its hospitals are deleted in the directory (${count(processed_hospitals, "row")} created so far), and then the batch is forgotten. This cannot be undone.`,
      yes: "Abandon the batch",
      no: "Keep it",
    });
    if (!isSure) return;
    announce("Abandoning: this may take half a minute.");
    const { message } = await api.abandon(this.#id);
    if (!this.#on.isClosed()) this.#on.abandoned(message);
  }
}
