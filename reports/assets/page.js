"use strict";
// Tables that sort and filter, commands that are copied, charts that are drawn.
(() => {
  // Vega's level of logging at which it speaks of errors only.
  const ERRORS = 1;
  // Pixels of a figure in which no more than two columns of a legend have room.
  const NARROW = 480;
  const collator = new Intl.Collator("en", { numeric: true });

  /** What a cell is sorted by: its number where it has one, else its text; "" where it is empty. */
  function keyOf(cell) {
    const value = cell.dataset.v;
    if (value === undefined) return cell.textContent.trim();
    return value === "" ? "" : Number(value);
  }

  function order(left, right) {
    if (typeof left === "number" && typeof right === "number") return left - right;
    return collator.compare(String(left), String(right));
  }

  /** Sort a table's rows by a column; equal rows keep their order, empty cells come last. */
  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => [keyOf(row.cells[column]), row]);
    keyed.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return direction * order(a, b);
    });
    body.append(...keyed.map(([, row]) => row));
  }

  function makeSortable(table) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const upwards = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", upwards ? "ascending" : "descending");
        sort(table, column, upwards ? 1 : -1);
      });
    });
  }

  /** Show the rows in which all words stand; a word with a minus before it must not stand there. */
  function filter(rows, text) {
    const words = text.toLowerCase().split(/\s+/).filter((word) => word && word !== "-");
    let shown = 0;
    for (const [row, content] of rows) {
      row.hidden = !words.every((word) =>
        word.startsWith("-") ? !content.includes(word.slice(1)) : content.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    return shown;
  }

  function makeFilterable(block) {
    const rows = Array.from(block.querySelector("table").tBodies[0].rows, (row) => [
      row,
      Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase(),
    ]);
    const tools = block.querySelector(".tools");
    const box = tools.querySelector("input");
    const said = tools.querySelector("output");
    const show = () => {
      said.textContent = `${filter(rows, box.value)} of ${rows.length} rows`;
    };
    box.addEventListener("input", show);
    tools.hidden = false;
    show();
  }

  function makeCopyable(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
      } catch {
        // Where pages may not write to the clipboard, what is selected is still copied.
        getSelection().selectAllChildren(code);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
    });
  }

  async function draw(place) {
    const narrow = place.clientWidth < NARROW;
    const spec = JSON.parse(place.nextElementSibling.textContent, (key, value) =>
      narrow && key === "legend" && value ? { ...value, columns: Math.min(value.columns ?? 1, 2) } : value);
    // Small multiples do not flow by themselves.
    if (spec.facet) spec.columns = Math.max(1, Math.floor((place.clientWidth - 50) / 152));
    // The compiler warns that rows have a height of their own, on no logger that one could set.
    const { warn } = console;
    console.warn = () => {};
    try {
      await vegaEmbed(place, spec, {
        mode: "vega-lite",
        renderer: "svg",
        actions: false,
        // Expressions are interpreted: the page's policy forbids code made of text.
        ast: true,
        defaultStyle: false,
        logLevel: ERRORS,
        tooltip: { id: "hover", disableDefaultStyle: true },
      });
      place.dataset.drawn = "yes";
    } catch (error) {
      place.textContent = "This figure could not be drawn; the table has its numbers.";
      console.error(error);
    } finally {
      console.warn = warn;
    }
  }

  async function drawAll() {
    for (const place of document.querySelectorAll(".chart")) await draw(place);
    document.body.dataset.ready = "yes";
  }

  for (const block of document.querySelectorAll(".data")) {
    makeSortable(block.querySelector("table"));
    makeFilterable(block);
  }
  document.querySelectorAll(".command button").forEach(makeCopyable);
  drawAll();
})();
