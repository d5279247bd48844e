// The table that a click on its headers sorts, and what the configs of two runs differ in. page.js comes first.

const ABSENT = "–";

// ---- the table ----

function sortBy(header, column) {
  const table = header.closest("table");
  const rows = [...table.tBodies[0].rows];
  const words = header.dataset.words === "true";
  const before = header.getAttribute("aria-sort");
  // Names begin with a, numbers with the largest; a second click turns it round.
  const descending = before ? before === "ascending" : !words;
  const value = (row) => row.cells[column].dataset.sort;
  rows.sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = words ? a.localeCompare(b, "en", { numeric: true }) : Number(a) - Number(b);
    return descending ? -order : order;
  });
  for (const other of table.tHead.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  table.tBodies[0].append(...rows);
}

function startSorting() {
  const headers = [...byId("scores").tHead.rows[0].cells];
  headers.forEach((header, column) => {
    const button = element("button", { type: "button", class: "sort" });
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(header, column));
  });
}

// ---- two configs ----

function showDifferences(runs) {
  const [one, other] = ["first", "second"].map((id) => runs[byId(id).value]);
  const keys = [...new Set([...Object.keys(one.config), ...Object.keys(other.config)])].sort();
  const of = (run, key) => (Object.hasOwn(run.config, key) ? run.config[key] : ABSENT);
  const differing = keys.filter((key) => of(one, key) !== of(other, key));
  byId("differing").textContent = differing.length
    ? `${counted(differing.length)} of ${counted(keys.length)} keys differ.`
    : `All ${counted(keys.length)} keys are the same.`;
  byId("name-first").textContent = one.name;
  byId("name-second").textContent = other.name;
  byId("differences").hidden = !differing.length;
  byId("differences").tBodies[0].replaceChildren(
    ...differing.map((key) =>
      element(
        "tr", {},
        element("th", { scope: "row" }, key),
        element("td", {}, of(one, key)),
        element("td", {}, of(other, key)),
      ),
    ),
  );
}

async function startDifferences() {
  const runs = await unpack("configs");
  for (const [place, id] of ["first", "second"].entries()) {
    const select = byId(id);
    select.append(...runs.map((run, number) => element("option", { value: number }, run.name)));
    select.value = Math.min(place, runs.length - 1);
    select.addEventListener("change", () => showDifferences(runs));
  }
  showDifferences(runs);
  byId("two").hidden = false;
}

if (byId("scores")) startSorting();
if (byId("two")) {
  startDifferences().catch((error) => {
    byId("configs-trouble").textContent = `The configs cannot be shown in this browser: ${error.message}`;
    byId("configs-trouble").hidden = false;
  });
}
