"use strict";
// optuna-dashboard says nowhere whether it is dark but in its colours.
const look = () => {
  const card = document.querySelector(".MuiCard-root");
  if (!card) return;
  const [red, green, blue] = getComputedStyle(card).backgroundColor.match(/[\d.]+/g).map(Number);
  document.documentElement.dataset.look = red + green + blue < 384 ? "dark" : "light";
};
let waits = false;
new MutationObserver(() => {
  if (waits) return;
  waits = true;
  setTimeout(() => { waits = false; look(); }, 100);
}).observe(document.documentElement,
  { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });

// A page never asks again for a complete trial, while what the search expects of it moves on. So
// it is loaded again when more trials are known, but not under anybody's hands, nor where that
// would lose what somebody has written or chosen.
let touched = Date.now();
for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
}
const KEPT = "input[type=text], textarea, [role=dialog], tbody input:checked";
let first;
const reloadWhereMoreIsKnown = async () => {
  const answer = await fetch("/static/transfer-search.known", { cache: "no-store" });
  if (!answer.ok) return;
  const known = await answer.text();
  first ??= known;
  if (known !== first) location.reload();
};
const ask = () => reloadWhereMoreIsKnown().catch(() => {});  // the server is away
ask();
setInterval(() => {
  if (Date.now() - touched >= 60000 && !document.querySelector(KEPT)) ask();
}, 30000);
