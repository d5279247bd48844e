// Marks of a person: right, wrong or unclear, with a note. They are kept by the browser, one entry for each answer, so
// that two pages with the same answer share its mark and never overwrite another's.

const MARKS_FORMAT = "sciriff-marks/1";
const MARK_PREFIX = "sciriff-mark ";
const MARK_SIGNS = { right: "✓", wrong: "✗", unclear: "?" };
const LONGEST_NOTE = 5000;
const LARGEST_FILE = 256e6;

const marks = new Map(); // key of an answer -> { mark, note }
let given = new Map(); // what the page came with
let keeps = true; // whether the browser keeps marks

const rawRun = (run) => index.runs[run].raw ?? index.runs[run].name;
const rawId = (task, row) => {
  const { raw, ids } = index.tasks[task];
  return raw !== undefined && Object.hasOwn(raw, row) ? raw[row] : ids[row];
};
const digestOf = (task, row, run) => index.tasks[task].runs[run]?.digests.slice(16 * row, 16 * row + 16) ?? "";
const answered = (task, row, run) => /^[0-9a-f]{16}$/.test(digestOf(task, row, run));
const markKey = (run, task, id, sample, answer) => JSON.stringify([run, task, id, sample, answer]);
const keyOf = (task, row, run) =>
  markKey(rawRun(run), index.tasks[task].name, rawId(task, row), sampleOf(task, row) ?? 1, digestOf(task, row, run));
const markOf = (task, row, run) => (marks.size === 0 ? undefined : marks.get(keyOf(task, row, run)));

// ---- what the browser keeps ----

function keepMark(key, mark) {
  if (mark !== undefined) marks.set(key, mark);
  else marks.delete(key);
  try {
    // A mark that the page came with and that is removed must not come back.
    if (mark === undefined && !given.has(key)) localStorage.removeItem(MARK_PREFIX + key);
    else localStorage.setItem(MARK_PREFIX + key, JSON.stringify(mark ?? null));
  } catch {
    keeps = false;
  }
}

function readKept() {
  try {
    for (let place = 0; place < localStorage.length; place += 1) {
      const name = localStorage.key(place);
      if (name.startsWith(MARK_PREFIX)) takeKept(name, localStorage.getItem(name));
    }
    localStorage.setItem("sciriff-keeps", "1");
    localStorage.removeItem("sciriff-keeps");
  } catch {
    keeps = false;
  }
}

function takeKept(name, text) {
  const key = name.slice(MARK_PREFIX.length);
  let kept = null;
  try {
    kept = JSON.parse(text);
  } catch { /* not ours */ }
  if (isMark(kept)) marks.set(key, { mark: kept.mark, note: kept.note });
  else marks.delete(key);
}

const isMark = (it) =>
  typeof it === "object" && it !== null && typeof it.mark === "string" && Object.hasOwn(MARK_SIGNS, it.mark) &&
  typeof it.note === "string";

// ---- files ----

let answersByKey = null; // key -> [task, row, run] of every answer of the page; made when there is a mark

function everyAnswer() {
  if (answersByKey !== null) return answersByKey;
  const found = (answersByKey = new Map());
  index.tasks.forEach(({ ids }, task) => ids.forEach((_, row) => index.runs.forEach((_, run) => {
    if (answered(task, row, run)) found.set(keyOf(task, row, run), [task, row, run]);
  })));
  return found;
}

function marksAsText() {
  const lines = [];
  for (const [key, [task, row, run]] of everyAnswer()) {
    const mark = marks.get(key);
    if (mark === undefined) continue;
    lines.push(JSON.stringify({
      run: rawRun(run), task: index.tasks[task].name, instance_id: rawId(task, row), sample: sampleOf(task, row) ?? 1,
      answer: digestOf(task, row, run), mark: mark.mark, note: mark.note,
    }));
  }
  return `{"format": ${JSON.stringify(MARKS_FORMAT)}, "marks": [\n${lines.join(",\n")}\n]}\n`;
}

