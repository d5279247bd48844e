// Which words of two texts are not in the other, by the shortest edit script (Myers, 1986).

const MOST_EDITS = 800; // with more the texts are too different to be worth it: what lies between their ends is marked whole

const diffWords = (text) => Array.from(text.matchAll(/[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_]/gu), (hit) => [hit[0], hit.index]);

// Ranges of characters [start, end] of both texts, those of words side by side as one.
function differences(one, other) {
  const [a, b] = [diffWords(one), diffWords(other)];
  let start = 0;
  while (start < a.length && start < b.length && a[start][0] === b[start][0]) start += 1;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1][0] === b[endB - 1][0]) {
    endA -= 1;
    endB -= 1;
  }
  const [onlyA, onlyB] = edits(a.slice(start, endA), b.slice(start, endB));
  return [rangesOfWords(a, onlyA, start), rangesOfWords(b, onlyB, start)];
}

// Places of the words of `a` and of `b` that are not in the longest common subsequence.
function edits(a, b) {
  const all = (words) => words.map((_, at) => at);
  if (a.length === 0 || b.length === 0) return [all(a), all(b)];
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const middle = most + 1;
  const reach = new Int32Array(2 * most + 3); // diagonal + middle -> furthest place in a
  const history = [];
  for (let cost = 0; cost <= most; cost += 1) {
    history.push(reach.slice(middle - cost - 1, middle + cost + 2));
    for (let diagonal = -cost; diagonal <= cost; diagonal += 2) {
      const down = diagonal === -cost || (diagonal !== cost && reach[middle + diagonal - 1] < reach[middle + diagonal + 1]);
      let x = down ? reach[middle + diagonal + 1] : reach[middle + diagonal - 1] + 1;
      while (x < a.length && x - diagonal < b.length && a[x][0] === b[x - diagonal][0]) x += 1;
      reach[middle + diagonal] = x;
      if (x >= a.length && x - diagonal >= b.length) return backwards(history, a.length, b.length);
    }
  }
  return [all(a), all(b)];
}

function backwards(history, lengthA, lengthB) {
  const [onlyA, onlyB] = [[], []];
  let [x, y] = [lengthA, lengthB];
  for (let cost = history.length - 1; cost > 0; cost -= 1) {
    const reach = history[cost];
    const at = (diagonal) => reach[diagonal + cost + 1];
    const diagonal = x - y;
    const down = diagonal === -cost || (diagonal !== cost && at(diagonal - 1) < at(diagonal + 1));
    const before = down ? diagonal + 1 : diagonal - 1;
    x = at(before);
    y = x - before;
    if (down) onlyB.push(y);
    else onlyA.push(x);
  }
  return [onlyA.reverse(), onlyB.reverse()];
}

function rangesOfWords(words, places, offset) {
  const ranges = [];
  let last = -2;
  for (const place of places) {
    const [word, at] = words[place + offset];
    if (place === last + 1 && ranges.length > 0) ranges.at(-1)[1] = at + word.length;
    else ranges.push([at, at + word.length]);
    last = place;
  }
  return ranges;
}
