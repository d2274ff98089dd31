// One table with a search field and filters over rows that stay in columns; only the rows
// of the visible page become elements.

// columns: {title, className, sort(row), show(row)}; filters: {name, label, options, test(row,
// value)}; options are pairs [value, words]; text(row): what is searched, in lower case.
function makeTable({ pane, name, rows, columns, filters, text, detail, order, noun }) {
  const search = make("input", "search");
  search.type = "search";
  search.placeholder = "Search";
  search.setAttribute("aria-label", `Search ${noun}`);
  const selects = new Map();
  const bar = make("div", "filters", search);
  for (const filter of filters) {
    const select = make("select");
    select.dataset.filter = filter.name;
    select.setAttribute("aria-label", filter.label);
    for (const [value, words] of [["", filter.label], ...filter.options]) {
      const option = make("option", "", words);
      option.value = value;
      select.append(option);
    }
    select.value = filter.start ?? "";
    selects.set(filter.name, select);
    bar.append(select);
  }
  const reset = make("button", "reset", "Show all");
  const status = make("span", "status");
  status.setAttribute("aria-live", "polite");
  bar.append(reset, status);
  const element = make("table", "rows");
  element.id = name;
  pane.append(bar, element);

  let words = [];
  let active = [];
  const keep = (row) =>
    active.every(([filter, value]) => filter.test(row, value)) &&
    (words.length === 0 || words.every((word) => text(row).includes(word)));

  const table = window.threeloopsTables(element).DataTable({
    data: rows.map((row) => [row]),
    columns: columns.map((column) => ({
      title: column.title,
      className: column.className,
      type: column.numeric ? "num" : "string",
      orderable: Boolean(column.sort),
      searchable: false,
      data: (source, type) => (type === "display" ? column.show(source[0]) : sortable(column, source[0])),
    })),
    autoWidth: false,
    order: order ?? [],
    pageLength: 25,
    lengthMenu: [25, 100, 500],
    layout: { topStart: null, topEnd: null, bottomStart: "pageLength", bottomEnd: "paging" },
    language: { zeroRecords: "Nothing fits; leave a filter out.", lengthMenu: "_MENU_ a page" },
  });
  table.search.fixed("ours", (_, source) => keep(source[0]));

  function apply() {
    words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    active = filters
      .map((filter) => [filter, selects.get(filter.name).value])
      .filter(([, value]) => value !== "");
    table.draw();
    const found = table.page.info().recordsDisplay;
    status.textContent = `${found.toLocaleString("en")} of ${rows.length.toLocaleString("en")} ${noun}`;
    reset.disabled = !words.length && !active.length;
  }

  let waiting;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(apply, rows.length > 5000 ? 200 : 60);
  });
  for (const select of selects.values()) select.addEventListener("change", apply);
  reset.addEventListener("click", () => {
    search.value = "";
    for (const select of selects.values()) select.value = "";
    apply();
  });
  element.addEventListener("click", (event) => {
    const line = event.target.closest("tbody tr");
    const row = line && table.row(line);
    if (!row || !row.any() || window.getSelection().toString()) return;
    const open = row.child.isShown();
    if (open) row.child.hide();
    else row.child(detail(row.data()[0]), "detail").show();
    line.classList.toggle("open", !open);
  });
  apply();

  return {
    filterBy(filter, value) {
      const select = selects.get(filter);
      if (!select || ![...select.options].some((option) => option.value === value)) return false;
      select.value = select.value === value ? "" : value;
      apply();
      return true;
    },
    chosen: (filter) => selects.get(filter)?.value ?? "",
    onChange: (listen) => table.on("draw", listen),
  };
}

function sortable(column, row) {
  return column.sort ? column.sort(row) ?? (column.numeric ? -Infinity : "") : "";
}

// The options of a filter over places in a list, those that occur.
function options(names, places, words = (name) => name) {
  const counts = new Map();
  for (const place of places) if (place !== null) counts.set(place, (counts.get(place) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([place, count]) => [names[place], `${words(names[place])} (${count.toLocaleString("en")})`]);
}
