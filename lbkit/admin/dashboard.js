"use strict";
// Reads /status every second and draws it. A row is kept while its server exists, so that what somebody
// types into it is not lost; all text goes in as text, never as HTML.

const seen = new Map(); // "pool/server" → counters at the last look, for rates
let lastTime = 0;

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

async function change(path, method, body) {
  const problem = document.getElementById("problem");
  try {
    const answer = await fetch(path, {
      method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body),
    });
    problem.hidden = answer.ok;
    if (!answer.ok) problem.textContent = (await answer.json()).errors.join("; ");
  } catch (error) {
    problem.hidden = false;
    problem.textContent = String(error);
  }
  await refresh();
}

const COLUMNS = ["server", "address", "state", "weight", "open", "per second", "errors", "change"];
const NUMBERS = new Set(["weight", "open", "per second", "errors"]);

function drawPool(name, pool, seconds) {
  let section = document.getElementById("pool " + name);
  if (!section) {
    section = make("section");
    section.id = "pool " + name;
    section.append(make("h2"), make("table"));
    const head = section.querySelector("table").createTHead().insertRow();
    for (const column of COLUMNS) head.append(make("th", column, NUMBERS.has(column) ? "number" : ""));
    section.querySelector("table").createTBody();
    document.getElementById("pools").append(section);
  }
  const waiting = pool.waiting ? `, ${pool.waiting} waiting` : "";
  section.querySelector("h2").textContent =
    `pool ${name}: ${pool.available.length} of ${Object.keys(pool.servers).length} available${waiting}`;
  const rows = section.querySelector("tbody");
  for (const row of [...rows.rows]) if (!(row.dataset.server in pool.servers)) row.remove();
  for (const [server, facts] of Object.entries(pool.servers)) drawServer(rows, name, server, facts, seconds);
}

function drawServer(rows, pool, name, facts, seconds) {
  let row = [...rows.rows].find((one) => one.dataset.server === name);
  if (!row) row = makeRow(rows, pool, name);
  const key = JSON.stringify([pool, name]);
  const before = seen.get(key);
  const rate = before === undefined || !seconds ? 0 : (facts.sessions - before) / seconds;
  seen.set(key, facts.sessions);
  const errors = facts.connect_errors + facts.response_errors + facts.timeouts;
  const limit = facts.limit ? ` / ${facts.limit}` : "";
  const cells = row.cells;
  cells[0].textContent = name + (facts.backup ? " (backup)" : "");
  cells[1].textContent = facts.address;
  const apart = Object.entries(facts.in_workers ?? {}).map(([number, state]) => `; ${state} in worker ${number}`);
  const reason = make("span", facts.reason + apart.join(""), "reason");
  cells[2].replaceChildren(make("span", facts.state, "state " + facts.state), " ", reason);
  const part = facts.effective_weight === facts.weight ? "" : ` (now ${facts.effective_weight})`;
  cells[3].querySelector("span").textContent = part;
  const input = cells[3].querySelector("input");
  if (document.activeElement !== input) input.value = facts.weight;
  cells[4].textContent = facts.open_sessions + limit;
  cells[5].textContent = rate.toFixed(rate < 10 ? 1 : 0);
  cells[6].textContent = errors;
  for (const button of cells[7].querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.textContent === facts.admin));
  }
}

function makeRow(rows, pool, name) {
  const row = rows.insertRow();
  row.dataset.server = name;
  for (const column of COLUMNS) row.append(make("td", "", NUMBERS.has(column) ? "number" : ""));
  const path = `/pools/${encodeURIComponent(pool)}/servers/${encodeURIComponent(name)}`;
  const input = make("input");
  input.type = "number";
  input.min = 0;
  input.max = 256;
  input.setAttribute("aria-label", `weight of ${name}`);
  input.addEventListener("change", () => change(path, "PATCH", { weight: Number(input.value) }));
  row.cells[3].append(input, make("span"));
  for (const state of ["ready", "drain", "maint"]) {
    const button = make("button", state);
    button.addEventListener("click", () => change(path, "PATCH", { state }));
    row.cells[7].append(button, " ");
  }
  return row;
}

function drawListeners(listeners) {
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const column of ["listener", "address", "mode", "pool", "open", "sessions"]) {
    head.append(make("th", column, column === "open" || column === "sessions" ? "number" : ""));
  }
  const body = table.createTBody();
  for (const [name, facts] of Object.entries(listeners)) {
    const row = body.insertRow();
    for (const value of [name, facts.address, facts.mode, facts.pool ?? "–"]) row.append(make("td", value));
    for (const value of [facts.open_sessions, facts.sessions]) row.append(make("td", value, "number"));
  }
  document.getElementById("listeners").replaceChildren(make("h2", "listeners"), table);
}

async function refresh() {
  const summary = document.getElementById("summary");
  try {
    const facts = await (await fetch("/status")).json();
    const now = performance.now() / 1000;
    const seconds = lastTime ? now - lastTime : 0;
    lastTime = now;
    drawListeners(facts.listeners);
    for (const section of document.querySelectorAll("#pools > section")) {
      if (!(section.id.slice(5) in facts.pools)) section.remove();
    }
    for (const [name, pool] of Object.entries(facts.pools)) drawPool(name, pool, seconds);
    const workers = Object.values(facts.workers ?? {}).map((worker) => worker.open_sessions);
    const shares = workers.length ? `, ${workers.length} workers with ${workers.join(" + ")} open sessions` : "";
    summary.textContent = `version ${facts.version}, ${facts.reloads} reloads${shares}`;
  } catch (error) {
    summary.textContent = "no answer from lbkit: " + error;
  }
}

refresh();
setInterval(refresh, 1000);
