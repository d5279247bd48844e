// What this page does beside page.js: a link to a task opens it.

function openLinked() {
  let name = "";
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch { /* an address that somebody typed */ }
  const found = name && byId(name);
  if (found && found.tagName === "DETAILS") {
    found.open = true;
    found.scrollIntoView();
  }
}

window.addEventListener("hashchange", openLinked);
openLinked();
