// Shows the OpenAPI document of this node. All text goes in as text, never as markup.
"use strict";

let doc;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

// Text with `code` in it.
function prose(text) {
  return (text || "").split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

function resolve(node) {
  while (node && node.$ref) node = node.$ref.slice(2).split("/").reduce((at, name) => at[name], doc);
  return node || {};
}

function kind(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  if (schema.allOf) return kind(schema.allOf[0]);
  if (schema.anyOf) return schema.anyOf.map(kind).join(" | ");
  if (schema.type === "array") return `list of ${kind(schema.items || {})}`;
  const least = schema.minimum, most = schema.maximum;
  const range = most !== undefined && most < 1e9 ? ` ${least}–${most}` : "";
  return (schema.format === "password" ? "secret" : schema.type || "any") + range;
}

function table(rows) {
  const body = rows.map(([name, schema, description, needed, fields]) => {
    const said = [...prose(description)];
    if (schema.default !== undefined && schema.default !== "") {
      said.push(" ", "Default: ", make("code", {}, JSON.stringify(schema.default)), ".");
    }
    if (fields) said.push(make("div", { class: "fields" }, "Fields: ", fields.join(", ")));
    const cell = make("td", {}, make("code", needed ? { class: "needed" } : {}, name));
    return make("tr", {}, cell, make("td", {}, kind(schema)), make("td", {}, ...said));
  });
  const head = make("tr", {}, ...["name", "type", "meaning"].map((text) => make("th", {}, text)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

function section(title, ...content) {
  return make("details", {}, make("summary", {}, title), ...content);
}

function properties(schema) {
  const needed = schema.required || [];
  return Object.entries(schema.properties || {}).map(([name, inner]) => [
    name, inner, resolve(inner).description || inner.description, needed.includes(name),
  ]);
}

// The calls of the document, one for each name: what differs by its body is told apart.
function calls() {
  const found = new Map();
  for (const [path, methods] of Object.entries(doc.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      for (const call of operation["x-calls"]) {
        if (!found.has(call.name)) found.set(call.name, { ...call, operation, method, paths: [] });
        found.get(call.name).paths.push(path);
      }
    }
  }
  return [...found.values()];
}

function replyOf(operation) {
  const answer = resolve(operation.responses["200"]);
  return answer.content ? answer.content["application/json"].schema : {};
}

function parameterRows(call) {
  const all = call.operation.parameters.map(resolve);
  const rows = (list) => list.map((one) => [one.name, one.schema, one.description, one.required, one["x-fields"]]);
  return [rows(all.filter((one) => one.in !== "header")), rows(all.filter((one) => one.in === "header"))];
}

function answers(call) {
  const parts = [];
  for (const [status, answer] of Object.entries(call.operation.responses)) {
    parts.push(make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, ...prose(resolve(answer).description.split("\n")[0]))));
  }
  const reply = replyOf(call.operation);
  const shown = [make("table", {}, make("tbody", {}, ...parts))];
  for (const one of reply.anyOf || [reply]) {
    const fields = properties(resolve(one));
    if (fields.length) shown.push(make("p", {}, make("code", {}, kind(one))), table(fields));
  }
  return shown;
}

function exampleOf(call) {
  const body = call.operation.requestBody;
  return body && body.content["application/json"].examples[call.name].value;
}

function card(call) {
  const [own, headers] = parameterRows(call);
  const article = make("article", { id: call.name, "data-words": words(call, own) });
  const title = make("h3", {}, call.name);
  if (call.long) title.append(make("span", { class: "badge" }, "may run as a job"));
  if (call.operation.security) title.append(make("span", { class: "badge" }, "no session needed"));
  article.append(title);
  for (const path of call.paths) {
    const verb = make("span", { class: `verb ${call.method}` }, call.method.toUpperCase());
    article.append(make("div", { class: "where" }, verb, make("span", { class: "path" }, doc.servers[0].url + path)));
  }
  article.append(make("p", {}, ...prose(call.summary)));
  if (own.length) article.append(section("Parameters", table(own)));
  if (call.body) {
    const schema = doc.components.schemas[call.body];
    const key = schema.required[0];
    const inside = properties(schema.properties[key]);
    const example = make("pre", {}, JSON.stringify(exampleOf(call), null, 2));
    article.append(section(`Body: parameters under “${key}”`, ...(inside.length ? [table(inside)] : []), example));
  }
  if (headers.length) article.append(section("Headers", table(headers)));
  article.append(section("Answers", ...answers(call)), lazily("Try it", () => form(call)));
  return article;
}

function lazily(title, build) {
  const details = section(title);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(build());
  });
  return details;
}

