// Each problem with all its answers side by side: samples, picks, and stages of learning.

const EACH_BY_ITSELF = 16;

function problemsTable(data, pane) {
  const { problems } = data;
  const byProblem = rowsByProblem(data);
  const learned = data.stages.length > 1;
  const lower = problems.prompt.map((prompt, i) => {
    const texts = new Set();
    for (const rows of byProblem[i].values()) for (const row of rows) texts.add(data.text[row]);
    const answers = [...texts].map((text) => data.texts[text]).join("\n");
    return `${problems.id[i]} ${prompt}\n${answers}`.toLowerCase();
  });
  const shares = byProblem.map((stages) => [...stages.values()].map((rows) => share(data, rows)));
  const last = (problem) => shares[problem].at(-1);
  const gain = (problem) => last(problem) - shares[problem][0];
  const columns = [
    {
      title: "Problem",
      className: "problem",
      sort: (problem) => problem,
      numeric: true,
      show: (problem) =>
        make(
          "span",
          "",
          short(problems.prompt[problem]),
          make("span", "quiet under", familyAndId(data, problem)),
        ),
    },
    {
      title: "Expected",
      className: "num",
      show: (problem) => problemAnswer(problems, problem),
    },
    {
      title: learned ? "Right, last" : "Right",
      className: "num",
      numeric: true,
      sort: last,
      show: (problem) => percent(last(problem)),
    },
  ];
  if (learned) {
    columns.push({
      title: "Gain",
      className: "num",
      numeric: true,
      sort: gain,
      show: (problem) => make("span", gain(problem) > 0 ? "up" : gain(problem) < 0 ? "down" : "quiet", signed(gain(problem))),
    });
  }
  columns.push({
    title: "Answers",
    className: "answers",
    show: (problem) => strips(data, byProblem[problem]),
  });

  const picks = (problem) =>
    [...byProblem[problem].values()].flat().filter((row) => pickedBy(data, row).length);
  const tests = {
    never: ["never right", (problem) => last(problem) === 0],
    sometimes: ["sometimes right", (problem) => last(problem) > 0 && last(problem) < 1],
    always: ["always right", (problem) => last(problem) === 1],
  };
  if (data.rules.length) {
    tests.disagree = [
      "rules pick right and wrong",
      (problem) => new Set(picks(problem).map((row) => isRight(data, row))).size > 1,
    ];
  }
  if (learned) {
    tests.better = ["better at the end", (problem) => gain(problem) > 0];
    tests.worse = ["worse at the end", (problem) => gain(problem) < 0];
  }
  const filters = [
    {
      name: "show",
      label: "However it went",
      options: Object.entries(tests).map(([name, [words]]) => [name, words]),
      test: (problem, name) => tests[name][1](problem),
    },
  ];
  if (learned) {
    filters.unshift({
      name: "group",
      label: "Measured and trained on",
      start: "measured",
      options: [
        ["measured", "measured before and after"],
        ["trained", "trained on"],
        ["repeated", "trained on in several steps"],
      ],
      test: (problem, group) =>
        group === "measured"
          ? problems.group[problem] === 0
          : problems.group[problem] === 1 &&
            (group === "trained" || byProblem[problem].size > 1),
    });
  }
  if (data.families.length) {
    filters.push({
      name: "family",
      label: "Any family",
      options: options(data.families, problems.family),
      test: (problem, value) => data.families[problems.family[problem]] === value,
    });
  }
  return makeTable({
    pane,
    name: "problems",
    noun: "problems",
    rows: problems.id.map((_, problem) => problem),
    columns,
    filters,
    text: (problem) => lower[problem],
    detail: (problem) => everyAnswer(data, byProblem[problem]),
    order: learned ? [[3, "desc"]] : [],
  });
}

function familyAndId(data, problem) {
  const family = data.problems.family[problem];
  const id = data.problems.id[problem];
  return family === null ? id : `${data.families[family]} · ${id}`;
}

// Only a rate of exactly 0 or 1 is shown as 0 % or 100 %.
function percent(value) {
  const whole = Math.round(100 * value);
  if (whole === 0 && value > 0) return "<1 %";
  return whole === 100 && value < 1 ? ">99 %" : `${whole} %`;
}

// Only no difference at all is shown as 0.
function signed(value) {
  if (value === 0) return "0";
  const points = Math.abs(100 * value);
  const size = points < 0.05 ? "<0.1" : points < 0.95 ? points.toFixed(1) : Math.round(points);
  return `${value > 0 ? "+" : "−"}${size}`;
}

// One line of answers a stage; equal ones are one chip where there are stages, or many samples.
function strips(data, stages) {
  const box = make("div", "strips");
  for (const [stage, rows] of stages) {
    const right = rows.filter((row) => isRight(data, row)).length;
    const line = make("div", "strip");
    if (data.stages.length > 1) line.append(make("span", "stage", data.stages[stage]));
    line.append(make("span", "count", `${right}/${rows.length}`));
    const together = data.stages.length > 1 || rows.length > EACH_BY_ITSELF;
    const groups = together ? grouped(data, rows) : rows.map((row) => [row]);
    const chips = make("div", "chips", ...groups.slice(0, EACH_BY_ITSELF).map((same) => chip(data, same)));
    if (groups.length > EACH_BY_ITSELF) {
      chips.append(make("span", "quiet", `and ${groups.length - EACH_BY_ITSELF} other answers`));
    }
    line.append(chips);
    box.append(line);
  }
  return box;
}

// Rows with the same text and outcome together, the largest group first.
function grouped(data, rows) {
  const groups = new Map();
  for (const row of rows) {
    const key = `${data.text[row]} ${data.outcome[row]}`;
    if (groups.has(key)) groups.get(key).push(row);
    else groups.set(key, [row]);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length);
}

const CHIP = 48;

function chip(data, rows) {
  const [row] = rows;
  const outcome = data.outcomes[data.outcome[row]];
  const text = data.texts[data.text[row]];
  const element = make(
    "span",
    `chip ${outcome}`,
    shown(text.length > CHIP ? `${text.slice(0, CHIP)}…` : text),
    rows.length > 1 ? make("b", "", ` ×${rows.length}`) : null,
  );
  const rules = new Set(rows.flatMap((each) => pickedBy(data, each)));
  for (const rule of rules) element.append(make("span", "mark", rule));
  if (rules.size) element.classList.add("picked");
  element.title = `${OUTCOME_WORDS[outcome]}, ${data.codes[data.code[row]]}`;
  return element;
}

function everyAnswer(data, stages) {
  const body = make("tbody");
  for (const [stage, rows] of stages) {
    for (const row of rows) {
      body.append(
        make(
          "tr",
          "",
          make("td", "quiet", data.stages[stage]),
          make("td", "num quiet", String(data.sample[row])),
          make("td", "completion", shown(data.texts[data.text[row]], { breaks: true }), ...marks(data, row)),
          make("td", "", verdict(data, row)),
          make("td", "num quiet", number(data.logprob[row], 2)),
        ),
      );
    }
  }
  return make("table", "every", body);
}
