// A small part of Markdown as elements: headings, paragraphs, lists, tables, code, emphasis, rules. Text stays text;
// links become their words, since the pages lead nowhere but into this program.

import { h } from "./dom.js";

const INLINE = /(`[^`]+`|\*\*[^*]+\*\*|\*[^*\s][^*]*\*|_[^_\s][^_]*_|\[[^\]]+\]\([^)\s]+\))/;

function inline(text) {
  return text.split(INLINE).filter(Boolean).map((part) => {
    if (part.startsWith("`") && part.endsWith("`") && part.length > 2) return h("code", {}, part.slice(1, -1));
    if (part.startsWith("**") && part.endsWith("**") && part.length > 4) return h("strong", {}, part.slice(2, -2));
    if (/^[*_].+[*_]$/.test(part) && part.length > 2) return h("em", {}, part.slice(1, -1));
    const link = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(part);
    return link ? h("span", { title: link[2], class: "link-words" }, link[1]) : part;
  });
}

const cells = (line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
const starts = [/^#{1,6} /, /^\s*[-*] /, /^\s*\d+\. /, /^\|/, /^```/, /^(-{3,}|\*{3,})$/];

/** Blocks of a Markdown text. `level` is added to the depth of its headings. */
export function markdown(text, level = 1) {
  const lines = text.replaceAll("\r", "").split("\n");
  const blocks = [];
  let at = 0;
  const take = (while_) => {
    const taken = [];
    while (at < lines.length && while_(lines[at])) taken.push(lines[at++]);
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = /^(#{1,6}) (.*)$/.exec(line);
    if (!line.trim()) at += 1;
    else if (heading) {
      at += 1;
      blocks.push(h(`h${Math.min(6, heading[1].length + level)}`, {}, inline(heading[2])));
    } else if (line.startsWith("```")) {
      at += 1;
      blocks.push(h("pre", {}, take((next) => !next.startsWith("```")).join("\n")));
      at += 1;
    } else if (/^\|/.test(line)) blocks.push(table(take((next) => /^\|/.test(next))));
    else if (/^\s*[-*] /.test(line)) blocks.push(list("ul", /^\s*[-*] /, take(item(/^\s*[-*] /))));
    else if (/^\s*\d+\. /.test(line)) blocks.push(list("ol", /^\s*\d+\. /, take(item(/^\s*\d+\. /))));
    else if (/^(-{3,}|\*{3,})$/.test(line)) {
      at += 1;
      blocks.push(h("hr"));
    } else {
      const paragraph = [lines[at++], ...take((next) => next.trim() && !starts.some((start) => start.test(next)))];
      blocks.push(h("p", {}, inline(paragraph.join(" "))));
    }
  }
  return blocks;
}

/** Lines of a list: items, and indented lines that go on. */
const item = (mark) => (line) => mark.test(line) || (/^\s+\S/.test(line) && line.trim() !== "");

function list(tag, mark, lines) {
  const items = [];
  for (const line of lines) {
    if (mark.test(line)) items.push(line.replace(mark, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return h(tag, {}, items.map((text) => h("li", {}, inline(text))));
}

function table(lines) {
  const rows = lines.filter((line) => !/^\|[\s:|-]+\|?$/.test(line)).map(cells);
  const [head, ...body] = rows;
  return h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table" }, h("table", {},
    h("thead", {}, h("tr", {}, head.map((cell) => h("th", { scope: "col" }, inline(cell))))),
    h("tbody", {}, body.map((row) => h("tr", {}, row.map((cell) => h("td", {}, inline(cell))))))));
}