function words(call, rows) {
  const schema = call.body ? doc.components.schemas[call.body] : {};
  const inside = Object.values(schema.properties || {}).flatMap((one) => Object.keys(one.properties || {}));
  return [call.name, call.summary, call.method, ...call.paths, ...rows.map((row) => row[0]), ...inside].join(" ").toLowerCase();
}

function form(call) {
  const element = make("form", {});
  const inputs = [];
  for (const one of call.operation.parameters.map(resolve).filter((one) => one.in !== "header")) {
    const value = one.in === "path" && one.example !== undefined ? one.example : one.name === "q" ? one.example : "";
    const input = make("input", { name: one.name, value: Array.isArray(value) ? value.join("&") : value, spellcheck: "false" });
    inputs.push([one, input]);
    element.append(make("label", {}, one.name, input));
  }
  let body;
  if (call.body) {
    body = make("textarea", { spellcheck: "false", "aria-label": "Body" });
    body.value = JSON.stringify(exampleOf(call), null, 2);
    element.append(make("label", { class: "wide" }, "Body", body));
  }
  const button = make("button", {}, "Send");
  const output = make("div", { "aria-live": "polite" });
  element.append(button, output);
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    await send(call, inputs, body, output);
    button.disabled = false;
  });
  return element;
}

function target(call, inputs) {
  const query = new URLSearchParams();
  let path = call.paths[0];
  for (const [one, input] of inputs) {
    if (one.in === "path") path = path.replace(`{${one.name}}`, encodeURIComponent(input.value));
    else if (input.value) {
      const many = one.schema.type === "array" && one.explode !== false;
      for (const value of many ? input.value.split("&") : [input.value]) query.append(one.name, value);
    }
  }
  return doc.servers[0].url + path + (query.size ? `?${query}` : "");
}

async function send(call, inputs, body, output) {
  const session = document.getElementById("session");
  const headers = {};
  if (session.value) headers.Authorization = `OAuth ${session.value.trim()}`;
  if (body) headers["Content-Type"] = "application/json";
  try {
    const address = target(call, inputs);
    const answer = await fetch(address, { method: call.method.toUpperCase(), headers, body: body && body.value });
    const text = await answer.text();
    let shown = text;
    try {
      const decoded = JSON.parse(text);
      shown = JSON.stringify(decoded, null, 2);
      if (call.name === "LogInByAccount" && answer.ok) session.value = decoded.inventory.uuid;
    } catch { /* not JSON: shown as it is */ }
    const status = make("p", { class: `status ${answer.ok ? "good" : "bad"}` }, `${answer.status} ${answer.statusText}`);
    output.replaceChildren(status, make("p", {}, make("code", {}, `${call.method.toUpperCase()} ${address}`)), make("pre", {}, shown));
  } catch (error) {
    output.replaceChildren(make("p", { class: "status bad" }, String(error)));
  }
}

function index(all) {
  const nav = document.getElementById("index");
  for (const tag of doc.tags) {
    const mine = all.filter((call) => call.operation.tags.includes(tag.name));
    if (!mine.length) continue;
    const links = mine.map((call) => make("a", { href: `#${call.name}`, "data-call": call.name },
      make("span", { class: `verb ${call.method}` }, call.method.toUpperCase()), call.name));
    nav.append(make("section", {}, make("h2", {}, tag.name), ...links));
  }
}

function search() {
  const wanted = document.getElementById("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const article of document.querySelectorAll("article")) {
    article.hidden = !wanted.every((word) => article.dataset.words.includes(word));
    left += !article.hidden;
    document.querySelector(`a[data-call="${article.id}"]`).hidden = article.hidden;
  }
  for (const part of document.querySelectorAll("nav section")) part.hidden = !part.querySelector("a:not([hidden])");
  document.getElementById("nothing").hidden = left > 0;
}

async function start() {
  doc = await (await fetch("openapi.json")).json();
  document.title = doc.info.title;
  document.getElementById("version").textContent = doc.info.version;
  document.getElementById("intro").replaceChildren(...prose(doc.info.description));
  const all = calls();
  index(all);
  const ordered = doc.tags.flatMap((tag) => all.filter((call) => call.operation.tags.includes(tag.name)));
  document.getElementById("calls").replaceChildren(...ordered.map(card));
  document.getElementById("search").addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/INPUT|TEXTAREA/.test(event.target.tagName)) {
      event.preventDefault();
      document.getElementById("search").focus();
    }
  });
  const open = () => document.querySelector(`${location.hash || "article"} details`)?.setAttribute("open", "");
  addEventListener("hashchange", open);
  open();
  if (location.hash) document.querySelector(location.hash)?.scrollIntoView();
}

start().catch((error) => document.getElementById("calls").replaceChildren(`The document cannot be shown: ${error}`));
