// Numbers that say where they come from, and tables that can be filtered and sorted. Texts of the
// data enter the page as text only (textContent), never as markup.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("lineage").textContent);
  const dialog = document.getElementById("behind");
  const at = Object.fromEntries(data.columns.map((name, index) => [name, index]));
  const make = (tag, text, cls) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (cls) node.className = cls;
    return node;
  };
  const told = (value) => (value === null || value === undefined ? "" : String(value).replace(/^-(?=\d)/, "\u2212"));

  // Who stands behind a number: the patients of its analysis set and of its arms, with a value.
  const records = (row) => {
    const code = row[at.PARAMCD], visit = row[at.AVISIT] || data.baseline;
    const values = (data.values[code] || {})[visit];
    if (!values) return null;
    const flag = (data.patients.flags || {})[{ ITT: "ITTFL", SAF: "SAFFL", PP: "PPROTFL" }[row[at.POPULATION]]];
    const member = (data.patients.strata || {})[row[at.STRATUM]];
    const named = row[at.COMPARISON] ? row[at.COMPARISON].split(" - ") : [row[at.GROUP]];
    const arms = data.arms.map(([arm]) => arm);
    const wanted = named.filter((name) => arms.includes(name)).map((name) => arms.indexOf(name));
    return {
      visit,
      rows: values.filter(([who]) => (!flag || flag[who] === "Y") && (!member || member[who] === "Y") &&
        (!wanted.length || wanted.includes(data.patients.arm[who]))),
    };
  };

  const table = (heads, lines, caption) => {
    const grid = make("table", undefined, "plain"), head = make("tr");
    grid.append(make("caption", caption));
    heads.forEach((text) => { const cell = make("th", text); cell.scope = "col"; head.append(cell); });
    const top = make("thead"), body = make("tbody");
    top.append(head);
    lines.forEach((line) => {
      const row = make("tr");
      line.forEach((value, index) => {
        const cell = index ? make("td") : make("th");
        if (!index) cell.scope = "row";
        if (value instanceof Node) cell.append(value); else cell.textContent = told(value);
        row.append(cell);
      });
      body.append(row);
    });
    grid.append(top, body);
    sortable(grid);
    return grid;
  };

  const open = (address) => {
    const plain = address.split("#")[0], row = data.numbers[plain];
    if (!row) return;
    const facts = make("dl");
    data.columns.forEach((name, index) => {
      if (row[index] !== "" && row[index] !== null) facts.append(make("dt", name), make("dd", told(row[index])));
    });
    facts.append(make("dt", "Address"), make("dd", plain));
    const content = dialog.querySelector(".content");
    content.replaceChildren(facts);
    const found = records(row);
    if (found) {
      const code = row[at.PARAMCD], unit = (data.units || {})[code];
      const links = data.scans[found.visit] || {};
      const lines = found.rows.map(([who, value, change, measured]) => {
        let source = measured ? "scan" : "";
        if (measured && links[who]) {
          source = make("span");
          const page = make("a", "scan");
          page.href = `../quality.html#${links[who]}`;
          source.append(page);
          (((data.viewers || {})[found.visit] || {})[who] || []).forEach(([series, href], k) => {
            const slices = make("a", series);
            slices.href = href;
            source.append(k ? ", " : "; slices: ", slices);
          });
        }
        const arm = data.arms[data.patients.arm[who]];
        return [data.patients.id[who], arm ? arm[1] : "", value, change, source];
      });
      const name = (data.labels || {})[code] || code;
      const changes = lines.filter((line) => line[3] !== null).length;
      const caption = `${name}${unit ? `, ${unit}` : ""}, ${found.visit}: ${lines.length} patients with a value` +
        (changes ? `, ${changes} with a change` : "");
      const region = make("div", undefined, "scroll");
      region.tabIndex = 0;
      region.setAttribute("role", "region");
      region.setAttribute("aria-label", caption);
      region.append(table(["Patient", "Arm", "AVAL", "CHG", "Source"], lines, caption));
      content.append(region);
    }
    dialog.showModal();
  };

  // One stop of the tab key a table: arrows go from number to number, Enter opens one.
  let current = null;
  const mark = (node) => {
    if (current) current.classList.remove("current");
    current = node;
    if (node) { node.classList.add("current"); node.scrollIntoView({ block: "nearest", inline: "nearest" }); }
  };
  document.addEventListener("click", (event) => {
    const node = event.target.closest("[data-address]");
    if (node && !dialog.contains(node)) { mark(node); open(node.dataset.address); }
  });
  document.querySelectorAll("main .scroll").forEach((region) => {
    region.addEventListener("keydown", (event) => {
      const numbers = [...region.querySelectorAll("[data-address]")].filter((n) => n.offsetParent);
      if (!numbers.length) return;
      const here = numbers.indexOf(current);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) {
        event.preventDefault();
        mark(numbers[Math.min(Math.max(here < 0 ? 0 : here + step, 0), numbers.length - 1)]);
      } else if (event.key === "Enter" && here >= 0) {
        event.preventDefault(); // else the same key presses the button that now has the focus
        open(current.dataset.address);
      }
    });
  });
  dialog.querySelector("button").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => { if (location.hash.startsWith("#number=")) history.replaceState(null, "", location.pathname); });

  // Plain tables sort by a click on their heads; numbers as numbers, empty cells last.
  function sortable(grid) {
    const body = grid.tBodies[0];
    [...grid.tHead.rows[0].cells].forEach((head, column) => {
      const button = make("button", head.textContent, "sort");
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        [...grid.tHead.rows[0].cells].forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].textContent.trim().replace(/^\u2212/, "-");
        const order = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (!x || !y) return x ? -1 : y ? 1 : 0;
          const both = [Number(x), Number(y)];
          const way = both.some(Number.isNaN) ? x.localeCompare(y, "en", { numeric: true }) : both[0] - both[1];
          return up ? way : -way;
        };
        body.append(...[...body.rows].sort(order));
      });
    });
  }
  document.querySelectorAll("main table.plain").forEach((grid) => { if (!grid.closest("[data-merged]")) sortable(grid); });

  // A table of more than a dozen lines can be filtered by a text.
  document.querySelectorAll("main .scroll").forEach((region, index) => {
    const grid = region.querySelector("table");
    if (!grid || grid.querySelectorAll("tbody tr").length < 12) return;
    const label = make("label", "Show lines with ", "filter"), field = make("input");
    field.type = "search";
    field.id = `filter-${index}`;
    label.htmlFor = field.id;
    label.append(field);
    region.before(label);
    field.addEventListener("input", () => {
      const text = field.value.trim().toLowerCase();
      [...grid.tBodies].forEach((body) => {
        const rows = [...body.rows], block = grid.tBodies.length > 1;
        const hits = rows.map((row) => row.textContent.toLowerCase().includes(text));
        // A block whose head has the text stays whole; else its lines that have it, and its head.
        const head = rows.findIndex((row) => row.className === "group");
        const whole = block && rows.some((row, k) => hits[k] && row.className);
        const some = hits.includes(true);
        rows.forEach((row, k) => { row.hidden = !(text === "" || whole || hits[k] || (block && some && k <= head)); });
      });
    });
  });

  // The address of a page may name a number: report.html#number=...
  const asked = () => { if (location.hash.startsWith("#number=")) open(decodeURIComponent(location.hash.slice(8))); };
  window.addEventListener("hashchange", asked);
  asked();
})();
