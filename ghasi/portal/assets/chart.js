// [data-chart='{"x": [Unix seconds], "series": [{"label", "tone", "values"}], "zone"?, "locale"?}']: a time chart by uPlot.
// tone: primary, good, active, warn, bad or muted. Charts in parts that load later are drawn too. The arrow keys go from
// point to point, and the legend says what is under the cursor.
import uPlot from "uplot";

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1e8, 1e9];
const LABEL_WIDTH = 72;
const drawn = new Map();

function colour(box, name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${{ muted: "muted-foreground", primary: "ring" }[name] ?? name})`;
  box.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function faded(plot, stroke) {
  // asked for once before there is a size
  if (!plot.bbox?.height) return "transparent";
  const gradient = plot.ctx.createLinearGradient(0, plot.bbox.top, 0, plot.bbox.top + plot.bbox.height);
  const at = (alpha) => stroke.replace(/^rgb\((.*)\)$/, `rgba($1, ${alpha})`);
  gradient.addColorStop(0, at(0.18));
  gradient.addColorStop(1, at(0));
  return gradient;
}

function draw(box) {
  const { x, series, zone, locale } = JSON.parse(box.dataset.chart);
  const isHourly = x[1] - x[0] < 80000;
  const count = new Intl.NumberFormat(locale);
  const dates = (options) => {
    try {
      return new Intl.DateTimeFormat(locale, { ...options, timeZone: zone });
    } catch {
      return new Intl.DateTimeFormat(locale, options); // a zone that this browser does not know
    }
  };
  const short = dates(isHourly ? { hour: "numeric", minute: "2-digit" } : { month: "short", day: "numeric" });
  const full = dates({ dateStyle: "medium", ...(isHourly ? { timeStyle: "short" } : {}) });
  const written = (value) => (value === null || value === undefined ? "–" : count.format(value));
  const axis = { stroke: colour(box, "muted"), font: "12px Inter, system-ui, sans-serif", ticks: { show: false } };
  drawn.get(box)?.destroy();
  const plot = new uPlot(
    {
      width: box.clientWidth,
      height: Number(box.dataset.chartHeight) || 260,
      cursor: { y: false, drag: { x: false }, points: { size: 7 } },
      padding: [12, 24, 0, 0],
      scales: {
        // one point stands in the middle
        x: { time: false, ...(x.length < 2 ? { range: [x[0] - 1, x[0] + 1] } : {}) },
        y: { range: (_, low, high) => [0, Math.max(high * 1.1, 4)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 34,
          // the days themselves, of which some have 23 hours
          splits: (own) => {
            const step = Math.ceil((x.length * LABEL_WIDTH) / (own.width - LABEL_WIDTH));
            return x.filter((_, at) => at % step === 0);
          },
          values: (_, splits) => splits.map((at) => short.format(at * 1000)),
        },
        {
          ...axis,
          grid: { stroke: colour(box, "border"), width: 1 },
          size: 56,
          incrs: STEPS,
          values: (_, splits) => splits.map(written),
        },
      ],
      series: [
        { label: isHourly ? "Time" : "Day", value: (_, at) => (at === null ? "–" : full.format(at * 1000)) },
        ...series.map(({ label, tone, values }, at) => {
          const stroke = colour(box, tone);
          return {
            label,
            stroke,
            width: 2,
            dash: tone === "muted" ? [5, 4] : undefined,
            // a line needs two
            points: { show: values.filter((value) => value !== null).length < 3, stroke, fill: stroke },
            fill: at === 0 ? (own) => faded(own, stroke) : undefined,
            value: (_, value) => written(value),
          };
        }),
      ],
    },
    [x, ...series.map((one) => one.values)],
    box,
  );
  drawn.set(box, plot);
}

const sizes = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const plot = drawn.get(target);
    if (plot && contentRect.width > 0 && plot.width !== contentRect.width) {
      plot.setSize({ width: contentRect.width, height: plot.height });
    }
  }
});

function drawAll() {
  for (const [box, plot] of drawn) {
    if (box.isConnected) continue;
    plot.destroy();
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

document.addEventListener("keydown", (event) => {
  const plot = drawn.get(event.target);
  if (!plot) return;
  const [x] = plot.data;
  const last = x.length - 1;
  const at = plot.cursor.idx ?? -1;
  const next = { ArrowRight: at + 1, ArrowLeft: at < 0 ? last : at - 1, Home: 0, End: last }[event.key];
  if (next === undefined) return;
  event.preventDefault();
  plot.setCursor({ left: plot.valToPos(x[Math.min(Math.max(next, 0), last)], "x"), top: 1 });
});
document.addEventListener("htmx:load", drawAll);
document.addEventListener("htmx:afterSwap", drawAll);
document.addEventListener("ghasi:theme", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
drawAll();
