"use strict";
// Shows openapi.json, and on /docs tries its paths out. Text is only ever set as text.
(() => {
  const readsOnly = location.pathname.replace(/\/$/, "").endsWith("/redoc");
  const byId = (id) => document.getElementById(id);

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function resolve(whole, value) {
    for (let depth = 0; value && value.$ref && depth < 8; depth++) {
      value = value.$ref.slice(2).split("/").reduce((at, part) => (at || {})[part.replace(/~1/g, "/").replace(/~0/g, "~")], whole);
    }
    return value || {};
  }

  // A short description of a schema: what a reader has to write or will get.
  function outline(whole, schema, depth) {
    const found = resolve(whole, schema);
    if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
    const choice = found.oneOf || found.anyOf;
    if (choice) return choice.map((one) => outline(whole, one, depth)).join(" | ");
    const pad = "  ".repeat(depth + 1);
    if (found.properties && depth < 5) {
      const lines = Object.entries(found.properties).map(([name, inner]) => {
        const says = resolve(whole, inner).description || inner.description;
        const mark = (found.required || []).includes(name) ? "" : "?";
        return `${pad}${name}${mark}: ${outline(whole, inner, depth + 1)}${says ? "  // " + says.replace(/\s+/g, " ") : ""}`;
      });
      return `{\n${lines.join("\n")}\n${"  ".repeat(depth)}}`;
    }
    if (found.type === "array" || (Array.isArray(found.type) && found.type.includes("array"))) return `[${outline(whole, found.items, depth)}]`;
    if (found.additionalProperties && found.additionalProperties !== true) return `{name: ${outline(whole, found.additionalProperties, depth + 1)}}`;
    return Array.isArray(found.type) ? found.type.join(" | ") : found.type || "any";
  }

  function access(operation) {
    const proofs = operation.security || [];
    if (!proofs.length) return "open";
    const words = proofs.map((proof) => Object.entries(proof)[0]).filter(([name]) => name !== "api_key");
    return words.map(([name, roles]) => (name === "bearer" ? roles.join(", ") || "any key" : name.replace("_", " "))).join(" or ");
  }

  function parameters(whole, operation) {
    const all = (operation.parameters || []).map((one) => resolve(whole, one));
    if (!all.length) return { table: null, inputs: [] };
    const inputs = [];
    const rows = all.map((one) => {
      const input = readsOnly ? null : make("input", { "aria-label": one.name, placeholder: one.required ? "needed" : "" });
      if (input) inputs.push([one, input]);
      return make("tr", {}, make("td", {}, make("code", {}, one.name)), make("td", {}, one.in), make("td", {}, one.description || ""), make("td", {}, input));
    });
    const head = make("tr", {}, ...["Name", "In", "What", ""].map((word) => make("th", {}, word)));
    return { table: make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)), inputs };
  }

  async function send(verb, path, inputs, body, out) {
    let url = path;
    const query = new URLSearchParams();
    const headers = {};
    for (const [one, input] of inputs) {
      const value = input.value.trim();
      if (one.in === "path") url = url.replace(`{${one.name}}`, encodeURIComponent(value).replace(/%2F/g, "/"));
      else if (value && one.in === "query") query.set(one.name, value);
      else if (value && one.in === "header") headers[one.name] = value;
    }
    const key = byId("key").value.trim();
    if (key) headers.authorization = `Bearer ${key}`;
    if (body) headers["content-type"] = "application/json";
    out.hidden = false;
    out.textContent = "…";
    try {
      const began = performance.now();
      const answer = await fetch(url + (query.size ? "?" + query : ""), { method: verb.toUpperCase(), headers, body: body ? body.value : undefined });
      const title = () => `${answer.status} ${answer.statusText} · ${Math.round(performance.now() - began)} ms · ${answer.headers.get("x-request-id") || ""}\n\n`;
      let text = "";
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        text += decoder.decode(part.value, { stream: true });
        out.textContent = title() + text;
      }
      try {
        text = JSON.stringify(JSON.parse(text), null, 2);
      } catch {
        // Not JSON: shown as it came.
      }
      out.textContent = title() + text;
    } catch (error) {
      out.textContent = String(error);
    }
  }

  function fill(whole, path, verb, operation, place) {
    if (operation.description) place.append(make("p", {}, operation.description));
    const { table, inputs } = parameters(whole, operation);
    if (table) place.append(table);
    const wanted = resolve(whole, operation.requestBody);
    const media = wanted.content && wanted.content["application/json"];
    let body = null;
    if (media) {
      place.append(make("h3", {}, "Body"), make("pre", {}, outline(whole, media.schema, 0)));
      if (!readsOnly) {
        body = make("textarea", { "aria-label": "Body", spellcheck: "false" });
        body.value = JSON.stringify(resolve(whole, media.schema).example || {}, null, 2);
        place.append(body);
      }
    }
    if (!readsOnly) {
      const button = make("button", { type: "button" }, "Send");
      const out = make("pre", { "aria-live": "polite", hidden: true });
      button.addEventListener("click", () => send(verb, path, inputs, body, out));
      place.append(button, out);
    }
    place.append(make("h3", {}, "Answers"));
    for (const [status, one] of Object.entries(operation.responses || {})) {
      const answer = resolve(whole, one);
      place.append(make("p", {}, make("code", {}, status), " " + (answer.description || "")));
      const content = answer.content && answer.content["application/json"];
      if (content && status !== "default") place.append(make("pre", {}, outline(whole, content.schema, 0)));
    }
  }

  function show(whole) {
    byId("version").textContent = whole.info.version;
    byId("credential").hidden = readsOnly;
    const main = byId("main");
    main.replaceChildren();
    const groups = new Map((whole.tags || []).map((tag) => [tag.name, { says: tag.description, items: [] }]));
    for (const [path, verbs] of Object.entries(whole.paths)) {
      for (const [verb, operation] of Object.entries(verbs)) {
        const name = (operation.tags || ["other"])[0];
        if (!groups.has(name)) groups.set(name, { says: "", items: [] });
        const place = make("div");
        const summary = make("summary", {}, make("span", { class: `verb ${verb}` }, verb), make("span", { class: "path" }, path),
          make("span", { class: "summary" }, operation.summary || ""), make("span", { class: "access" }, access(operation)));
        const item = make("details", { class: "operation", "data-text": `${path} ${verb} ${operation.summary}`.toLowerCase() }, summary, place);
        item.addEventListener("toggle", () => {
          if (item.open && !place.childNodes.length) fill(whole, path, verb, operation, place);
        });
        groups.get(name).items.push(item);
      }
    }
    for (const [name, group] of groups) {
      if (group.items.length) main.append(make("section", {}, make("h2", {}, name), make("p", {}, group.says || ""), ...group.items));
    }
    byId("filter").addEventListener("input", (event) => {
      const word = event.target.value.trim().toLowerCase();
      for (const item of main.querySelectorAll(".operation")) item.hidden = word !== "" && !item.dataset.text.includes(word);
      for (const section of main.querySelectorAll("section")) section.hidden = !section.querySelector(".operation:not([hidden])");
    });
  }

  fetch("/openapi.json")
    .then((answer) => answer.json())
    .then(show)
    .catch((error) => byId("main").replaceChildren(make("p", {}, `openapi.json cannot be read: ${error}`)));
})();
