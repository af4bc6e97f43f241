"use strict";
// The file stays in the browser, and its texts are sent to /predict in requests of this size. A
// character takes up to six bytes of JSON, and the server accepts bodies of 4 MiB.
const MAX_ROWS = {{ max_texts }};
const MAX_CHARACTERS = 500000;
// Maximum number of characters of a text.
const MAX_TEXT = {{ max_characters }};
const MAX_FILE_BYTES = 100e6;
const ADDED = ["predicted_label", "predicted_probability", "prediction_problem"];
const SECONDS_UNTIL_AGAIN = 1;

// The file that was chosen last: its rows are {cells, added}. `nChosen` counts the files, because a
// large file may be read after a small file that was chosen later.
let table = null;
let nChosen = 0;

// The delimiter that occurs most often in the header outside quotes.
function delimiterOf(text) {
  const header = text.replace(/"[^"]*"/g, "").split(/\r\n|\n|\r/, 1)[0];
  const count = (delimiter) => header.split(delimiter).length;
  return [",", ";", "\t"].reduce((best, other) => (count(other) > count(best) ? other : best));
}

// The records of a CSV text (RFC 4180). Text after a closing quote belongs to the cell. Empty lines
// are left out.
function parse(text, delimiter) {
  const records = [];
  const inside = `[^${delimiter}\r\n]`;
  const quoted = `"([^"]*(?:""[^"]*)*)"(${inside}*)`;
  const plain = `([^"${delimiter}\r\n]${inside}*|)`;
  const cells = new RegExp(`(?:${quoted}|${plain})(${delimiter}|\r\n|\n|\r|$)`, "y");
  let record = [];
  let isQuoted = false;
  while (cells.lastIndex < text.length || record.length) {
    const start = cells.lastIndex;
    const match = cells.exec(text);
    if (!match) {
      const line = text.slice(0, start).split(/\r\n|\n|\r/).length;
      throw new Error(`Line ${line} of the file has a quoted field that is not closed.`);
    }
    isQuoted ||= match[1] !== undefined;
    record.push(match[1] === undefined ? match[3] : match[1].replaceAll('""', '"') + match[2]);
    if (match[4] === delimiter) continue;
    if (record.length > 1 || record[0] !== "" || isQuoted) records.push(record);
    [record, isQuoted] = [[], false];
  }
  return records;
}

// The records of a TSV text, in which quotes have no meaning.
function parseTsv(text) {
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line);
  return lines.map((line) => line.split("\t"));
}

