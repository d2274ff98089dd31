// Every completion in one table, failures first.

function completionsTable(data, pane) {
  const { problems } = data;
  const lower = {
    texts: data.texts.map((text) => text.toLowerCase()),
    problems: problems.prompt.map((prompt, i) => `${problems.id[i]} ${prompt}`.toLowerCase()),
    codes: data.codes.map((code) => code.toLowerCase()),
  };
  const family = (row) => problems.family[data.problem[row]];
  const columns = [
    {
      title: "Problem",
      className: "problem",
      sort: (row) => data.problem[row],
      numeric: true,
      show: (row) => make("span", "", short(problems.prompt[data.problem[row]])),
    },
    {
      title: "Expected",
      className: "num",
      show: (row) => problemAnswer(problems, data.problem[row]),
    },
    {
      title: "Completion",
      className: "completion",
      sort: (row) => data.texts[data.text[row]],
      show: (row) => make("span", "", short(data.texts[data.text[row]]), ...marks(data, row)),
    },
    {
      title: "Verdict",
      className: "verdict",
      sort: (row) => data.outcome[row] * 1000 + data.code[row],
      numeric: true,
      show: (row) => verdict(data, row),
    },
  ];
  if (data.was) {
    columns.push({
      title: "Code before",
      sort: (row) => data.was_codes[data.was[row]],
      show: (row) => make("span", "quiet", data.was_codes[data.was[row]]),
    });
  }
  if (data.reward.some((reward) => reward !== 0 && reward !== 1)) {
    columns.push({
      title: "Reward",
      className: "num",
      numeric: true,
      sort: (row) => data.reward[row],
      show: (row) => number(data.reward[row], 2),
    });
  }
  if (data.stages.length > 1) {
    columns.push({
      title: "When",
      className: "when",
      numeric: true,
      sort: (row) => data.stage[row],
      show: (row) => data.stages[data.stage[row]],
    });
  }
  if (data.logprob.some((value) => value !== null)) {
    columns.push({
      title: "Log-prob.",
      className: "num",
      numeric: true,
      sort: (row) => data.logprob[row],
      show: (row) => number(data.logprob[row], 2),
    });
  }
  columns.push({
    title: "Sample",
    className: "num quiet",
    numeric: true,
    sort: (row) => data.sample[row],
    show: (row) => String(data.sample[row]),
  });

  const filters = [
    {
      name: "outcome",
      label: "Any outcome",
      options: options(data.outcomes, data.outcome, (name) => OUTCOME_WORDS[name]),
      test: (row, value) => data.outcomes[data.outcome[row]] === value,
    },
    {
      name: "code",
      label: "Any code",
      options: options(data.codes, data.code),
      test: (row, value) => data.codes[data.code[row]] === value,
    },
  ];
  if (data.families.length) {
    filters.push({
      name: "family",
      label: "Any family",
      options: options(data.families, data.problem.map((_, row) => family(row))),
      test: (row, value) => data.families[family(row)] === value,
    });
  }
  if (data.stages.length > 1) {
    filters.push({
      name: "stage",
      label: "Any time",
      options: data.stages.map((stage) => [stage, stage]),
      test: (row, value) => data.stages[data.stage[row]] === value,
      start: data.stages.includes("after") ? "after" : "",
    });
  }
  if (data.rules.length) {
    filters.push({
      name: "picked",
      label: "Picked or not",
      options: data.rules.map((rule) => [rule, `picked by ${rule}`]),
      test: (row, value) => pickedBy(data, row).includes(value),
    });
  }
  if (data.change) {
    filters.push({
      name: "change",
      label: "Changed or not",
      options: options(data.directions, data.change, (name) => CHANGE_WORDS[name]),
      test: (row, value) => data.directions[data.change[row]] === value,
    });
  }
  return makeTable({
    pane,
    name: "completions",
    noun: "completions",
    rows: data.problem.map((_, row) => row),
    columns,
    filters,
    text: (row) =>
      `${lower.texts[data.text[row]]}\n${lower.problems[data.problem[row]]}\n${lower.codes[data.code[row]]}`,
    detail: (row) => completionDetail(data, row),
  });
}

function problemAnswer(problems, problem) {
  return make("span", "expected", problems.expected[problem]);
}

function completionDetail(data, row) {
  const problem = data.problem[row];
  const list = make("dl", "facts");
  const add = (name, value) => list.append(make("dt", "", name), make("dd", "", value));
  add("problem", shown(data.problems.prompt[problem], { breaks: true }));
  add("expected", data.problems.expected[problem]);
  add("completion", shown(data.texts[data.text[row]], { breaks: true }));
  add("verdict", verdict(data, row));
  add("reward", String(data.reward[row]));
  if (data.logprob[row] !== null) add("log-probability", `${number(data.logprob[row], 3)} nats`);
  if (data.tokens[row] !== null) add("tokens", String(data.tokens[row]));
  add("id", `${data.problems.id[problem]}, sample ${data.sample[row]}`);
  return list;
}
