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
