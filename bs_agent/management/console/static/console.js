"use strict";
// What the pages do beyond links and forms: curves, copying, and telling that a refresh failed. All of it is extra.
(() => {
  document.documentElement.classList.add("script");

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  const size = (count) => {
    if (count === null || count === undefined) return "-";
    let unit = 0;
    while (Math.abs(count) >= 999.5 && unit < units.length - 1) { count /= 1024; unit += 1; }
    return `${count >= 99.95 || unit === 0 ? Math.round(count) : Number(count.toPrecision(3))} ${units[unit]}`;
  };
  // Ticks at round numbers of the unit in which they are said.
  const ticks = Array.from({ length: 60 }, (_, power) => 2 ** power);

  const charts = new Map();
  function draw(holder, answer) {
    charts.get(holder)?.destroy();
    const lines = answer.series.map((line, index) => ({
      label: line.label,
      stroke: color(["--accent", "--well", "--attention", "--soft"][index % 4]),
      width: 2,
      dash: line.dashed ? [6, 5] : undefined,
      points: { show: answer.dates.length < 3 },
      value: (_, value) => size(value),
    }));
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 } };
    const chart = new uPlot({
      width: holder.clientWidth,
      height: 250,
      series: [{ label: "Time" }, ...lines],
      scales: { y: { range: (_, least, most) => [0, most > 0 ? most * 1.05 : 1] } },
      axes: [{ ...axis }, { ...axis, size: 78, incrs: ticks, values: (_, found) => found.map(size) }],
      cursor: { y: false },
    }, [answer.dates, ...answer.series.map((line) => line.values)], holder);
    charts.set(holder, chart);
    holder.dataset.drawn = "yes";
  }

  const answers = new Map();
  async function show(holder) {
    try {
      const response = await fetch(holder.dataset.curve, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      const answer = await response.json();
      holder.dataset.drawn = "empty";
      if (!answer.dates.length) return;
      holder.replaceChildren();
      answers.set(holder, answer);
      draw(holder, answer);
    } catch {
      holder.dataset.drawn = "failed";  // what the server has drawn stays
    }
  }
  const redraw = () => answers.forEach((answer, holder) => draw(holder, answer));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let soon = 0;
  addEventListener("resize", () => { clearTimeout(soon); soon = setTimeout(redraw, 150); });

  function start() {
    if (window.uPlot) document.querySelectorAll("[data-curve]").forEach(show);
    document.querySelectorAll("[data-copy]").forEach((button) => {
      button.hidden = !navigator.clipboard;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
      });
    });
  }
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start); else start();

  // A list that can not be refreshed says so, and since when.
  const told = (event) => {
    const part = event.detail.target ?? document.getElementById("main");
    if (part.querySelector("[data-lost]")) return;
    const line = document.createElement("p");
    line.className = "problem";
    line.dataset.lost = "yes";
    line.setAttribute("role", "alert");
    line.textContent = `The management node has not answered well since ${new Date().toLocaleTimeString()}: this is what it said last.`;
    part.prepend(line);
  };
  document.addEventListener("htmx:sendError", told);
  document.addEventListener("htmx:responseError", told);
})();
