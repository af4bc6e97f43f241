"use strict";
// The file stays in the browser, and its texts are sent to /predict in requests of this size. A character takes up to six bytes
// of JSON, and the server accepts bodies of 4 MiB.
const MAX_ROWS = 1000;
const MAX_CHARACTERS = 500000;
// Maximum number of characters of a text; the server's limit.
const MAX_TEXT = 100000;
const MAX_FILE_BYTES = 100e6;
const ADDED = ["predicted_label", "predicted_probability", "prediction_problem"];
const SECONDS_UNTIL_AGAIN = 1;

let table = null;

// The delimiter that occurs most often in the header outside quotes.
function delimiterOf(text) {
  const header = text.replace(/"[^"]*"/g, "").split(/\r?\n/, 1)[0];
  return [",", ";", "\t"].reduce((best, one) => (header.split(one).length > header.split(best).length ? one : best));
}

// The records of a CSV text (RFC 4180). Empty lines are left out.
function parse(text, delimiter) {
  const records = [];
  const cells = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${delimiter}\r\n][^${delimiter}\r\n]*|))(${delimiter}|\r\n|\n|\r|$)`, "y");
  let record = [];
  while (cells.lastIndex < text.length || record.length) {
    const start = cells.lastIndex;
    const found = cells.exec(text);
    if (!found) {
      const line = text.slice(0, start).split("\n").length;
      throw new Error(`A quote in line ${line} of the file must end before the next delimiter.`);
    }
    record.push(found[1] === undefined ? found[2] : found[1].replaceAll('""', '"'));
    if (found[3] === delimiter) continue;
    if (record.length > 1 || record[0] !== "") records.push(record);
    record = [];
  }
  return records;
}

function written(cell, delimiter) {
  return /["\r\n]/.test(cell) || cell.includes(delimiter) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

// A spreadsheet would read a label that starts with one of these characters as a formula.
const noFormula = (label) => (/^[=+\-@\t\r]/.test(label) ? `'${label}` : label);

async function read(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new Error(`The file must have at most ${MAX_FILE_BYTES / 1e6} MB; \`make predict FILE=\` labels files of any size.`);
  }
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    throw new Error("The file must be text in UTF-8.");
  }
  const delimiter = delimiterOf(text);
  const [header, ...rows] = parse(text, delimiter);
  if (!rows.length) throw new Error("The file must have a header and at least one row.");
  return { name: file.name, delimiter, header, rows };
}

async function choose(file) {
  for (const id of ["columns", "file-answer"]) at(id).hidden = true;
  at("file-problem").textContent = "";
  try {
    table = await read(file);
  } catch (error) {
    at("file-problem").textContent = error.message;
    return;
  }
  at("column").replaceChildren(...table.header.map((name, position) => new Option(name, position)));
  const known = JSON.parse(at("file").dataset.columns).find((name) => table.header.includes(name));
  at("column").value = Math.max(0, table.header.indexOf(known));
  at("file-name").textContent = table.name;
  at("columns").hidden = false;
}

async function ask(texts) {
  const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ texts }) };
  for (;;) {
    const answer = await fetch("/predict", request);
    if (answer.status !== 503) return answer;
    await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS_UNTIL_AGAIN));
  }
}

// The added cells of each text. If the server refuses a request because of one of its texts, the halves are sent.
async function labels(texts) {
  const answer = await ask(texts);
  const result = await answer.json().catch(() => ({ detail: "The server could not answer." }));
  if (answer.ok) return result.predictions.map((one) => [noFormula(one.label), one.probability.toFixed(6), ""]);
  if (answer.status !== 422) throw new Error(result.detail);
  if (texts.length === 1) return [["", "", result.detail]];
  const half = Math.ceil(texts.length / 2);
  return [...(await labels(texts.slice(0, half))), ...(await labels(texts.slice(half)))];
}

function problemOf(row, column, header) {
  if (row.length !== header.length) return `the row has ${row.length} fields, the header ${header.length}`;
  if (!row[column].trim()) return "no text";
  return row[column].length > MAX_TEXT ? `more than ${MAX_TEXT} characters` : "";
}

// Sets `row.added` for every row, and shows the share of rows that have it.
async function labelRows(rows, column, header) {
  let batch = [];
  let size = 0;
  const flush = async () => {
    const added = batch.length ? await labels(batch.map((row) => row.cells[column].toWellFormed?.() ?? row.cells[column])) : [];
    batch.forEach((row, position) => { row.added = added[position]; });
    at("progress").value += batch.length;
    [batch, size] = [[], 0];
  };
  for (const row of rows) {
    const problem = problemOf(row.cells, column, header);
    if (problem) {
      row.added = ["", "", problem];
      at("progress").value += 1;
      continue;
    }
    if (batch.length === MAX_ROWS || size + row.cells[column].length > MAX_CHARACTERS) await flush();
    batch.push(row);
    size += row.cells[column].length;
  }
  await flush();
}

function showFile({ delimiter, header, name }, rows) {
  const filled = (cells) => [...cells, ...Array(Math.max(header.length - cells.length, 0)).fill("")];
  const lines = [[...header, ...ADDED], ...rows.map((row) => [...filled(row.cells), ...row.added])];
  const content = lines.map((line) => line.map((cell) => written(cell, delimiter)).join(delimiter) + "\n").join("");
  URL.revokeObjectURL(at("download").href);
  at("download").href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  at("download").download = name.replace(/(\.[^.]*)?$/, ".predictions.csv");
  const counts = new Map();
  for (const row of rows) counts.set(row.added[0], (counts.get(row.added[0]) ?? 0) + 1);
  const parts = [...counts].filter(([label]) => label).sort().map(([label, count]) => `${label} ${count.toLocaleString("en")}`);
  if (counts.has("")) parts.push(`${counts.get("").toLocaleString("en")} with a problem`);
  at("counts").textContent = `${rows.length.toLocaleString("en")} rows: ${parts.join(", ")}.`;
  at("file-answer").hidden = false;
}

async function labelFile() {
  const labeled = table; // Another file may be dropped meanwhile.
  const rows = labeled.rows.map((cells) => ({ cells }));
  at("file-problem").textContent = "";
  at("file-answer").hidden = true;
  Object.assign(at("progress"), { max: rows.length, value: 0, hidden: false });
  at("label-file").disabled = true;
  try {
    await labelRows(rows, Number(at("column").value), labeled.header);
    showFile(labeled, rows);
  } catch (error) {
    at("file-problem").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  } finally {
    at("progress").hidden = true;
    at("label-file").disabled = false;
  }
}

at("chosen").addEventListener("change", () => { if (at("chosen").files.length) choose(at("chosen").files[0]); });
at("columns").addEventListener("submit", (event) => { event.preventDefault(); labelFile(); });
// A file that misses the zone would replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
document.addEventListener("dragover", () => at("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]); });