function written(cell, delimiter, isTsv) {
  const isQuoted = !isTsv && (/["\r\n]/.test(cell) || cell.includes(delimiter));
  return isQuoted ? `"${cell.replaceAll('"', '""')}"` : cell;
}

// A spreadsheet would read a label that starts with one of these characters as a formula.
// A number with a sign, such as -1, is no formula.
const isNumber = (label) => /^[+-][0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$/i.test(label);
const noFormula = (label) =>
  /^[=+\-@\t\r]/.test(label) && !isNumber(label) ? `'${label}` : label;

async function read(file) {
  if (file.size > MAX_FILE_BYTES) {
    const limit = `The file must have at most ${MAX_FILE_BYTES / 1e6} MB;`;
    throw new Error(`${limit} \`make predict FILE=\` labels files of any size.`);
  }
  const bytes = await file.arrayBuffer().catch(() => {
    throw new Error("The file can't be read.");
  });
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error("The file must be text in UTF-8.");
  }
  const isTsv = file.name.toLowerCase().endsWith(".tsv");
  const delimiter = isTsv ? "\t" : delimiterOf(text);
  const [header, ...records] = isTsv ? parseTsv(text) : parse(text, delimiter);
  if (!records.length) throw new Error("The file must have a header and at least one row.");
  const rows = records.map((cells) => ({ cells, added: null }));
  return { name: file.name, isTsv, delimiter, header, rows, column: null };
}

async function choose(file) {
  for (const id of ["columns", "file-answer"]) at(id).hidden = true;
  at("file-problem").textContent = "";
  const number = ++nChosen;
  try {
    const chosen = await read(file);
    if (number !== nChosen) return;
    table = chosen;
  } catch (error) {
    if (number === nChosen) at("file-problem").textContent = error.message;
    return;
  }
  const names = table.header.map((name) => name.trim());
  const options = names.map((name, position) => new Option(name, position));
  at("column").replaceChildren(new Option("", ""), ...options);
  const columns = JSON.parse(at("file").dataset.columns);
  const known = columns.find((name) => names.includes(name));
  if (known !== undefined) at("column").value = names.indexOf(known);
  else {
    const absent = `The file has no column ${columns.join(" or ")};`;
    at("file-problem").textContent = `${absent} choose the column of the texts.`;
  }
  at("file-name").textContent = table.name;
  at("columns").hidden = false;
}

async function ask(texts) {
  for (;;) {
    const answer = await post("/predict", { texts });
    if (answer.status !== 503) return answer;
    await new Promise((resolve) => setTimeout(resolve, 1000 * SECONDS_UNTIL_AGAIN));
  }
}

// The added cells of each text. If the server refuses a request because of one of its texts, the
// halves are sent.
async function labels(texts) {
  const { ok, status, result } = await ask(texts);
  const cellsOf = (row) => [noFormula(row.label), row.probability.toFixed(6), row.problem];
  if (ok) return result.predictions.map(cellsOf);
  if (status !== 422) throw new Error(result.detail);
  if (texts.length === 1) return [["", "", result.detail]];
  const half = Math.ceil(texts.length / 2);
  return [...(await labels(texts.slice(0, half))), ...(await labels(texts.slice(half)))];
}

function problemOf(row, column, header) {
  if (row.length !== header.length) {
    return `the row has ${row.length} fields, the header ${header.length}`;
  }
  if (!row[column].trim()) return "no text";
  const isLong = row[column].length > MAX_TEXT && [...row[column]].length > MAX_TEXT;
  return isLong ? `more than ${MAX_TEXT} characters` : "";
}

// Sets `row.added` for every row that has none, and shows the share of rows that have it.
async function labelRows(rows, column, header) {
  let batch = [];
  let size = 0;
  const flush = async () => {
    const texts = batch.map((row) => wellFormed(row.cells[column]));
    const added = texts.length ? await labels(texts) : [];
    batch.forEach((row, position) => { row.added = added[position]; });
    at("progress").value += batch.length;
    [batch, size] = [[], 0];
  };
  for (const row of rows.filter((row) => !row.added)) {
    const problem = problemOf(row.cells, column, header);
    if (problem) {
      row.added = ["", "", problem];
      at("progress").value += 1;
      continue;
    }
    const { length } = row.cells[column];
    if (batch.length === MAX_ROWS || size + length > MAX_CHARACTERS) await flush();
    batch.push(row);
    size += length;
  }
  await flush();
}

function showFile({ column, delimiter, header, isTsv, name, rows }) {
  // Every record is as wide as the header: further fields of a row belong to its last cell.
  const last = header.length - 1;
  const rest = (cells) => cells.slice(last).join(delimiter);
  const fitted = (cells) => header.map((_, k) => (k < last ? cells[k] ?? "" : rest(cells)));
  const lines = [[...header, ...ADDED], ...rows.map((row) => [...fitted(row.cells), ...row.added])];
  const writtenLine = (line) => line.map((cell) => written(cell, delimiter, isTsv)).join(delimiter);
  const content = lines.map((line) => writtenLine(line) + "\n").join("");
  URL.revokeObjectURL(at("download").href);
  at("download").href = URL.createObjectURL(new Blob([content], { type: "text/csv" }));
  at("download").download = name.replace(/(\.[^.]*)?$/, `.predictions.${isTsv ? "tsv" : "csv"}`);
  const counts = new Map();
  for (const row of rows) counts.set(row.added[0], (counts.get(row.added[0]) ?? 0) + 1);
  const labeled = [...counts].filter(([label]) => label).sort();
  const parts = labeled.map(([label, count]) => `${label} ${count.toLocaleString("en")}`);
  const nFew = rows.filter(({ added: [label, , problem] }) => label && problem).length;
  if (nFew) parts.push(`${nFew.toLocaleString("en")} of them with few known tokens`);
  if (counts.has("")) parts.push(`${counts.get("").toLocaleString("en")} with a problem`);
  const nRows = rows.length.toLocaleString("en");
  const read = `${name}, column ${header[column]}`;
  at("counts").textContent = `${read}, ${nRows} rows: ${parts.join(", ")}.`;
  at("file-answer").hidden = false;
}

async function labelFile() {
  const labeled = table; // Another file may be dropped meanwhile.
  const column = Number(at("column").value);
  if (labeled.column !== column) labeled.rows.forEach((row) => { row.added = null; });
  labeled.column = column;
  at("file-problem").textContent = "";
  at("file-answer").hidden = true;
  const nLabeled = labeled.rows.filter((row) => row.added).length;
  Object.assign(at("progress"), { max: labeled.rows.length, value: nLabeled, hidden: false });
  at("label-file").disabled = true;
  try {
    await labelRows(labeled.rows, column, labeled.header);
    showFile(labeled);
  } catch (error) {
    const kept = "The labels so far are kept; click again to go on.";
    at("file-problem").textContent = `${reasonOf(error)} ${kept}`;
  } finally {
    at("progress").hidden = true;
    at("label-file").disabled = false;
  }
}

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
