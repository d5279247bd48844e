// The browser of answers: filters, search, the list and links. Of one run, or of several side by side.

// ---- what is looked for ----

let index = null;
let predictions = null; // the list of what the filters leave
let promptOpen = false; // stays so from one item to the next
let itemsOpen = false;
let search = 0; // counts, so that a slow search gives way to the next
const searched = new Map(); // task -> its texts in lower case, and the ranges of its prompts
const loweredLines = new Map(); // part of the lines of prompts -> its lines in lower case
const EXACT = 10000; // a score of 1

const needle = () => byId("filter-text").value.trim().toLowerCase();
const several = () => index.runs.length > 1;
const valueOf = (id) => byId(id)?.value ?? "";

// What the filters say, read once for each search. `run` is compared with `base`; of one run both are it.
let view = { base: 0, run: 0, column: "", flag: "", change: "", mark: "", low: 0, high: EXACT };

function readView() {
  const other = Number(valueOf("filter-pair"));
  const firstIsNew = "firstIsNew" in byId("browser").dataset;
  view = {
    base: firstIsNew ? other : 0,
    run: firstIsNew ? 0 : other,
    column: valueOf("filter-column"),
    flag: valueOf("filter-flag"),
    change: valueOf("filter-change"),
    mark: valueOf("filter-mark"),
    low: Number(valueOf("filter-low") || 0) * (EXACT / 100),
    high: Number(valueOf("filter-high") || 100) * (EXACT / 100),
  };
}

// The score of an answer in the chosen column, or the mean of those it has; null without any.
function scoreOf([task, row], run) {
  const { columns, runs } = index.tasks[task];
  if (runs[run] === null) return null;
  let [sum, known] = [0, 0];
  for (let at = 0; at < columns.length; at += 1) {
    const value = runs[run].scores[at][row];
    if (value === null || (view.column !== "" && view.column !== columns[at])) continue;
    sum += value;
    known += 1;
  }
  return known === 0 ? null : sum / known;
}

// How much better `run` is than `base`; null where one has no score.
function changeBy(which) {
  const [before, after] = [scoreOf(which, view.base), scoreOf(which, view.run)];
  return before === null || after === null ? null : after - before;
}

const flagsOf = ([task, row], run) => index.tasks[task].runs[run]?.flags[row] ?? null;
const differs = ([task, row]) => digestOf(task, row, view.base) !== digestOf(task, row, view.run);

// Which items a change is of, given the flags of both answers; null where there is no answer.
const CHANGES = {
  different: (which, one, other) => one !== null && other !== null && differs(which),
  worse: (which) => changeBy(which) < 0,
  better: (which) => changeBy(which) > 0,
  unreadable: (_, one, other) => one !== null && other !== null && one.includes("u") !== other.includes("u"),
  "both-unreadable": (_, one, other) => one !== null && other !== null && one.includes("u") && other.includes("u"),
  lacking: (_, one, other) => (one === null) !== (other === null),
};

function markPasses([task, row]) {
  if (view.mark === "") return true;
  const found = index.runs.map((_, run) => markOf(task, row, run)?.mark).filter(Boolean);
  if (view.mark === "none" || view.mark === "some") return (found.length > 0) === (view.mark === "some");
  return found.includes(view.mark);
}

function passes(which) {
  const [before, after] = [flagsOf(which, view.base), flagsOf(which, view.run)];
  if (view.change !== "" && !CHANGES[view.change](which, before, after)) return false;
  const has = (flags) => flags !== null && (view.flag === "r" ? !flags.includes("u") : flags.includes(view.flag));
  if (view.flag !== "" && !has(before) && !has(after)) return false;
  if (!markPasses(which)) return false;
  const score = scoreOf(which, view.run);
  return score === null ? view.low <= 0 && view.high >= EXACT : score >= view.low && score <= view.high;
}

