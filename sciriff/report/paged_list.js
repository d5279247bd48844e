// A list that is looked at a page at a time, and the one of its entries that is shown beside it. Entries are pairs
// [task, row]. Everything stands in one element of the page: the parts are found by their classes.

const ROWS_A_PAGE = 50;

const same = (a, b) => a !== null && b !== null && a[0] === b[0] && a[1] === b[1];

class PagedList {
  // `line(entry)` is a link of the list, `show(entry)` fills the place beside it; the entry is null if nothing is found.
  // `keyOfOne(key)` handles a key for what is shown and says whether it was one. A list that has it hears keys from the
  // whole page, but for those in another list.
  constructor(place, { line, show, keyOfOne }) {
    Object.assign(this, { place, line, showOne: show, keyOfOne, found: [], page: 0, chosen: null });
    this.rows = this.part("rows");
    this.part("step-back").addEventListener("click", () => this.step(-1, false));
    this.part("step-on").addEventListener("click", () => this.step(1, false));
    this.part("page-back").addEventListener("click", () => this.turnTo(this.page - 1));
    this.part("page-on").addEventListener("click", () => this.turnTo(this.page + 1));
    (keyOfOne ? document : place).addEventListener("keydown", (event) => this.key(event));
  }

  part(name) {
    return this.place.querySelector(`.${name}`);
  }

  placeOf(which) {
    return this.found.findIndex((pair) => same(pair, which));
  }

  // What is chosen stays so if it is among the found.
  async fill(found) {
    this.found = found;
    if (this.placeOf(this.chosen) < 0) this.chosen = found[0] ?? null;
    this.list();
    await this.show();
  }

  pageOfChosen() {
    this.page = Math.floor(Math.max(0, this.placeOf(this.chosen)) / ROWS_A_PAGE);
  }

  list(turned = false) {
    if (!turned) this.pageOfChosen();
    const pages = Math.max(1, Math.ceil(this.found.length / ROWS_A_PAGE));
    const first = this.page * ROWS_A_PAGE;
    const focused = this.rows.contains(document.activeElement);
    this.rows.replaceChildren(...this.found.slice(first, first + ROWS_A_PAGE).map((entry) => {
      const anchor = this.line(entry);
      if (same(entry, this.chosen)) anchor.setAttribute("aria-current", "true");
      return element("li", {}, anchor);
    }));
    if (focused) this.focusChosen();
    this.rows.start = first + 1;
    this.part("page").textContent = `${this.page + 1} of ${pages}`;
    this.part("page-back").disabled = this.page === 0;
    this.part("page-on").disabled = this.page + 1 >= pages;
  }

  // Writes the line of an entry anew, if it is on this page of the list.
  again(which) {
    const anchor = this.rows.children[this.placeOf(which) - this.page * ROWS_A_PAGE]?.firstChild;
    if (!anchor) return;
    const focused = anchor === document.activeElement;
    const made = this.line(which);
    if (same(which, this.chosen)) made.setAttribute("aria-current", "true");
    anchor.replaceWith(made);
    if (focused) made.focus();
  }

  turnTo(next) {
    this.page = next;
    this.list(true);
    this.rows.scrollTop = 0;
  }

  async choose(which, focus) {
    this.chosen = which;
    this.list();
    const current = this.rows.querySelector("[aria-current]");
    if (current !== null) {
      if (focus) current.focus();
      const box = this.rows;
      const top = current.offsetTop;
      if (top < box.scrollTop || top + current.offsetHeight > box.scrollTop + box.clientHeight) {
        box.scrollTop = top - box.clientHeight / 2;
      }
      history.replaceState(null, "", current.getAttribute("href"));
    }
    await this.show();
  }

  focusChosen() {
    this.rows.querySelector("[aria-current]")?.focus({ preventScroll: true });
  }

  async show() {
    this.part("step-back").disabled = this.placeOf(this.chosen) <= 0;
    this.part("step-on").disabled = this.placeOf(this.chosen) + 1 >= this.found.length;
    await this.showOne(this.chosen);
  }

  step(by, focus) {
    const next = this.placeOf(this.chosen) + by;
    if (next >= 0 && next < this.found.length) this.choose(this.found[next], focus);
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
    const inside = this.place.contains(event.target);
    if (!inside && event.target.closest(".panes")) return;
    const inList = this.rows.contains(event.target);
    const one = this.part("one");
    if (event.key === "Escape" && one.contains(event.target)) {
      if (event.target !== one && event.target.matches("input")) one.focus();
      else this.rows.querySelector("[aria-current]")?.focus();
    } else if (event.target.closest("input, select, textarea")) return;
    else if (event.key === "Enter" && event.target.getAttribute("aria-current") === "true") one.focus();
    else {
      const arrows = { ...(inside && { ArrowRight: 1, ArrowLeft: -1 }), ...(inList && { ArrowDown: 1, ArrowUp: -1 }) };
      const by = { j: 1, k: -1, ...arrows }[event.key]; // elsewhere arrows scroll
      if (by !== undefined) this.step(by, inList || !inside);
      else if (!this.keyOfOne?.(event.key)) return;
      if (!inside) one.scrollIntoView({ block: "nearest" }); // what a key changed is seen
    }
    event.preventDefault();
  }
}

// Scrolls to the entry, or to what stands above list and entry where these are side by side.
function scrollToOne(one, above) {
  (matchMedia("(max-width: 800px)").matches ? one : above)?.scrollIntoView();
}

// Whether the browser can unpack data; if not, `trouble` says so.
function canUnpack(trouble, what) {
  if (typeof DecompressionStream !== "undefined") return true;
  trouble.textContent =
    `This browser cannot unpack ${what} (it has no DecompressionStream): ` +
    "use Chrome 80, Firefox 113, Safari 16.4 or newer.";
  trouble.hidden = false;
  return false;
}

// Calls `action` a moment after the last key, and when the form is cleared.
function whenTyped(form, action) {
  let wait = 0;
  form.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(action, 120);
  });
  form.addEventListener("reset", () => setTimeout(action));
  form.addEventListener("submit", (event) => event.preventDefault());
}

// A part of the address as text.
const decoded = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a % that encodes nothing: taken as it stands
  }
};
