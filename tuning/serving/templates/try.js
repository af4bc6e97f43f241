"use strict";
const at = (id) => document.getElementById(id);
// The outputs of models are float32, which has 7 digits. Without an exponent, unlike toPrecision.
const FLOAT32 = { maximumSignificantDigits: 7, useGrouping: false };

function show({ label, probability, probabilities, low, high }, { study, created }) {
  at("label").textContent = label === "" ? "no label" : label;
  const bounds = [low, high].map((bound) => bound?.toLocaleString("en", FLOAT32));
  const interval = low === null ? "" : `, between ${bounds.join(" and ")}`;
  at("probability").textContent =
    probability === null ? interval : ` with probability ${probability.toFixed(4)}`;
  const others = Object.entries(probabilities).filter(([name]) => name !== label);
  const largestOthers = others.sort((a, b) => b[1] - a[1]).slice(0, 5);
  at("others").textContent =
    largestOthers.map(([name, value]) => `${name} ${value.toFixed(4)}`).join(", ");
  at("export").textContent = `Study ${study}, export of ${created}`;
  at("answer").hidden = false;
}

async function send() {
  const text = at("review").value;
  at("problem").textContent = "";
  at("send").disabled = true;
  try {
    const headers = { "Content-Type": "application/json" };
    // JSON of a lone surrogate is refused.
    const body = JSON.stringify({ texts: [text.toWellFormed?.() ?? text] });
    const answer = await fetch("/predict", { method: "POST", headers, body });
    const result = await answer.json().catch(() => ({ detail: "The server could not answer." }));
    if (!answer.ok) throw new Error(result.detail);
    show(result.predictions[0], result.export);
  } catch (error) {
    at("answer").hidden = true;
    const isLost = error instanceof TypeError;
    at("problem").textContent = isLost ? "The server does not answer." : error.message;
  } finally {
    at("send").disabled = false;
  }
}

at("form").addEventListener("submit", (event) => { event.preventDefault(); send(); });
for (const example of document.querySelectorAll("#examples button")) {
  example.addEventListener("click", () => {
    at("review").value = example.textContent;
    send();
  });
}
