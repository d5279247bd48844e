// One item: its reference and the answers to it, with what fits and what differs marked.

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

// Text with what was searched for in <mark class=hit>, and ranges in another <mark>, of what both sides share or differ in.
function marked(text, shared = [], looked = needle(), style = "shared") {
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
    made.append(hit || both ? element("mark", { class: hit ? "hit" : style }, piece) : piece);
  }
  return made;
}

// ---- one prediction ----

function written(text, shared, looked = needle(), style = "shared") {
  if (text.trim() === "") return element("p", { class: "quiet" }, "(empty)");
  return element("pre", { tabindex: "0" }, marked(text, shared, looked, style));
}

function sign(mark) {
  return element("span", { class: "sign" }, element("span", { "aria-hidden": "true" }, SIGNS[mark]), ` ${mark}`);
}

function item([mark, text, kind], others) {
  const name = index.matches[mark];
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

function itemsOf(row, which) {
  const items = row.items[which];
  if (items.length === 0) {
    return [element("p", { class: "quiet" }, which === 0 ? "Counts as no item at all." : "Nothing is expected.")];
  }
  const shown = [element("ul", { class: "items" }, ...items.map((it) => item(it, row.items[1 - which])))];
  if (row.more[which] > 0) shown.push(element("p", { class: "quiet" }, `… and ${counted(row.more[which])} more`));
  return shown;
}

const folded = (summary, ...inside) => element("details", {}, element("summary", {}, summary), ...inside);
const thoughtOf = (row) => (row.thought === undefined ? "" : folded("Thought, which is not scored", written(row.thought, [])));
const unreadable = (row) => element("p", { class: "unreadable" }, `Not readable: ${row.unreadable}.`);

// The reference as the metric compares it with an answer that has items; else as text, with what both share.
function referenceSide(shown, answer) {
  const box = element("section", { class: "side" }, element("h4", {}, "Reference"));
  if (answer?.items === undefined || index.runs.length > 1) {
    const shared = answer === undefined || answer.items !== undefined ? [] : sharedRanges(shown.reference, answer.answer);
    box.append(written(shown.reference, shared));
  } else box.append(...itemsOf(answer, 1), folded("As it was written", written(shown.reference, [])));
  return box;
}

function answerSide(shown, which) {
  const row = shown.answers[0];
  const box = element("section", { class: "side", "data-run": "0" }, element("h4", {}, "Answer"));
  if (row.items === undefined) box.append(written(row.answer, sharedRanges(row.answer, shown.reference)));
  else {
    if (row.unreadable !== null) box.append(unreadable(row), written(row.answer, []));
    box.append(...itemsOf(row, 0));
    if (row.unreadable === null) box.append(folded("As it was written", written(row.answer, [])));
  }
  box.append(thoughtOf(row));
  box.append(marking(which, 0));
  return box;
}

// ---- several answers ----

const letter = (run) => "ABCD"[run];
const scoresOf = (row) => Object.entries(row.scores).map(([metric, value]) => `${metric} ${(100 * value).toFixed(1)}`);

// The answer of one of several runs; `only` are the ranges of words that the answer it is compared with has not.
function sideOf(shown, which, run, only, sameAs) {
  const row = shown.answers[run];
  const heading = element("h4", {}, element("span", { class: "letter" }, letter(run)), ` ${index.runs[run].name}`);
  const box = element("section", { class: "side", "data-run": String(run) }, heading);
  if (row === null) {
    box.append(element("p", { class: "quiet" }, "No answer to this item is here."));
    return box;
  }
  const told = [scoresOf(row).join(", ") || "no score of its own", row.ending].filter(Boolean);
  box.append(element("p", { class: "label" }, told.join(" · ")));
  if (row.unreadable !== null) box.append(unreadable(row));
  box.append(written(row.answer, only, needle(), "only"));
  if (sameAs >= 0) box.append(element("p", { class: "label" }, `The same text as ${letter(sameAs)}.`));
  box.append(thoughtOf(row));
  if (row.reference !== undefined) box.append(folded("Its reference is another", written(row.reference, [])));
  if (row.items !== undefined) {
    const missed = row.items[1].filter(([mark]) => index.matches[mark] === "missed");
    const lost = missed.length > 0 ? [element("ul", { class: "items" }, ...missed.map((it) => item(it, [])))] : [];
    const parts = folded("Item by item", ...itemsOf(row, 0), ...lost);
    parts.open = itemsOpen;
    parts.addEventListener("toggle", () => { itemsOpen = parts.open; });
    box.append(parts);
  }
  box.append(marking(which, run));
  return box;
}

function severalSides(shown, which) {
  const { base, run } = view;
  const [one, other] = [shown.answers[base], shown.answers[run]];
  const [oneOnly, otherOnly] = one && other && one.answer !== other.answer ? differences(one.answer, other.answer) : [[], []];
  const only = (at) => (at === base ? oneOnly : at === run ? otherOnly : []);
  const sides = shown.answers.map((row, at) => {
    const before = shown.answers.findIndex((it, place) => place < at && row !== null && it?.answer === row.answer);
    return sideOf(shown, which, at, only(at), before);
  });
  return [
    element("div", { class: "sides" }, referenceSide(shown)),
    element("div", { class: "sides answers" }, ...sides),
    oneOnly.length + otherOnly.length > 0
      ? element("p", { class: "label" }, `Underlined: words of ${letter(base)} that ${letter(run)} has not, and the other way round.`)
      : "",
  ];
}

async function promptOf(ranges) {
  const lines = [];
  for (let at = 0; at < ranges.length; at += 2) {
    for (let line = ranges[at]; line < ranges[at] + ranges[at + 1]; line += 1) {
      const part = partOf(index.starts, line);
      lines.push((await unpack(`lines-${part}`))[line - index.starts[part]]);
    }
  }
  return lines.join("\n");
}

function promptFold(heading, ranges) {
  const prompt = element("details", { class: "prompt" }, element("summary", {}, heading));
  prompt.addEventListener("toggle", async () => {
    promptOpen = prompt.open;
    if (!prompt.open || prompt.children.length > 1) return;
    const left = "It is not in this page, which would be too large with it.";
    const text = ranges === null ? null : await promptOf(ranges);
    if (prompt.children.length === 1) prompt.append(text === null ? element("p", { class: "quiet" }, left) : written(text, []));
  });
  return prompt;
}

function prompts(shown) {
  const own = shown.answers.flatMap((row, run) => (row?.prompt === undefined ? [] : [[run, row.prompt]]));
  return [
    promptFold("Prompt", shown.prompt),
    ...own.map(([run, ranges]) => promptFold(`Prompt of ${letter(run)}, which is another`, ranges)),
  ];
}

async function itemAt(task, row) {
  const { starts } = index.tasks[task];
  const part = partOf(starts, row);
  return (await unpack(`answers-${task}-${part}`))[row - starts[part]];
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
  const shown = await itemAt(task, row);
  if (!same(which, predictions.chosen)) return; // another one was chosen meanwhile
  const { name, ids } = index.tasks[task];
  const sample = sampleOf(task, row);
  byId("prediction-id").textContent = ids[row].slice(0, 500) + (sample === null ? "" : `, sample ${sample}`);
  byId("permalink").href = link(which);
  if (index.runs.length > 1) {
    panel.replaceChildren(
      element("p", { class: "label" }, `${name} · `, changeOf(which)), ...severalSides(shown, which), ...prompts(shown));
  } else {
    const [answer] = shown.answers;
    const words = answer.items === undefined || answer.items.flat().some(([mark]) => index.matches[mark] === "words");
    const told = [name, scoresOf(answer).join(", ") || "no score of its own", answer.ending].filter(Boolean);
    panel.replaceChildren(
      element("p", { class: "label" }, told.join(" · ")),
      element("div", { class: "sides" }, referenceSide(shown, answer), answerSide(shown, which)),
      words ? element("p", { class: "label" }, MARKED) : "",
      ...prompts(shown));
  }
  showChosen();
  const open = promptOpen;
  for (const fold of panel.querySelectorAll(".prompt")) fold.open = open;
}
