// Unpacks the page, shows the tables and connects the counts above to their filters.

async function start() {
  const began = performance.now();
  const loading = document.getElementById("loading");
  if (typeof DecompressionStream === "undefined") {
    loading.textContent = "This browser is too old to unpack the completions (no DecompressionStream).";
    return;
  }
  const [library, rows] = await Promise.all([unpacked("library"), unpacked("rows")]);
  runScript(library);
  const data = JSON.parse(rows);
  const panes = ["completions", "problems"].map((name) => ({
    name,
    tab: document.getElementById(`tab-${name}`),
    pane: document.getElementById(`${name}-pane`),
  }));
  const tables = { completions: completionsTable(data, panes[0].pane) };

  function open(wanted) {
    for (const { name, tab, pane } of panes) {
      pane.hidden = name !== wanted;
      tab.setAttribute("aria-selected", String(name === wanted));
    }
    if (wanted === "problems" && !tables.problems) tables.problems = problemsTable(data, panes[1].pane);
  }
  for (const { name, tab } of panes) tab.addEventListener("click", () => open(name));

  const facets = [...document.querySelectorAll("[data-facet]")];
  const mark = () => {
    for (const element of facets) {
      const chosen = tables.completions.chosen(element.dataset.facet) === element.dataset.value;
      element.setAttribute("aria-pressed", String(chosen));
    }
  };
  for (const element of facets) {
    const choose = () => {
      open("completions");
      if (tables.completions.filterBy(element.dataset.facet, element.dataset.value)) {
        document.getElementById("explorer").scrollIntoView({ behavior: "smooth" });
      }
    };
    element.addEventListener("click", choose);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && element.tagName !== "BUTTON") choose();
    });
  }
  tables.completions.onChange(mark);
  mark();
  const several = data.problem.length > data.problems.id.length;
  document.querySelector("nav[role=tablist]").hidden = !several;
  open("completions");
  loading.remove();
  document.documentElement.dataset.ready = String(Math.round(performance.now() - began));
}

start().catch((error) => {
  document.getElementById("loading").textContent = `The completions cannot be shown: ${error}`;
  document.documentElement.dataset.failed = String(error);
});
