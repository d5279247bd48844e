"use strict";
// What the scripts of the page share: elements, the theme, unpacking data. The files of a page become one script, this one
// first. Texts of a run reach the page as text nodes alone, never as markup.

const byId = (id) => document.getElementById(id);
const counted = (number) => number.toLocaleString("en");

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- theme ----

const THEMES = { "": "as the system", light: "light", dark: "dark" };

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${THEMES[theme]}`;
}

function keepTheme(theme) {
  try {
    localStorage.setItem("sciriff-theme", theme);
  } catch { /* a browser may keep nothing for pages from disk */ }
}

function keptTheme() {
  try {
    const kept = localStorage.getItem("sciriff-theme");
    return kept in THEMES ? kept : "";
  } catch {
    return "";
  }
}

function startTheme() {
  setTheme(keptTheme());
  byId("theme").hidden = false;
  byId("theme").addEventListener("click", () => {
    const order = Object.keys(THEMES);
    const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
    setTheme(next);
    keepTheme(next);
  });
}

startTheme();

// ---- tables that are wider than their place ----

function startBoxes() {
  const wide = (box) => box.classList.toggle("wide", box.scrollWidth > box.clientWidth);
  const watch = new ResizeObserver((entries) =>
    requestAnimationFrame(() => entries.forEach(({ target }) => wide(target.closest(".box")))));
  for (const box of document.querySelectorAll(".box")) [box, ...box.children].forEach((part) => watch.observe(part));
}

startBoxes();

// ---- packed data ----

const unpacked = new Map();

function unpack(name) {
  if (!unpacked.has(name)) unpacked.set(name, unpackNow(name));
  return unpacked.get(name);
}

async function unpackNow(name) {
  const binary = atob(byId(`data-${name}`).textContent);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place += 1) bytes[place] = binary.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// The same for a part that is read through once, and not kept.
const passThrough = (name) => unpacked.get(name) ?? unpackNow(name);

// The number of the part that holds a place; `starts` are the first places of the parts.
function partOf(starts, place) {
  let [low, high] = [0, starts.length - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (starts[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}
