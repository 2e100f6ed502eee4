/* Draws the curves with dygraphs, each when it first comes into sight. Charts of a stage share
 * their zoom and their cursor; the cursor goes to the nearest step that a chart has, because each
 * was thinned by its own extremes.
 *
 * Text of runs goes to textContent only; dygraphs is given names of our own making. */
"use strict";
(function () {
  const data = JSON.parse(document.getElementById("data").textContent).curves;
  if (!data) return;
  const DASHES = [null, [8, 3], [2, 2], [10, 3, 2, 3], [5, 5], [1, 3], [12, 4], [6, 2, 2, 2, 2, 2]];
  const READ_MOST = 6; /* values below a chart */
  const FEW = 20; /* steps: fewer are marked one by one */
  const charts = [];
  const zoom = {}; /* by stage: [first, last] or null */
  const toggle = document.getElementById("show-runs");
  const several = data.runs.length > 1;

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  function seriesColour(group) {
    return colour("--series-" + (group % 8));
  }

  /* As the page shows numbers, with all the digits that the page has. */
  function number(value) {
    return String(Number(value.toPrecision(6)));
  }

  function stepsOf(differences) {
    let step = 0;
    return differences.map(function (difference) { return step += difference; });
  }

  /* What is drawn: {name, text, group, faint, values: step -> [low, middle, high]}. */
  function linesOf(spec) {
    const lines = [];
    if (toggle.checked) {
      spec.runs.forEach(function (run, i) {
        const steps = stepsOf(run.step), values = new Map();
        run.value.forEach(function (v, k) { values.set(steps[k], [v, v, v]); });
        lines.push({name: "run " + i, text: several ? data.runs[run.run].name : "value",
                    group: data.runs[run.run].group, faint: true, values: values});
      });
    }
    spec.groups.forEach(function (group, i) {
      const steps = stepsOf(group.step), values = new Map();
      group.mean.forEach(function (v, k) {
        values.set(steps[k], [group.low ? group.low[k] : v, v, group.high ? group.high[k] : v]);
      });
      lines.push({name: "group " + i, text: several ? data.groups[group.group] : "smoothed",
                  group: group.group, faint: false, band: Boolean(group.low), values: values});
    });
    return lines;
  }

  function rowsOf(lines) {
    const steps = new Set();
    lines.forEach(function (line) { line.values.forEach(function (v, step) { steps.add(step); }); });
    return Array.from(steps).sort(function (a, b) { return a - b; }).map(function (step) {
      return [step].concat(lines.map(function (line) {
        return line.values.get(step) || null;
      }));
    });
  }

  function styleOf(line, few) {
    const base = seriesColour(line.group);
    return {
      color: line.faint ? base + "66" : base,
      strokeWidth: line.faint ? 1 : 2,
      strokePattern: line.faint || !several ? null : DASHES[line.group % 8],
      drawPoints: few && !line.faint,
      pointSize: 3
    };
  }

  /* Where the healthy range lies in a chart; null: there is none, or out of sight. */
  function healthyStrip(spec, graph) {
    if (spec.low === undefined && spec.high === undefined) return null;
    const range = graph.yAxisRange();
    const top = Math.min(range[1], spec.high === undefined ? range[1] : spec.high);
    const bottom = Math.max(range[0], spec.low === undefined ? range[0] : spec.low);
    if (!(top >= bottom)) return null;
    const y = graph.toDomYCoord(top);
    return {y: y, height: Math.max(1, graph.toDomYCoord(bottom) - y)};
  }

  /* The healthy range as a strip behind the lines. */
  function drawHealthy(spec) {
    return function (canvas, area, graph) {
      const strip = healthyStrip(spec, graph);
      if (!strip) return;
      canvas.fillStyle = colour("--healthy");
      canvas.fillRect(area.x, strip.y, area.w, strip.height);
    };
  }

  function readout(chart, row) {
    const at = chart.rows[row];
    const groups = [], runs = [];
    chart.lines.forEach(function (line, i) {
      const value = at[i + 1];
      if (!value) return;
      (line.faint ? runs : groups).push(
        line.text + " " + number(value[1]) +
        (line.band ? " (" + number(value[0]) + " to " + number(value[2]) + ")" : ""));
    });
    const parts = several ? groups.concat(runs) : runs.concat(groups);
    chart.text.textContent = "step " + at[0] + ": " + parts.slice(0, READ_MOST).join(", ");
  }

  function nearestRow(rows, step) {
    let low = 0, high = rows.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (rows[middle][0] <= step) low = middle; else high = middle;
    }
    return step - rows[low][0] <= rows[high][0] - step ? low : high;
  }

  function others(chart) {
    return charts.filter(function (other) {
      return other !== chart && other.stage === chart.stage && other.graph;
    });
  }

  function point(chart, step, row) {
    readout(chart, row);
    others(chart).forEach(function (other) {
      const nearest = nearestRow(other.rows, step);
      other.graph.setSelection(nearest);
      readout(other, nearest);
    });
  }

  function unpoint(chart) {
    chart.text.textContent = "";
    others(chart).forEach(function (other) {
      other.graph.clearSelection();
      other.text.textContent = "";
    });
  }

  function zoomed(chart) {
    zoom[chart.stage] = chart.graph.isZoomed("x") ? chart.graph.xAxisRange() : null;
    others(chart).forEach(function (other) {
      other.graph.updateOptions({dateWindow: zoom[chart.stage] || around(other.rows)});
    });
  }

  /* Touches scroll the page; what they leave to us comes as mouse events. */
  function interaction() {
    const model = Object.assign({}, Dygraph.defaultInteractionModel);
    delete model.touchstart;
    delete model.touchmove;
    delete model.touchend;
    return model;
  }

  /* dygraphs has no place for a single step; null: it may choose. */
  function around(rows) {
    return rows.length === 1 ? [rows[0][0] - 1, rows[0][0] + 1] : null;
  }

  function draw(chart) {
    if (chart.graph) chart.graph.destroy();
    chart.lines = linesOf(chart.spec);
    chart.rows = rowsOf(chart.lines);
    const few = chart.rows.length < FEW, series = {};
    const paper = document.documentElement.classList.contains("paper");
    chart.lines.forEach(function (line) { series[line.name] = styleOf(line, few); });
    chart.graph = new Dygraph(chart.plot, chart.rows, {
      labels: ["step"].concat(chart.lines.map(function (line) { return line.name; })),
      series: series,
      customBars: true,
      fillAlpha: 0.18,
      connectSeparatedPoints: true,
      legend: "never",
      showLabelsOnHighlight: false,
      includeZero: false,
      axisLabelFontSize: paper ? 9 : 11,
      axisLineColor: colour("--line"),
      gridLineColor: colour("--grid"),
      gridLineWidth: 1,
      rangePad: 0,
      yRangePad: 6,
      xRangePad: 4,
      axes: {x: {pixelsPerLabel: paper ? 28 : 55},
             y: {pixelsPerLabel: paper ? 24 : 32, axisLabelWidth: paper ? 44 : 52}},
      dateWindow: zoom[chart.stage] || around(chart.rows),
      interactionModel: interaction(),
      underlayCallback: drawHealthy(chart.spec),
      highlightCallback: function (event, x, points, row) { point(chart, x, row); },
      unhighlightCallback: function () { unpoint(chart); },
      zoomCallback: function () { zoomed(chart); }
    });
    if (paper) engrave(chart);
  }

  function put(parent, name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.keys(attributes).forEach(function (key) { element.setAttribute(key, attributes[key]); });
    return parent.appendChild(element);
  }

  function engraveLine(view, chart, index) {
    const line = chart.lines[index], graph = chart.graph;
    const rows = chart.rows.filter(function (row) { return row[index + 1]; });
    function place(level) {
      return rows.map(function (row) {
        return graph.toDomXCoord(row[0]).toFixed(1) + "," +
               graph.toDomYCoord(row[index + 1][level]).toFixed(1);
      });
    }
    const series = "series-" + (line.group % 8), middle = place(1);
    if (line.band) {
      put(view, "polygon", {class: "band " + series,
                            points: place(0).concat(place(2).reverse()).join(" ")});
    }
    put(view, "polyline", {class: "line " + series + (line.faint ? " faint" : "") +
                                  (line.faint || !several ? "" : " dash-" + (line.group % 8)),
                           points: middle.join(" ")});
    if (line.faint || chart.rows.length >= FEW) return;
    middle.forEach(function (point) {
      const at = point.split(",");
      put(view, "circle", {class: "points " + series, cx: at[0], cy: at[1], r: 2});
    });
  }

  /* The curves as SVG over dygraphs' axes: a canvas made on the way to the printer comes out empty,
   * and any other coarse. */
  function engrave(chart) {
    const graph = chart.graph, area = graph.getArea(), frame = chart.plot.getBoundingClientRect();
    const right = area.x + area.w, bottom = area.y + area.h;
    const svg = put(chart.plot, "svg", {class: "engraved", width: frame.width,
                                        height: frame.height});
    chart.plot.querySelectorAll(".dygraph-axis-label-y").forEach(function (label) {
      const box = label.getBoundingClientRect(), y = box.top + box.height / 2 - frame.top;
      put(svg, "path", {class: "grid", d: "M" + area.x + " " + y + "H" + right});
    });
    put(svg, "path", {class: "grid zero",
                      d: "M" + area.x + " " + area.y + "V" + bottom + "H" + right});
    const view = put(svg, "svg", {x: area.x, y: area.y, width: area.w, height: area.h,
                                  viewBox: [area.x, area.y, area.w, area.h].join(" ")});
    const strip = healthyStrip(chart.spec, graph);
    if (strip) {
      put(view, "rect", {class: "healthy", x: area.x, y: strip.y, width: area.w,
                         height: strip.height});
    }
    chart.lines.forEach(function (line, index) { engraveLine(view, chart, index); });
  }

  document.querySelectorAll(".curve .plot").forEach(function (plot) {
    charts.push({
      plot: plot,
      text: plot.parentNode.querySelector(".readout"),
      stage: plot.dataset.stage,
      spec: data.stages[plot.dataset.stage][Number(plot.dataset.chart)],
      graph: null,
      fresh: false /* drawn as the controls and colours are now */
    });
  });

  /* One chart at a time, so that the page answers in between; `queue` in the order of sight. */
  const queue = [];
  function drawNext() {
    const chart = queue.shift();
    if (!chart) return;
    if (!chart.fresh) draw(chart);
    chart.fresh = true;
    setTimeout(drawNext, 0);
  }

  const watcher = new IntersectionObserver(function (entries) {
    const idle = queue.length === 0;
    entries.forEach(function (entry) {
      if (!entry.isIntersecting) return;
      watcher.unobserve(entry.target);
      queue.push(charts.find(function (c) { return c.plot === entry.target; }));
    });
    if (idle) drawNext();
  }, {rootMargin: "150px"});

  /* Those in sight now, the others when they come into sight. */
  function redraw() {
    charts.forEach(function (chart) {
      chart.fresh = false;
      watcher.unobserve(chart.plot);
      watcher.observe(chart.plot);
    });
  }
  redraw();

  toggle.addEventListener("change", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  /* On paper everything is open, drawn and light; the class gives charts their width on paper. */
  addEventListener("beforeprint", function () {
    document.documentElement.classList.add("paper");
    document.querySelectorAll("details.stage").forEach(function (stage) { stage.open = true; });
    charts.forEach(function (chart) { draw(chart); chart.fresh = true; });
  });
  addEventListener("afterprint", function () {
    document.documentElement.classList.remove("paper");
    redraw();
  });
})();
