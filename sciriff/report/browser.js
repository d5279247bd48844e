// The prediction browser: filters, search, the list and links.

// ---- what is looked for ----

let index = null;
let predictions = null; // the list of what the filters leave
let promptOpen = false; // stays so from one prediction to the next
let search = 0; // counts, so that a slow search gives way to the next
const lowered = new Map(); // task -> texts in lower case

const needle = () => byId("filter-text").value.trim().toLowerCase();

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

// [task, row] of what the filters leave; null if another search has begun.
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
      if (turn !== search) return null;
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
  return left;
}

async function filter() {
  const found = await find();
  if (found === null) return;
  const total = index.tasks.reduce((sum, task) => sum + task.ids.length, 0);
  const asked = index.tasks.reduce((sum, task) => sum + task.of, 0);
  const part = asked > total ? ` (of ${counted(asked)}, evenly spaced)` : "";
  byId("found").textContent = `${counted(found.length)} of ${counted(total)} predictions${part}`;
  await predictions.fill(found);
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

function line([task, row]) {
  const { ids, scores, flags } = index.tasks[task];
  const told = [flags[row].includes("u") && "not readable", flags[row].includes("l") && "cut"].filter(Boolean);
  return element("a", { href: link([task, row]), title: ids[row].slice(0, 500) },
    element("span", { class: "id" }, shortId(task, row).slice(0, 200)), " ",
    sampleOf(task, row) === null ? null : element("span", { class: "sample" }, `sample ${sampleOf(task, row)} `),
    element("span", { class: "flag" }, told.join(", ")), " ",
    element("span", { class: "score" }, points(scores[row])));
}

// ---- start ----

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
    predictions.chosen = null;
    await filter();
    byId("predictions").scrollIntoView();
    return true;
  }
  const id = decoded(one[2]);
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
  const again = same(predictions.chosen, [task, row]);
  predictions.chosen = [task, row];
  if (predictions.placeOf([task, row]) < 0) {
    byId("filters").reset();
    await filter();
  } else if (!again) await predictions.choose([task, row], byId("rows").contains(document.activeElement));
  scrollToOne(byId("prediction"), null);
  return true;
}

async function startBrowser() {
  if (byId("browser") === null) return;
  if (!canUnpack(byId("trouble"), "the predictions")) return;
  index = await unpack("index");
  index.tasks.forEach(({ name, ids }, task) =>
    byId("filter-task").append(element("option", { value: String(task) }, `${name} (${counted(ids.length)})`)));
  predictions = new PagedList(byId("browser"), { line, show });
  whenTyped(byId("filters"), filter);
  addEventListener("hashchange", follow);
  byId("browser").hidden = false;
  await filter();
  if (await follow()) scrollToOne(byId("prediction"), byId("predictions"));
}

startTheme();
startBrowser();
