// Builds elements from text, so that no text of a run is read as HTML.

const OUTCOME_WORDS = {
  correct: "correct",
  wrong_answer: "wrong answer",
  bad_format: "bad format",
  truncated: "truncated",
};
const CHANGE_WORDS = { "": "as before", won: "now right", lost: "no longer right", moved: "same verdict, another reason" };

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

// What was invisible is written as an escape already; here it only gets its colour.
const SPACE = "␠"; // few fonts have it
const ESCAPES = /\\\\|\\n|\\r|\\t|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|␠/g;

function shown(text, { breaks = false } = {}) {
  const element = make("span", "text");
  let from = 0;
  for (const found of text.matchAll(ESCAPES)) {
    element.append(text.slice(from, found.index), make("span", "escape", found[0] === SPACE ? "␣" : found[0]));
    if (breaks && found[0] === "\\n") element.append(make("br"));
    from = found.index + found[0].length;
  }
  element.append(text.slice(from));
  if (text === "") element.append(make("span", "escape", "(empty)"));
  return element;
}

const SHORT = 240;

function short(text) {
  return text.length <= SHORT ? shown(text) : make("span", "", shown(text.slice(0, SHORT)), " …");
}

function verdict(data, row) {
  const outcome = data.outcomes[data.outcome[row]];
  const code = data.codes[data.code[row]];
  return make(
    "span",
    "",
    make("span", `badge ${outcome}`, OUTCOME_WORDS[outcome]),
    make("span", "quiet code", code),
  );
}

function marks(data, row) {
  return pickedBy(data, row).map((rule) => make("span", "mark", rule));
}

function number(value, digits) {
  return value === null ? "" : value.toFixed(digits);
}