function saveMarks() {
  const url = URL.createObjectURL(new Blob([marksAsText()], { type: "application/json" }));
  element("a", { href: url, download: "marks.json" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

// Marks of a list in the format of a file: how many were taken, and how many are about answers that are not here.
function takeMarks(list, keep) {
  const known = everyAnswer();
  let [taken, others] = [0, 0];
  for (const it of list) {
    const note = (it.note ?? "").slice(0, LONGEST_NOTE);
    const key = markKey(it.run, it.task, it.instance_id, it.sample ?? 1, it.answer);
    if (!known.has(key)) others += 1;
    else {
      taken += 1;
      keep(key, { mark: it.mark, note });
    }
  }
  return [taken, others];
}

const toldOfMarks = ([taken, others]) =>
  `${counted(taken)} marks were loaded` +
  (others > 0 ? `; ${counted(others)} are about answers that are not in this page, and were left out.` : ".");

async function loadMarks(file) {
  let list = null;
  try {
    const value = file.size <= LARGEST_FILE ? JSON.parse(await file.text()) : null;
    if (value?.format === MARKS_FORMAT && Array.isArray(value.marks)) list = value.marks;
  } catch { /* no JSON */ }
  const valid = list?.every((it) => isMark({ note: "", ...it })) ?? false;
  tellOfMarks(valid ? toldOfMarks(takeMarks(list, keepMark)) : `${file.name.slice(0, 200)} is not a file of marks (${MARKS_FORMAT}).`);
  if (valid) await filter();
}

function tellOfMarks(text) {
  byId("marks-told").textContent = keeps ? text : `${text} This browser cannot keep the marks of this page: save them before it is closed.`.trim();
}

function countMarks() {
  const counts = { right: 0, wrong: 0, unclear: 0 };
  for (const [key, { mark }] of marks) if (everyAnswer().has(key)) counts[mark] += 1;
  const words = Object.entries(counts).map(([word, count]) => `${counted(count)} ${word}`);
  byId("marked").textContent = `Marks in this page: ${words.join(", ")}.`;
}

// ---- marking an answer ----

let chosenRun = 0; // whose answer the keys mark, if it has one

function runToMark() {
  const [task, row] = predictions.chosen;
  return answered(task, row, chosenRun) ? chosenRun : index.runs.findIndex((_, run) => answered(task, row, run));
}

function chooseRun(run) {
  if (run >= index.runs.length || predictions.chosen === null || !answered(...predictions.chosen, run)) return;
  chosenRun = run;
  showChosen();
}

function showChosen() {
  for (const side of byId("prediction-body").querySelectorAll(".side[data-run]")) {
    side.toggleAttribute("data-chosen", index.runs.length > 1 && Number(side.dataset.run) === runToMark());
  }
}

function setMark([task, row], run, word) {
  if (!answered(task, row, run)) return;
  const key = keyOf(task, row, run);
  const before = marks.get(key);
  keepMark(key, word === null ? undefined : { mark: word, note: before?.note ?? "" });
  chosenRun = run;
  afterMark([task, row]);
}

function afterMark(which) {
  countMarks();
  if (!keeps) tellOfMarks("");
  if (same(which, predictions.chosen)) {
    byId("prediction-body").querySelectorAll(".marking").forEach((bar) => fillMarking(bar, which));
    showChosen();
  }
  predictions.again(which);
}

function fillMarking(bar, [task, row]) {
  const mark = markOf(task, row, Number(bar.dataset.run));
  for (const button of bar.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.mark === mark?.mark));
  }
  const note = bar.querySelector("input");
  note.disabled = mark === undefined;
  note.placeholder = mark === undefined ? "mark it first" : "";
  if (note !== document.activeElement) note.value = mark?.note ?? "";
}

function marking(which, run) {
  const name = index.runs.length > 1 ? `Mark of ${letter(run)}` : "Mark";
  const bar = element("div", { class: "marking", role: "group", "aria-label": name, "data-run": String(run) });
  Object.entries(MARK_SIGNS).forEach(([word, sign], at) => {
    const button = element("button", { type: "button", "data-mark": word, "aria-keyshortcuts": String(at + 1) },
      element("span", { "aria-hidden": "true" }, `${sign} `), word);
    button.addEventListener("click", () => {
      setMark(which, run, markOf(...which, run)?.mark === word ? null : word);
    });
    bar.append(button);
  });
  const note = element("input", { type: "text", maxlength: String(LONGEST_NOTE), autocomplete: "off" });
  note.addEventListener("input", () => {
    const mark = markOf(...which, run);
    if (mark === undefined) return;
    keepMark(keyOf(...which, run), { mark: mark.mark, note: note.value });
    if (!keeps) tellOfMarks("");
  });
  note.addEventListener("focus", () => {
    chosenRun = run;
    showChosen();
  });
  bar.append(element("label", {}, "Note ", note));
  fillMarking(bar, which);
  return bar;
}

// Keys for the item that is shown; true if the key was one of them.
function markByKey(key) {
  const which = predictions.chosen;
  if (which === null) return false;
  const word = { 1: "right", 2: "wrong", 3: "unclear", 0: null }[key];
  const run = "abcd".indexOf(key);
  if (word !== undefined) setMark(which, runToMark(), word);
  else if (index.runs.length > 1 && key.length === 1 && run >= 0) chooseRun(run);
  else if (key === "n") byId("prediction-body").querySelector(`.marking[data-run="${runToMark()}"] input`)?.focus();
  else return false;
  return true;
}

async function startMarks() {
  const list = await unpack("marks");
  if (list.length > 0) {
    const told = takeMarks(list, (key, mark) => given.set(key, mark) && marks.set(key, mark));
    tellOfMarks(toldOfMarks(told));
  }
  readKept();
  if (!keeps) tellOfMarks("");
  countMarks();
  byId("marks-save").addEventListener("click", saveMarks);
  byId("marks-load").addEventListener("click", () => byId("marks-file").click());
  byId("marks-file").addEventListener("change", async ({ target }) => {
    if (target.files.length > 0) await loadMarks(target.files[0]);
    target.value = ""; // so that the same file can be chosen again
    countMarks();
  });
  addEventListener("storage", ({ key, newValue }) => {
    if (key === null || !key.startsWith(MARK_PREFIX)) return;
    takeKept(key, newValue);
    afterMark(predictions.chosen ?? [0, 0]);
  });
}
