// The prediction browser: filters, search, the list, keys and links.

const ROWS_A_PAGE = 50;

// ---- what is looked for ----

let index = null;
let found = []; // [task, row] of what the filters leave
let page = 0;
let chosen = null; // [task, row] of what is shown
let promptOpen = false; // stays so from one prediction to the next
let search = 0; // counts, so that a slow search gives way to the next
const lowered = new Map(); // task -> texts in lower case

const same = (a, b) => a !== null && b !== null && a[0] === b[0] && a[1] === b[1];
const needle = () => byId("filter-text").value.trim().toLowerCase();
const placeOf = (which) => found.findIndex((pair) => same(pair, which));

function passes(task, row) {
  const { scores, flags } = index.tasks[task];
  const flag = byId("filter-flag").value;
  if (flag === "r" ? flags[row].includes("u") : !flags[row].includes(flag)) return false;
  const low = Number(byId("filter-low").value || 0) * 10;
  const high = Number(byId("filter-high").value || 100) * 10;
  if (scores[row] === null) return low <= 0 && high >= 1000;
  return scores[row] >= low && scores[row] <= high;
}

async function texts(task) {
  if (!lowered.has(task)) {
    const answers = await unpack(`answers-${task}`);
    const { ids } = index.tasks[task];
    lowered.set(task, answers.map((row, at) => `${ids[at]}\n${row.answer}\n${row.reference}`.toLowerCase()));
  }
  return lowered.get(task);
}

async function rowsWithPrompt(task, text) {
  const data = await unpack(`prompts-${task}`);
  data.lowered ??= data.lines.map((line) => line.toLowerCase());
  const hits = new Set();
  data.lowered.forEach((line, at) => line.includes(text) && hits.add(at));
  return new Set(data.prompts.flatMap((lines, row) => (lines.some((line) => hits.has(line)) ? [row] : [])));
}

async function find() {
  const turn = (search += 1);
  const text = needle();
  const only = byId("filter-task").value;
  const left = [];
  for (const task of index.tasks.keys()) {
    if (only !== "" && Number(only) !== task) continue;
    let wanted = null;
    if (text !== "") {
      byId("found").textContent = `Searching ${index.tasks[task].name} …`;
      const own = await texts(task);
      const prompts = byId("filter-prompts").checked ? await rowsWithPrompt(task, text) : new Set();
      if (turn !== search) return false;
      wanted = (row) => own[row].includes(text) || prompts.has(row);
    }
    for (let row = 0; row < index.tasks[task].ids.length; row += 1) {
      if (passes(task, row) && (wanted === null || wanted(row))) left.push([task, row]);
    }
  }
  const order = byId("filter-order").value;
  if (order !== "") {
    const sign = order === "low" ? 1 : -1;
    const last = order === "low" ? Infinity : -Infinity; // without a score: at the end
    const value = ([task, row]) => index.tasks[task].scores[row] ?? last;
    left.sort((a, b) => sign * (value(a) - value(b)) || 0);
  }
  found = left;
  return true;
}

async function filter() {
  if (!(await find())) return;
  const total = index.tasks.reduce((sum, task) => sum + task.ids.length, 0);
  const asked = index.tasks.reduce((sum, task) => sum + task.of, 0);
  const part = asked > total ? ` (of ${counted(asked)}, evenly spaced)` : "";
  byId("found").textContent = `${counted(found.length)} of ${counted(total)} predictions${part}`;
  if (placeOf(chosen) < 0) chosen = found[0] ?? null;
  page = Math.max(0, Math.floor(placeOf(chosen) / ROWS_A_PAGE));
  list();
  await show();
}

// ---- the list ----

const sampleOf = (task, row) => index.tasks[task].samples?.[row] ?? null;
const points = (score) => (score === null ? "–" : (score / 10).toFixed(1));
const link = ([task, row]) => {
  const { name, ids } = index.tasks[task];
  const sample = sampleOf(task, row);
  return `#prediction=${name}/${encodeURIComponent(ids[row])}${sample === null ? "" : `&sample=${sample}`}`;
};

function shortId(task, row) {
  const { name, short, ids } = index.tasks[task];
  const own = ids[row].startsWith(`${name}:`) ? ids[row].slice(name.length + 1) : ids[row];
  return byId("filter-task").value === "" ? `${short}: ${own}` : own;
}

