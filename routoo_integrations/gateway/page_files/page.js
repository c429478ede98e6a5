"use strict";

// Asks for the page again and again and puts what has changed in the place of what is shown.

const EVERY_MS = 3000;
const shown = new Map();
let isPaused = false;

function sections(page) {
  return page.querySelectorAll("[data-live]");
}

function isInUse(section) {
  const field = document.activeElement;
  return field !== null && field.matches("input, select") && section.contains(field);
}

function replace(section, fresh) {
  const opened = [...section.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...section.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  const focused = section.contains(document.activeElement) ? document.activeElement.id : "";
  section.replaceChildren(...fresh.childNodes);
  for (const id of opened) {
    const details = document.getElementById(id);
    if (details !== null) details.open = true;
  }
  section.querySelectorAll(".scroll").forEach((one, index) => {
    one.scrollLeft = scrolled[index] ?? 0;
  });
  if (focused !== "") document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  if (isPaused || document.hidden) return;
  const reply = await fetch(window.location.href, { cache: "no-store" });
  if (reply.status === 401) {
    window.location.reload();
    return;
  }
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  const page = new DOMParser().parseFromString(await reply.text(), "text/html");
  for (const section of sections(document)) {
    const fresh = page.getElementById(section.id);
    if (fresh === null || isInUse(section)) continue;
    const text = fresh.innerHTML;
    if (text === shown.get(section.id)) continue;
    shown.set(section.id, text);
    replace(section, fresh);
  }
}

async function keepRefreshing() {
  try {
    await refresh();
  } catch {
    document.getElementById("as-of").textContent = "The gateway does not answer; trying again.";
    shown.delete("as-of");
  }
  setTimeout(keepRefreshing, EVERY_MS);
}

const pause = document.getElementById("pause");
pause.hidden = false;
pause.addEventListener("click", () => {
  isPaused = !isPaused;
  pause.setAttribute("aria-pressed", String(isPaused));
});
for (const section of sections(document)) shown.set(section.id, section.innerHTML);
setTimeout(keepRefreshing, EVERY_MS);
