// Turns what the page carries into text and objects; it loads nothing.

async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// The policy of the page allows this script by its digest, and no other.
function runScript(text) {
  const element = document.createElement("script");
  element.textContent = text;
  document.head.append(element);
}

// The rows of each problem, stage by stage in their order, by sample: [problem] -> Map of stage to
// row numbers.
function rowsByProblem(data) {
  const byProblem = data.problems.id.map(() => new Map());
  for (let row = 0; row < data.problem.length; row++) {
    const stages = byProblem[data.problem[row]];
    const of = stages.get(data.stage[row]);
    if (of) of.push(row);
    else stages.set(data.stage[row], [row]);
  }
  return byProblem.map((stages) => {
    for (const rows of stages.values()) rows.sort((a, b) => data.sample[a] - data.sample[b]);
    return new Map([...stages].sort((a, b) => a[0] - b[0]));
  });
}

function isRight(data, row) {
  return data.outcomes[data.outcome[row]] === "correct";
}

function share(data, rows) {
  return rows.filter((row) => isRight(data, row)).length / rows.length;
}

function pickedBy(data, row) {
  const marks = data.picked ? data.picked[row] : 0;
  return data.rules.filter((_, place) => marks & (1 << place));
}