function list() {
  const pages = Math.max(1, Math.ceil(found.length / ROWS_A_PAGE));
  const rows = found.slice(page * ROWS_A_PAGE, (page + 1) * ROWS_A_PAGE).map(([task, row]) => {
    const { ids, scores, flags } = index.tasks[task];
    const told = [flags[row].includes("u") && "not readable", flags[row].includes("l") && "cut"].filter(Boolean);
    const anchor = element("a", { href: link([task, row]), title: ids[row].slice(0, 500) },
      element("span", { class: "id" }, shortId(task, row).slice(0, 200)), " ",
      sampleOf(task, row) === null ? null : element("span", { class: "sample" }, `sample ${sampleOf(task, row)} `),
      element("span", { class: "flag" }, told.join(", ")), " ",
      element("span", { class: "score" }, points(scores[row])));
    if (same([task, row], chosen)) anchor.setAttribute("aria-current", "true");
    return element("li", {}, anchor);
  });
  byId("rows").replaceChildren(...rows);
  byId("rows").start = page * ROWS_A_PAGE + 1;
  byId("page").textContent = `${page + 1} of ${pages}`;
  byId("page-back").disabled = page === 0;
  byId("page-on").disabled = page + 1 >= pages;
}

function turnTo(next) {
  page = next;
  list();
  byId("rows").scrollTop = 0;
}

async function choose(which, focus) {
  chosen = which;
  page = Math.floor(Math.max(0, placeOf(chosen)) / ROWS_A_PAGE);
  list();
  const current = byId("rows").querySelector("[aria-current]");
  if (current !== null) {
    if (focus) current.focus();
    const box = byId("rows");
    const top = current.offsetTop - box.offsetTop;
    if (top < box.scrollTop || top + current.offsetHeight > box.scrollTop + box.clientHeight) {
      box.scrollTop = top - box.clientHeight / 2;
    }
  }
  history.replaceState(null, "", link(chosen));
  await show();
}

function step(by, focus) {
  const next = placeOf(chosen) + by;
  if (next >= 0 && next < found.length) choose(found[next], focus);
}

// ---- start ----

// Where list and prediction stand one above the other, a link leads to the prediction.
function scrollToShown(first) {
  if (matchMedia("(max-width: 800px)").matches) byId("prediction").scrollIntoView();
  else if (first) byId("predictions").scrollIntoView();
}

// #prediction=TASK/ID shows one prediction, or with &sample=N one sample, #predictions=TASK the predictions of a task.
async function follow() {
  const one = location.hash.match(/^#prediction=([^/]+)\/(.*?)(?:&sample=(\d+))?$/s);
  const some = location.hash.match(/^#predictions=(.+)$/s);
  if (one === null && some === null) return false;
  const task = index.tasks.findIndex(({ name }) => name === (one ?? some)[1]);
  if (task < 0) return false;
  if (some !== null) {
    byId("filters").reset();
    byId("filter-task").value = String(task);
    chosen = null;
    await filter();
    byId("predictions").scrollIntoView();
    return true;
  }
  let id = one[2];
  try {
    id = decodeURIComponent(id);
  } catch { /* a % that encodes nothing: taken as it stands */ }
  const sample = one[3] === undefined ? null : Number(one[3]);
  const { ids } = index.tasks[task];
  const row = ids.findIndex((its, at) => its === id && (sample ?? sampleOf(task, at)) === sampleOf(task, at));
  if (row < 0) {
    const which = sample === null ? id : `${id}, sample ${sample},`;
    byId("trouble").textContent = `This page has no prediction ${which} of ${index.tasks[task].name}.`;
    byId("trouble").hidden = false;
    return false;
  }
  byId("trouble").hidden = true;
  const again = same(chosen, [task, row]);
  chosen = [task, row];
  if (placeOf(chosen) < 0) {
    byId("filters").reset();
    await filter();
  } else if (!again) await choose(chosen, byId("rows").contains(document.activeElement));
  scrollToShown(false);
  return true;
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  const inList = byId("rows").contains(event.target);
  const by = { ArrowRight: 1, ArrowLeft: -1, ...(inList ? { ArrowDown: 1, ArrowUp: -1 } : {}) }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by, inList);
}

async function startBrowser() {
  if (byId("browser") === null) return;
  if (typeof DecompressionStream === "undefined") {
    byId("trouble").textContent =
      "This browser cannot unpack the predictions (it has no DecompressionStream): " +
      "use Chrome 80, Firefox 113, Safari 16.4 or newer.";
    byId("trouble").hidden = false;
    return;
  }
  index = await unpack("index");
  index.tasks.forEach(({ name, ids }, task) =>
    byId("filter-task").append(element("option", { value: String(task) }, `${name} (${counted(ids.length)})`)));
  let wait = 0;
  const soon = () => {
    clearTimeout(wait);
    wait = setTimeout(filter, 120);
  };
  byId("filters").addEventListener("input", soon);
  byId("filters").addEventListener("reset", () => setTimeout(filter));
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("step-back").addEventListener("click", () => step(-1, false));
  byId("step-on").addEventListener("click", () => step(1, false));
  byId("page-back").addEventListener("click", () => turnTo(page - 1));
  byId("page-on").addEventListener("click", () => turnTo(page + 1));
  byId("browser").addEventListener("keydown", keys);
  addEventListener("hashchange", follow);
  byId("browser").hidden = false;
  await filter();
  if (await follow()) scrollToShown(true);
}

startTheme();
startBrowser();
