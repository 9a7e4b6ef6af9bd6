// Statuses and numbers in words. Tones are colours; the word always stands beside them.

const BATCH = {
  initializing: ["Starting", "run"],
  validating: ["Checking", "run"],
  processing: ["Loading", "run"],
  activating: ["Activating", "run"],
  completed: ["Completed", "good"],
  resumable: ["Stopped", "stop"],
  failed: ["Failed", "bad"],
  abandoning: ["Being abandoned", "calm"],
};

const ROW = {
  pending: ["Waiting", "calm"],
  processing: ["Being created", "run"],
  verifying: ["Unclear", "stop"],
  created: ["Created", "run"],
  created_and_activated: ["Active", "good"],
  failed: ["Failed", "bad"],
};

export const batchStatuses = Object.keys(BATCH).filter((status) => status !== "validating");

export const batchWord = (status) => (BATCH[status] ?? [status])[0];
export const batchTone = (status) => (BATCH[status] ?? [status, "calm"])[1];
export const rowWord = (status) => (ROW[status] ?? [status])[0];
export const rowTone = (status) => (ROW[status] ?? [status, "calm"])[1];

/** Return "1 row" or "1,223 rows". */
export const count = (number, noun, plural = `${noun}s`) =>
  `${number.toLocaleString("en")} ${number === 1 ? noun : plural}`;

/** Return a text with a capital letter in front. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Return a text of the service with its times of day, "18:20:39 UTC", in the reader's own time. */
export const inLocalTime = (text) => text.replace(/\b(\d\d):(\d\d):(\d\d) UTC\b/g, (_, ...parts) => {
  const time = new Date();
  time.setUTCHours(...parts.slice(0, 3));
  return time.toLocaleTimeString();
});

/** Return a duration in seconds as "0.4 s", "4 s", "3 min 5 s" or "2 h 10 min". */
export function duration(seconds) {
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Return a long duration as "12 minutes" or "3 hours 5 minutes": nobody knows it better. */
export function roughly(seconds) {
  const step = seconds > 3_600 ? 5 : 1;
  const minutes = Math.ceil(seconds / 60 / step) * step;
  const parts = [[Math.floor(minutes / 60), "hour"], [minutes % 60, "minute"]];
  return parts.filter(([number]) => number).map(([number, noun]) => count(number, noun)).join(" ");
}