async function texts(task) {
  if (!searched.has(task)) {
    const { ids, starts } = index.tasks[task];
    const [lowered, ranges] = [[], []];
    for (const part of starts.keys()) {
      for (const { reference, prompt, answers } of await passThrough(`answers-${task}-${part}`)) {
        const own = answers.filter((row) => row !== null);
        const whole = [ids[lowered.length], ...own.map((row) => row.answer), reference].join("\n");
        lowered.push(whole.toLowerCase());
        ranges.push([prompt, ...own.map((row) => row.prompt)].filter(Boolean));
      }
    }
    searched.set(task, { lowered, ranges });
  }
  return searched.get(task);
}

// For each place in the lines of all prompts, how many lines before it have the text.
async function linesWith(text, turn) {
  const hits = [0];
  for (const part of index.starts.keys()) {
    if (!loweredLines.has(part)) {
      const lines = await passThrough(`lines-${part}`);
      loweredLines.set(part, lines.map((line) => line.toLowerCase()));
    }
    if (turn !== search) return hits;
    for (const line of loweredLines.get(part)) hits.push(hits.at(-1) + (line.includes(text) ? 1 : 0));
  }
  return hits;
}

function rangeHas(hits, ranges) {
  for (let at = 0; at < ranges.length; at += 2) {
    if (hits[ranges[at] + ranges[at + 1]] > hits[ranges[at]]) return true;
  }
  return false;
}

// [task, row] of what the filters leave; null if another search has begun.
async function find() {
  const turn = (search += 1);
  readView();
  const text = needle();
  const only = byId("filter-task").value;
  let hits = null;
  if (text !== "" && byId("filter-prompts").checked) {
    byId("found").textContent = "Searching prompts …";
    hits = await linesWith(text, turn);
  }
  const left = [];
  for (const task of index.tasks.keys()) {
    if (only !== "" && Number(only) !== task) continue;
    let wanted = null;
    if (text !== "") {
      byId("found").textContent = `Searching ${index.tasks[task].name} …`;
      const { lowered, ranges } = await texts(task);
      if (turn !== search) return null;
      wanted = (row) => lowered[row].includes(text) || (hits !== null && ranges[row].some((its) => rangeHas(hits, its)));
    }
    for (let row = 0; row < index.tasks[task].ids.length; row += 1) {
      if (passes([task, row]) && (wanted === null || wanted(row))) left.push([task, row]);
    }
  }
  return turn === search ? sorted(left) : null;
}

// By score or by change; what has none is at the end.
function sorted(left) {
  const order = byId("filter-order").value;
  if (order === "") return left;
  const sign = order === "low" || order === "loss" ? 1 : -1;
  const value = order === "loss" || order === "gain" ? changeBy : (which) => scoreOf(which, view.run);
  const keyed = left.map((which) => [value(which) ?? sign * Infinity, which]);
  keyed.sort(([a], [b]) => sign * (a - b) || 0);
  return keyed.map(([, which]) => which);
}

async function filter() {
  const found = await find();
  if (found === null) return;
  const total = index.tasks.reduce((sum, task) => sum + task.ids.length, 0);
  const asked = index.tasks.reduce((sum, task) => sum + task.of, 0);
  const part = asked > total ? ` (of ${counted(asked)}, evenly spaced)` : "";
  byId("found").textContent = `${counted(found.length)} of ${counted(total)} ${several() ? "items" : "predictions"}${part}`;
  await predictions.fill(found);
}

// ---- the list ----

const sampleOf = (task, row) => index.tasks[task].samples?.[row] ?? null;
const points = (score) => (score === null ? "–" : ((100 * score) / EXACT).toFixed(1));
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

// `▼ 100.0 → 50.0` of the two runs that are compared.
function changeOf(which) {
  const { base, run } = view;
  const by = changeBy(which);
  const [sign, word, style] = by < 0 ? ["▼", "worse", "lower"] : by > 0 ? ["▲", "better", "higher"] : ["", "", "noise"];
  return element("span", { class: style }, element("span", { "aria-hidden": "true" }, sign),
    element("span", { class: "hidden" }, word), ` ${points(scoreOf(which, base))} → ${points(scoreOf(which, run))}`);
}

