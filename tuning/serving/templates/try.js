"use strict";
const at = (id) => document.getElementById(id);
const signed = (effect) => (effect < 0 ? "\u2212" : "+") + Math.abs(effect).toFixed(4);
// The outputs of models are float32, which has 7 digits. Without an exponent, unlike toPrecision.
const FLOAT32 = { maximumSignificantDigits: 7, useGrouping: false };
const N_SHOWN = 20;

// A word as the tokenizer writes it: in ASCII lower case, without ASCII punctuation.
function tokenOf(piece) {
  const plain = piece.replace(/[!-\/:-@\[-`{-~]/g, "");
  return plain.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function cell(row, text) {
  row.insertCell().textContent = text;
}

function color(effect, largest) {
  const share = largest > 0 ? Math.min(Math.abs(effect) / largest, 1) : 0;
  return effect < 0 ? `rgba(214, 90, 40, ${0.6 * share})` : `rgba(40, 130, 214, ${0.6 * share})`;
}

function showText(text, words, largest) {
  const effects = new Map(words.map((word) => [word.word, word.effect]));
  at("text").replaceChildren(...text.split(/([\t\n\v\f\r ]+)/).map((piece) => {
    const effect = effects.get(tokenOf(piece));
    if (!effect) return document.createTextNode(piece);
    const span = document.createElement("span");
    span.textContent = piece;
    span.title = signed(effect);
    span.style.backgroundColor = color(effect, largest);
    return span;
  }));
}

function show(text, explanation) {
  const { label, probability, probabilities, problem, low, high } = explanation.prediction;
  at("label").textContent = label === "" ? "no label" : label;
  const bounds = [low, high].map((bound) => bound?.toLocaleString("en", FLOAT32));
  const interval = low === undefined ? "" : `, between ${bounds.join(" and ")}`;
  at("probability").textContent =
    probability === null ? interval : ` with probability ${probability.toFixed(4)}`;
  at("few").textContent = problem && `${problem}, so the label says little about this text.`;
  const others = Object.entries(probabilities).filter(([name]) => name !== label);
  const largestOthers = others.sort((a, b) => b[1] - a[1]).slice(0, 5);
  at("others").textContent =
    largestOthers.map(([name, value]) => `${name} ${value.toFixed(4)}`).join(", ");
  const nLeft = explanation.n_words_left_out;
  at("left").textContent = nLeft ? ` ${nLeft} further words are too many to be hidden.` : "";
  const largest = Math.max(0, ...explanation.words.map((word) => Math.abs(word.effect)));
  showText(text, explanation.words, largest);
  at("words").replaceChildren();
  const moving = explanation.words.filter((word) => word.effect !== 0);
  at("none").hidden = moving.length > 0;
  for (const word of moving.slice(0, N_SHOWN)) {
    const row = at("words").insertRow();
    cell(row, word.word);
    cell(row, word.count);
    cell(row, signed(word.effect));
    row.cells[2].style.backgroundColor = color(word.effect, largest);
  }
  const { study, created } = explanation.export;
  const title = "export";
  at("export").textContent = `Study ${study}, ${title} of ${created}`;
  at("answer").hidden = false;
}

const wellFormed = (text) => text.toWellFormed?.() ?? text;
function reasonOf(error) {
  return error instanceof TypeError ? "The server does not answer." : error.message;
}

// The status of an answer and its JSON, which has a `detail` if the server refuses the request.
async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  const result = await answer.json().catch(() => ({ detail: "The server could not answer." }));
  return { ok: answer.ok, status: answer.status, result };
}

async function send() {
  const text = at("review").value;
  at("problem").textContent = "";
  at("send").disabled = true;
  try {
    const { ok, result } = await post("/explain", { text: wellFormed(text) });
    if (!ok) throw new Error(result.detail);
    show(text, result);
  } catch (error) {
    at("answer").hidden = true;
    at("problem").textContent = reasonOf(error);
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
