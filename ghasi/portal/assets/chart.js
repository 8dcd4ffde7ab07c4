// [data-chart='{"x": [Unix seconds], "series": [{"label", "tone", "values"}], "zone"?: IANA name}']: a time chart by uPlot.
// tone: primary, good, active, warn, bad or muted. Charts in parts that load later are drawn too.
import uPlot from "uplot";

const drawn = new Map();

function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name === "muted" ? "muted-foreground" : name === "primary" ? "ring" : name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function faded(plot, stroke) {
  // asked for once before there is a size
  if (!plot.bbox?.height) return "transparent";
  const gradient = plot.ctx.createLinearGradient(0, plot.bbox.top, 0, plot.bbox.top + plot.bbox.height);
  gradient.addColorStop(0, stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.18)"));
  gradient.addColorStop(1, stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0)"));
  return gradient;
}

function line(box) {
  const probe = document.createElement("span");
  probe.style.color = "var(--border)";
  box.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function draw(box) {
  const { x, series, zone } = JSON.parse(box.dataset.chart);
  const language = navigator.language;
  const count = new Intl.NumberFormat(language);
  const isHourly = x.length > 1 && x[1] - x[0] < 86400;
  const day = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: zone });
  const hour = new Intl.DateTimeFormat(language, { hour: "numeric", minute: "2-digit", timeZone: zone });
  const full = new Intl.DateTimeFormat(language, {
    dateStyle: "medium", ...(isHourly ? { timeStyle: "short" } : {}), timeZone: zone,
  });
  const muted = colour("muted");
  const grid = { stroke: line(box), width: 1 };
  const axis = { stroke: muted, font: '12px "Inter", system-ui, sans-serif', grid, ticks: { show: false } };
  drawn.get(box)?.plot.destroy();
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: Number(box.dataset.chartHeight) || 260,
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
      padding: [12, 8, 0, 0],
      scales: { y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] } },
      ...(zone ? { tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone) } : {}),
      axes: [
        {
          ...axis, grid: { show: false }, space: 70,
          values: (_, splits) => splits.map((at) => (isHourly ? hour : day).format(at * 1000)),
          ...(isHourly ? {} : { incrs: [1, 2, 3, 7, 14, 28, 56].map((days) => days * 86400) }),
        },
        {
          ...axis, size: 56, incrs: [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6, 1e7],
          values: (_, splits) => splits.map((value) => count.format(value)),
        },
      ],
      series: [
        { label: "Time", value: (_, at) => (at === null ? "—" : full.format(at * 1000)) },
        ...series.map(({ label, tone = "primary" }, at) => {
          const stroke = colour(tone);
          return {
            label, stroke, width: 2, points: { show: x.length < 3, stroke, fill: stroke },
            fill: at === 0 ? (own) => faded(own, stroke) : undefined,
            value: (_, value) => (value === null || value === undefined ? "—" : count.format(value)),
          };
        }),
      ],
    },
    [x, ...series.map((one) => one.values)],
    box,
  );
  drawn.set(box, { plot });
}

const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const plot = drawn.get(target)?.plot;
    if (plot && contentRect.width > 0 && plot.width !== contentRect.width) {
      plot.setSize({ width: contentRect.width, height: plot.height });
    }
  }
});

function drawAll() {
  for (const box of drawn.keys()) {
    if (box.isConnected) continue;
    drawn.get(box).plot.destroy();
    sizes.unobserve(box);
    drawn.delete(box);
  }
  for (const box of document.querySelectorAll("[data-chart]")) {
    if (drawn.has(box)) continue;
    draw(box);
    sizes.observe(box);
  }
}

function redraw() {
  for (const box of drawn.keys()) draw(box);
}

document.addEventListener("htmx:load", drawAll);
document.addEventListener("htmx:afterSwap", drawAll);
document.addEventListener("ghasi:theme", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
drawAll();