function toldOf(which) {
  const [task, row] = which;
  const told = sampleOf(task, row) === null ? [] : [`sample ${sampleOf(task, row)}`];
  index.runs.forEach((_, run) => {
    const flags = flagsOf(which, run) ?? "";
    const words = [flags.includes("u") && "not readable", flags.includes("l") && "cut", flags.includes("h") && "unfinished thought", markOf(task, row, run)?.mark];
    const its = words.filter(Boolean).join(", ");
    if (its !== "") told.push(several() ? `${letter(run)} ${its}` : its);
  });
  return told.join("; ");
}

function line(which) {
  const [task, row] = which;
  return element("a", { href: link(which), title: index.tasks[task].ids[row].slice(0, 500) },
    element("span", { class: "id" }, shortId(task, row).slice(0, 200)), " ",
    element("span", { class: "flag" }, toldOf(which)), " ",
    element("span", { class: "score" }, several() ? changeOf(which) : points(scoreOf(which, 0))));
}

// ---- start ----

// #items=RUN/TASK/COLUMN/ORDER shows how another run changed: of one task or all, in one column or their mean.
async function followItems([run, task, column, order]) {
  byId("filters").reset();
  byId("filter-pair").value = run;
  byId("filter-task").value = task === "" ? "" : String(index.tasks.findIndex(({ name }) => name === task));
  byId("filter-column").value = column;
  byId("filter-order").value = order;
  predictions.chosen = null;
  await filter();
  predictions.focusChosen();
  byId("predictions").scrollIntoView();
}

// #prediction=TASK/ID shows one prediction, or with &sample=N one sample, #predictions=TASK the predictions of a task.
async function follow() {
  const one = location.hash.match(/^#prediction=([^/]+)\/(.*?)(?:&sample=(\d+))?$/s);
  const some = location.hash.match(/^#predictions=(.+)$/s);
  const items = location.hash.match(/^#items=(\d)\/([^/]*)\/([^/]*)\/(loss|gain)$/);
  if (items !== null && Number(items[1]) > 0 && Number(items[1]) < index.runs.length) {
    const [task, column] = [decoded(items[2]), decoded(items[3])];
    if (task === "" || index.tasks.some(({ name, columns }) => name === task && (column === "" || columns.includes(column)))) {
      await followItems([items[1], task, column, items[4]]);
      return true;
    }
  }
  if (one === null && some === null) return false;
  const task = index.tasks.findIndex(({ name }) => name === (one ?? some)[1]);
  if (task < 0) return false;
  if (some !== null) {
    byId("filters").reset();
    byId("filter-task").value = String(task);
    predictions.chosen = null;
    await filter();
    predictions.focusChosen();
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
  const fromElsewhere = !byId("browser").contains(document.activeElement);
  predictions.chosen = [task, row];
  if (predictions.placeOf([task, row]) < 0) {
    byId("filters").reset();
    await filter();
  } else if (!again) await predictions.choose([task, row], byId("rows").contains(document.activeElement));
  if (fromElsewhere) predictions.focusChosen();
  scrollToOne(byId("prediction"), null);
  return true;
}

async function startBrowser() {
  if (byId("browser") === null) return;
  if (!canUnpack(byId("trouble"), "the predictions")) return;
  index = await unpack("index");
  index.tasks.forEach(({ name, ids }, task) =>
    byId("filter-task").append(element("option", { value: String(task) }, `${name} (${counted(ids.length)})`)));
  const columns = new Set(index.tasks.flatMap((task) => task.columns));
  for (const name of columns) byId("filter-column").append(element("option", { value: name }, name));
  predictions = new PagedList(byId("browser"), { line, show, keyOfOne: markByKey });
  await startMarks();
  whenTyped(byId("filters"), filter);
  addEventListener("hashchange", follow);
  byId("browser").hidden = false;
  await filter();
  if (await follow()) scrollToOne(byId("prediction"), byId("predictions"));
}

startBrowser();
