// One prediction: reference and answer side by side, with marks.

const RUN_OF_WORDS = 3; // so many words in a row, or a shorter text whole, are marked where both sides have them
const MARKED = `Marked: what both share, in runs of ${RUN_OF_WORDS} words or more (fewer where a text has fewer).`;
const SIGNS = { match: "✓", spurious: "+", missed: "−", "wrong type": "≠", partly: "~", words: "" };
const FIELDS = ["intervention", "comparator", "outcome", "effect", "evidence"];

// ---- marks in texts ----

function rangesOf(text, part) {
  const ranges = [];
  if (part === "") return ranges;
  const low = text.toLowerCase();
  if (low.length !== text.length) return ranges; // a letter whose lower case is longer: places would not fit
  for (let at = low.indexOf(part); at >= 0; at = low.indexOf(part, at + part.length)) {
    ranges.push([at, at + part.length]);
  }
  return ranges;
}

const wordsOf = (text) =>
  Array.from(text.matchAll(/[\p{L}\p{N}]+/gu), (hit) => [hit[0].toLowerCase(), hit.index, hit.index + hit[0].length]);

function sharedRanges(text, other) {
  const own = wordsOf(text);
  const theirs = wordsOf(other);
  const length = Math.max(1, Math.min(RUN_OF_WORDS, own.length, theirs.length));
  const runAt = (words, at) => words.slice(at, at + length).map(([word]) => word).join(" ");
  const runs = (words) => words.slice(length - 1).map((_, at) => runAt(words, at));
  const known = new Set(runs(theirs));
  const ranges = [];
  runs(own).forEach((run, at) => {
    if (!known.has(run)) return;
    const [start, end] = [own[at][1], own[at + length - 1][2]];
    if (ranges.length > 0 && start <= ranges.at(-1)[1]) ranges.at(-1)[1] = end;
    else ranges.push([start, end]);
  });
  return ranges;
}

// Text with what was searched for in <mark>, and what both sides share in <mark class=shared>.
function marked(text, shared = [], looked = needle()) {
  const hits = rangesOf(text, looked);
  const cuts = [...new Set([0, text.length, ...hits.flat(), ...shared.flat()])].sort((a, b) => a - b);
  const inside = (ranges) => {
    let next = 0;
    return (at) => {
      while (next < ranges.length && ranges[next][1] <= at) next += 1;
      return next < ranges.length && ranges[next][0] <= at;
    };
  };
  const [isHit, isShared] = [inside(hits), inside(shared)];
  const made = document.createDocumentFragment();
  for (let place = 0; place + 1 < cuts.length; place += 1) {
    const piece = text.slice(cuts[place], cuts[place + 1]);
    const hit = isHit(cuts[place]);
    const both = isShared(cuts[place]);
    made.append(hit || both ? element("mark", { class: hit ? "hit" : "shared" }, piece) : piece);
  }
  return made;
}

// ---- one prediction ----

function written(text, shared, looked = needle()) {
  if (text.trim() === "") return element("p", { class: "quiet" }, "(empty)");
  return element("pre", { tabindex: "0" }, marked(text, shared, looked));
}

function sign(mark) {
  return element("span", { class: "sign" }, element("span", { "aria-hidden": "true" }, SIGNS[mark]), ` ${mark}`);
}

function item([mark, text, kind], others) {
  const name = index.marks[mark];
  if (Array.isArray(text)) {
    const differs = (agrees) => name === "partly" && !agrees;
    const fields = text.map(([field, agrees], at) =>
      element("div", { class: differs(agrees) ? "differs" : "" },
        element("dt", {}, FIELDS[at]),
        element("dd", {}, marked(field), differs(agrees) ? element("span", { class: "sign" }, " differs") : null)));
    return element("li", { class: name }, sign(name), element("dl", {}, ...fields));
  }
  if (name === "words") {
    const other = others.find((it) => it[2] === kind);
    const shared = other === undefined ? [] : sharedRanges(text, other[1]);
    return element("li", { class: "words" }, element("span", { class: "kind" }, kind), written(text, shared));
  }
  const of = kind === "" ? [] : [element("span", { class: "kind" }, kind), " "];
  const shown = element("span", { class: "text" }, marked(text));
  return element("li", { class: name.replace(" ", "-") }, sign(name), " ", ...of, shown);
}

function side(heading, row, which) {
  const text = which === 0 ? row.answer : row.reference;
  const other = which === 0 ? row.reference : row.answer;
  const box = element("section", { class: "side" }, element("h4", {}, heading));
  if (row.items === undefined) {
    box.append(written(text, sharedRanges(text, other)));
    return box;
  }
  const items = row.items[which];
  if (which === 0 && row.unreadable !== null) {
    box.append(element("p", { class: "unreadable" }, `Not readable: ${row.unreadable}.`), written(text, []));
  }
  const others = row.items[1 - which];
  if (items.length > 0) box.append(element("ul", { class: "items" }, ...items.map((it) => item(it, others))));
  else box.append(element("p", { class: "quiet" }, which === 0 ? "Counts as no item at all." : "Nothing is expected."));
  if (row.more[which] > 0) box.append(element("p", { class: "quiet" }, `… and ${counted(row.more[which])} more`));
  if (which === 1 || row.unreadable === null) {
    box.append(element("details", {}, element("summary", {}, "As it was written"), written(text, [])));
  }
  return box;
}

async function show(which) {
  const panel = byId("prediction-body");
  byId("permalink").hidden = which === null;
  if (which === null) {
    byId("prediction-id").textContent = "No prediction";
    panel.replaceChildren(element("p", { class: "quiet" }, "Nothing passes these filters."));
    return;
  }
  const [task, row] = which;
  const shown = (await unpack(`answers-${task}`))[row];
  if (!same(which, predictions.chosen)) return; // another one was chosen meanwhile
  const { name, ids } = index.tasks[task];
  const scores = Object.entries(shown.scores).map(([metric, value]) => `${metric} ${(100 * value).toFixed(1)}`);
  const sample = sampleOf(task, row);
  byId("prediction-id").textContent = ids[row].slice(0, 500) + (sample === null ? "" : `, sample ${sample}`);
  byId("permalink").href = link(which);
  const prompt = element("details", { class: "prompt" }, element("summary", {}, "Prompt"));
  prompt.addEventListener("toggle", async () => {
    promptOpen = prompt.open;
    if (prompt.open && prompt.children.length === 1) prompt.append(written(await promptOf(task, row), []));
  });
  const marks = shown.items === undefined || shown.items.flat().some(([mark]) => index.marks[mark] === "words");
  const told = [name, scores.join(", ") || "no score of its own", shown.ending].filter(Boolean);
  panel.replaceChildren(
    element("p", { class: "label" }, told.join(" · ")),
    element("div", { class: "sides" }, side("Reference", shown, 1), side("Answer", shown, 0)),
    marks ? element("p", { class: "label" }, MARKED) : "",
    prompt);
  prompt.open = promptOpen;
}
