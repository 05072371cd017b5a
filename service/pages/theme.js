// Dark reading room or light, and single-key shortcuts on or off: what this browser keeps of a reader's habits.
// Nothing of a patient is ever kept here.

const THEME = "vidimus-theme";
const KEYS = "vidimus-single-keys";
const CHOICES = ["auto", "dark", "light"];

function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Keeps a habit, where the browser allows it. */
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch {
    // Without storage each visit starts anew.
  }
}

/** A habit that was kept. */
export const habit = kept;

/** The chosen theme: auto follows the system. */
export function theme() {
  const chosen = kept(THEME);
  return CHOICES.includes(chosen) ? chosen : "auto";
}

/** Applies a theme and keeps it. */
export function setTheme(chosen) {
  keep(THEME, chosen === "auto" ? null : chosen);
  applyTheme();
}

/** Applies the kept theme. */
export function applyTheme() {
  const chosen = theme();
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}

/** Whether one letter alone is a command. */
export const singleKeys = () => kept(KEYS) !== "off";

/** Turns single-key commands on or off. */
export const setSingleKeys = (on) => keep(KEYS, on ? null : "off");
