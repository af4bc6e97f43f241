"use strict";
const MAX_FILE_BYTES = {{ max_file }};
// Number of bytes at the beginning of a file in which the server looks for the header.
const HEADER_BYTES = {{ header_bytes }};
const SECONDS_UNTIL_AGAIN = 1;

// The file that was chosen last, with the answers for its first rows. `nChosen` counts the files,
// because the answer for a file may arrive after a later file was chosen.
let table = null;
let nChosen = 0;
let stopping = null;

async function sendFile(path, content, settings, signal) {
  const headers = { "Content-Type": "application/octet-stream" };
  const url = `${path}?${new URLSearchParams(settings)}`;
  for (;;) {
    const answer = await fetch(url, { method: "POST", headers, body: content, signal });
    if (answer.ok) return answer;
    const { detail } = await answer.json().catch(() => ({ detail: "The server could not answer." }));
    if (answer.status !== 503) throw new Error(detail);
    await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS_UNTIL_AGAIN));
  }
}

async function choose(file) {
  for (const id of ["columns", "file-answer"]) at(id).hidden = true;
  at("file-problem").textContent = "";
  const number = ++nChosen;
  try {
    if (file.size > MAX_FILE_BYTES) {
      const limit = `The file must have at most ${MAX_FILE_BYTES / 1e6} MB;`;
      throw new Error(`${limit} \`make predict FILE=\` labels files of any size.`);
    }
    const format = file.name.toLowerCase().endsWith(".tsv") ? "tsv" : "csv";
    const answer = await sendFile("/columns", file.slice(0, HEADER_BYTES), { format });
    const { columns, column, problem } = await answer.json();
    if (number !== nChosen) return;
    table = { file, format, column: null, parts: [] };
    const options = columns.map((name) => new Option(name.trim(), name));
    at("column").replaceChildren(new Option("", ""), ...options);
    if (column !== null) at("column").value = column;
    at("file-problem").textContent = problem;
    at("file-name").textContent = file.name;
    at("columns").hidden = false;
  } catch (error) {
    if (number === nChosen) at("file-problem").textContent = reasonOf(error);
  }
}

// Yields the JSON values of an answer's lines.
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.map((line) => JSON.parse(line));
  }
}

const sumOf = (parts, name) => parts.reduce((sum, part) => sum + part[name], 0);
const shown = (count) => count.toLocaleString("en");

function showFile({ column, file, format, parts }) {
  URL.revokeObjectURL(at("download").href);
  const lines = parts.map((part) => part.lines);
  at("download").href = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
  at("download").download = file.name.replace(/(\.[^.]*)?$/, `.predictions.${format}`);
  const counts = new Map();
  for (const { labels } of parts) {
    for (const [label, n] of Object.entries(labels)) counts.set(label, (counts.get(label) ?? 0) + n);
  }
  const said = [...counts].sort().map(([label, count]) => `${label} ${shown(count)}`);
  const [nFew, nProblems] = [sumOf(parts, "n_few"), sumOf(parts, "n_problems")];
  if (nFew) said.push(`${shown(nFew)} of them with few known tokens`);
  if (nProblems) said.push(`${shown(nProblems)} with a problem`);
  const nRows = shown(sumOf(parts, "n_rows"));
  at("counts").textContent = `${file.name}, column ${column.trim()}, ${nRows} rows: ${said.join(", ")}.`;
  at("file-answer").hidden = false;
}

async function labelFile() {
  const labeled = table; // Another file may be dropped meanwhile.
  const column = at("column").value;
  if (labeled.column !== column) labeled.parts = [];
  labeled.column = column;
  at("file-problem").textContent = "";
  at("file-answer").hidden = true;
  at("progress").value = labeled.parts.at(-1)?.share ?? 0;
  at("progress").hidden = at("stop").hidden = false;
  at("label-file").disabled = true;
  stopping = new AbortController();
  const settings = { format: labeled.format, column, first: sumOf(labeled.parts, "n_rows") };
  try {
    const answer = await sendFile("/label", labeled.file, settings, stopping.signal);
    for await (const part of linesOf(answer)) {
      if (part.detail) throw new Error(part.detail);
      labeled.parts.push(part);
      at("progress").value = part.share;
    }
    showFile(labeled);
  } catch (error) {
    const reason = error.name === "AbortError" ? "You stopped the labeling." : reasonOf(error);
    const kept = "The labels so far are kept; click again to go on.";
    at("file-problem").textContent = `${reason} ${kept}`;
  } finally {
    at("progress").hidden = at("stop").hidden = true;
    at("label-file").disabled = false;
  }
}

at("stop").addEventListener("click", () => stopping.abort());
at("chosen").addEventListener("change", () => {
  const [file] = at("chosen").files;
  at("chosen").value = ""; // The same file can be chosen again after a change.
  if (file) choose(file);
});
at("columns").addEventListener("submit", (event) => { event.preventDefault(); labelFile(); });
// A file that misses the zone would replace the page.
const hasFiles = (event) => event.dataTransfer.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  at("drop").classList.add("over");
});
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, () => at("drop").classList.remove("over"));
}
document.addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  choose(event.dataTransfer.files[0]);
});
