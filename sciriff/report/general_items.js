// The browser of items of general tasks that were lost or won: filters, search, links, one item with both answers.

// ---- what is looked for ----

let general = null; // the index: names of both runs, and for each task its items without their texts
let items = null; // the list of what the filters leave
let itemSearch = 0; // counts, so that a slow search gives way to the next
const itemTexts = new Map(); // task -> texts in lower case

const lost = ([task, row]) => general.tasks[task].after[row] < general.tasks[task].before[row];
const itemNeedle = () => byId("item-text").value.trim().toLowerCase();
const leafOf = ([task, row]) => general.tasks[task].leaves[general.tasks[task].leaf[row]];
const itemLink = ([task, row]) => {
  const { name, docs } = general.tasks[task];
  return `#item=${encodeURIComponent(name)}/${encodeURIComponent(leafOf([task, row]))}/${docs[row]}`;
};
// Values go from 0 to 1, and most are one or the other.
const isWhole = ([task, row]) =>
  Number.isInteger(general.tasks[task].before[row]) && Number.isInteger(general.tasks[task].after[row]);
const change = ([task, row]) => {
  const { before, after } = general.tasks[task];
  const digits = isWhole([task, row]) ? 0 : 2;
  return `${before[row].toFixed(digits)} → ${after[row].toFixed(digits)}`;
};

async function textsOf(task) {
  if (!itemTexts.has(task)) {
    const rows = await unpack(`general-${task}`);
    const all = rows.map((row, at) =>
      [leafOf([task, at]), row.question, row.target, row.before, row.after].join("\n").toLowerCase());
    itemTexts.set(task, all);
  }
  return itemTexts.get(task);
}

async function filterItems() {
  const turn = (itemSearch += 1);
  const text = itemNeedle();
  const only = byId("item-task").value;
  const which = byId("item-change").value;
  const left = [];
  for (const task of general.tasks.keys()) {
    if (only !== "" && Number(only) !== task) continue;
    const own = text === "" ? null : await textsOf(task);
    if (turn !== itemSearch) return;
    for (let row = 0; row < general.tasks[task].docs.length; row += 1) {
      const wanted = which === "" || lost([task, row]) === (which === "lost");
      if (wanted && (own === null || own[row].includes(text))) left.push([task, row]);
    }
  }
  const total = general.tasks.reduce((sum, { docs }) => sum + docs.length, 0);
  const changed = general.tasks.reduce((sum, { of }) => sum + of, 0);
  const part = changed > total ? ` (of ${counted(changed)}, evenly spaced)` : "";
  byId("items-found").textContent = `${counted(left.length)} of ${counted(total)} items that changed${part}`;
  await items.fill(left);
}

// ---- the list, and one item ----

function changeSign(which) {
  const [sign, word, style] = lost(which) ? ["▼", "lost", "lower"] : ["▲", "won", "higher"];
  return element("span", { class: style }, element("span", { "aria-hidden": "true" }, sign), ` ${word}`);
}

function itemLine([task, row]) {
  const leaf = leafOf([task, row]);
  return element("a", { href: itemLink([task, row]), title: leaf.slice(0, 500) },
    element("span", { class: "id" }, leaf.slice(0, 200)), " ",
    element("span", { class: "score" }, String(general.tasks[task].docs[row])), " ",
    element("span", { class: "flag" }, changeSign([task, row]), isWhole([task, row]) ? "" : ` ${change([task, row])}`));
}

function answerOf(heading, name, text, told) {
  return element("section", { class: "side" },
    element("h4", {}, `${heading}: ${name}`), written(text, [], itemNeedle()),
    told === "" ? null : element("p", { class: "label" }, told));
}

async function showItem(which) {
  const panel = byId("item-body");
  byId("item-link").hidden = which === null;
  if (which === null) {
    byId("item-id").textContent = "No item";
    panel.replaceChildren(element("p", { class: "quiet" }, "Nothing passes these filters."));
    return;
  }
  const [task, row] = which;
  const shown = (await unpack(`general-${task}`))[row];
  if (!same(which, items.chosen)) return; // another one was chosen meanwhile
  byId("item-id").textContent = `${leafOf(which).slice(0, 500)}, document ${general.tasks[task].docs[row]}`;
  byId("item-link").href = itemLink(which);
  panel.replaceChildren(
    element("p", { class: "label" }, `${general.tasks[task].name} · `, changeSign(which), ` · ${change(which)}`),
    element("h4", {}, "Question"), written(shown.question, [], itemNeedle()),
    element("h4", {}, "Target"), written(shown.target, [], itemNeedle()),
    element("div", { class: "sides" },
      answerOf("Before", general.before, shown.before, shown.told[0]),
      answerOf("After", general.after, shown.after, shown.told[1])));
}

// ---- start ----

// #lost=TASK shows the lost items of a task, #won=TASK those won, #item=TASK/LEAF/DOCUMENT one item.
async function followItem() {
  const one = location.hash.match(/^#item=([^/]+)\/([^/]+)\/(\d+)$/);
  const some = location.hash.match(/^#(lost|won)=(.+)$/s);
  if (one === null && some === null) return;
  const task = general.tasks.findIndex(({ name }) => name === decoded(one?.[1] ?? some[2]));
  if (task < 0) return;
  if (some !== null) {
    byId("item-filters").reset();
    byId("item-task").value = String(task);
    byId("item-change").value = some[1];
    items.chosen = null;
    await filterItems();
    items.focusChosen();
    byId("general-items").scrollIntoView();
    return;
  }
  const row = general.tasks[task].docs.findIndex(
    (doc, at) => doc === Number(one[3]) && leafOf([task, at]) === decoded(one[2]));
  byId("items-trouble").hidden = row >= 0;
  byId("items-trouble").textContent = row >= 0 ? "" : `This page does not show document ${one[3]} of ${decoded(one[2])}.`;
  if (row < 0) return;
  const again = same(items.chosen, [task, row]);
  items.chosen = [task, row];
  if (items.placeOf([task, row]) < 0) {
    byId("item-filters").reset();
    byId("item-change").value = "";
    await filterItems();
  } else if (!again) await items.choose([task, row], items.rows.contains(document.activeElement));
  scrollToOne(byId("item"), byId("general-items"));
}

async function startItems() {
  if (byId("changed-items") === null || !canUnpack(byId("items-trouble"), "the items")) return;
  general = await unpack("general");
  general.tasks.forEach(({ name, docs }, task) =>
    byId("item-task").append(element("option", { value: String(task) }, `${name} (${counted(docs.length)})`)));
  items = new PagedList(byId("changed-items"), { line: itemLine, show: showItem });
  whenTyped(byId("item-filters"), filterItems);
  addEventListener("hashchange", followItem);
  byId("changed-items").hidden = false;
  await filterItems();
  await followItem();
}

startItems();
