// Words for what the program says in codes: decisions, states, times, figures. No value is rounded into a certainty.

/** Why a reading stands where it stands in the worklist, by attention rank. */
export const RANKS = [
  [100, "present", "Finding present", "At or over the operating point: look at these first."],
  [200, "failed", "Could not be read", "Something broke: nothing is known about these studies."],
  [300, "not_evaluated", "Not evaluated", "Outside of what the model may read: nobody has looked yet."],
  [400, "absent", "Finding absent", "Under the operating point; not signed yet."],
  [900, "signed", "Signed", "A clinician has signed these."],
];

/** The rank's row: number, code, title, sentence. */
export function rank(number) {
  return RANKS.find(([known]) => known === number) || [number, "other", "Other", ""];
}

/** A mark for a state: shape and word, so that no colour has to be seen. */
export const MARKS = { present: "▲", failed: "✕", not_evaluated: "◇", absent: "○", signed: "✓", undetermined: "◐" };

/** The word for a decision. */
export const DECISIONS = { present: "present", absent: "absent", undetermined: "undetermined" };

/** A probability in two digits; rounding makes no certainty of one that is none. */
export function probability(value) {
  if (typeof value !== "number") return "–";
  if (value >= 0.995) return "over 0.99";
  if (value < 0.005) return "under 0.01";
  return value.toFixed(2);
}

/** A share as percent with one decimal. */
export function percent(value) {
  const number = Number(value);
  return Number.isFinite(number) && value !== null && value !== "" ? `${(number * 100).toFixed(1)} %` : "–";
}

/** "98.4 % (95 % interval 96.3 % to 99.3 %)". */
export function withInterval(value, interval) {
  if (!interval) return `${percent(value)} (no interval)`;
  return `${percent(value)} (95 % interval ${percent(interval.low)} to ${percent(interval.high)})`;
}

/** A figure with fixed decimals and its interval: "0.991 (0.985 to 0.997)". */
export function figure(value, interval, decimals = 3) {
  const text = (number) => Number(number).toFixed(decimals);
  return interval ? `${text(value)} (${text(interval.low)} to ${text(interval.high)})` : text(value);
}

const DAY = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "2-digit" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A moment, on this machine's clock. */
export function moment(when) {
  const time = new Date(when);
  if (!when || Number.isNaN(time.getTime())) return "–";
  return `${DAY.format(time)} ${CLOCK.format(time)}`;
}

/** A moment, short: the clock alone where it was today. */
export function shortMoment(when) {
  const time = new Date(when);
  if (!when || Number.isNaN(time.getTime())) return "–";
  const today = new Date().toDateString() === time.toDateString();
  return today ? CLOCK.format(time) : DAY.format(time);
}

/** The exact moment, for a title. */
export function exact(when) {
  const time = new Date(when);
  return Number.isNaN(time.getTime()) ? "" : time.toISOString();
}

/** A DICOM date (20240131) or an ISO date, as people write it. */
export function day(text) {
  if (!text) return "–";
  const digits = /^(\d{4})-?(\d{2})-?(\d{2})/.exec(text);
  return digits ? `${digits[1]}-${digits[2]}-${digits[3]}` : text;
}

/** An age in years, in words: below two years in months. */
export function age(years) {
  if (typeof years !== "number" || !Number.isFinite(years)) return "";
  if (years < 2) return `${count(Math.floor(years * 12 + 1e-9), "month")}`;
  return count(Math.floor(years + 1e-9), "year");
}

const SEXES = { M: "male", F: "female", O: "other" };

/** A DICOM sex in words. */
export const sex = (code) => SEXES[code] || code || "";

/** A DICOM person name: family, given. */
export function person(name) {
  if (!name) return "no name";
  const [family, given, middle] = name.split("=")[0].split("^");
  const rest = [given, middle].filter(Boolean).join(" ");
  return rest ? `${family}, ${rest}` : family;
}

/** A number of things. */
export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** A code as words: `not_evaluated` becomes "not evaluated". */
export const plain = (code) => String(code ?? "").replaceAll("_", " ");
