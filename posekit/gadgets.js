// Two figures that answer to the reader's hand: a walk through a block, and curves for one setting at a time. No library, no network,
// no motion of its own. posekit/gadgets.py puts this file and a scene into a page; where scripts do not run, the picture stays.
(function (id, scene) {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";
  var root = document.querySelector('[data-gadget="' + id + '"]:not([data-ready])');
  if (!root) return;
  root.setAttribute("data-ready", "");
  root.querySelector("img").hidden = true;
  var INK = "#222", SOFT = "#555", LINE = "#bbb";

  function make(tag, attributes, parent, text) {
    var node = tag.indexOf("svg:") ? document.createElement(tag) : document.createElementNS(SVG, tag.slice(4));
    for (var name in attributes) node.setAttribute(name, attributes[name]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  function clear(node) { while (node.firstChild) node.removeChild(node.firstChild); }
  function colour(k) { return scene.palette[k % scene.palette.length]; }
  function stage(width, height, parent) {
    return make("svg:svg", { viewBox: "0 0 " + width + " " + height, role: "img", "aria-label": scene.alt, "font-family": "sans-serif",
      style: "display: block; width: 100%; max-width: " + width + "px; height: auto; margin: 0 auto" }, parent);
  }
  function thousands(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f"); }
  function keysOf(node, actions) {  // keys act here and only here: the page does not scroll, and the book does not turn its pages
    node.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.metaKey || event.altKey || !actions[event.key]) return;
      actions[event.key]();
      event.preventDefault();
      event.stopPropagation();
    });
  }

  // ---- a walk through a block ------------------------------------------------------------------------------------------
  function boxSize(shape) {  // posekit/gadgets.py's `box_size` in JavaScript; a test compares them
    var s = shape.length === 1 ? [1, 1, shape[0]] : shape;
    return [11 * Math.sqrt(s[1]), 11 * Math.sqrt(s[0]), 7 * Math.sqrt(s[2])];
  }

  function shade(hex, share) {  // towards white (share > 0) or black
    return "#" + [1, 3, 5].map(function (i) {
      var v = parseInt(hex.slice(i, i + 2), 16);
      v = Math.round(share > 0 ? v + (255 - v) * share : v * (1 + share));
      return ("0" + v.toString(16)).slice(-2);
    }).join("");
  }

  function drawBox(parent, x, y, shape, parts) {  // front face at the left, channels going away to the right
    var size = boxSize(shape), all = parts.reduce(function (sum, part) { return sum + part[1]; }, 0), from = 0;
    var lean = 0.35, group = make("svg:g", { "data-shape": shape.join("x") }, parent), w = size[0] * 0.55, h = size[1];
    var slabs = parts.map(function (part) {
      var depth = size[2] * 1.6 * part[1] / all, at = from;
      from += depth;
      return { part: part, at: at, depth: depth };
    });
    slabs.reverse().forEach(function (slab) {
      var hex = colour(slab.part[2]), x0 = x + slab.at, y0 = y - slab.at * lean, x1 = x0 + slab.depth, y1 = y0 - slab.depth * lean;
      function face(points, fill) {
        make("svg:path", { d: "M" + points.map(function (p) { return p[0].toFixed(1) + " " + p[1].toFixed(1); }).join("L") + "Z",
          fill: fill, stroke: "#fff", "stroke-width": 0.8, "stroke-linejoin": "round" }, group);
      }
      face([[x0, y0], [x1, y1], [x1 + w, y1 - w * 0.12], [x0 + w, y0 - w * 0.12]], shade(hex, 0.55));
      face([[x0 + w, y0 - w * 0.12], [x1 + w, y1 - w * 0.12], [x1 + w, y1 - w * 0.12 + h], [x0 + w, y0 - w * 0.12 + h]], shade(hex, -0.2));
      face([[x0, y0], [x0 + w, y0 - w * 0.12], [x0 + w, y0 - w * 0.12 + h], [x0, y0 + h]], shade(hex, 0.2));
    });
    return { right: x + from + w, top: y - from * lean - w * 0.12, bottom: y + h, middle: y + h / 2 };
  }

  function walk() {
    var steps = scene.steps, now = 0, width = 620, height = 300;
    var bar = make("div", { style: "display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 6px" }, root);
    var style = "font: 600 14px/1.2 sans-serif; color: #fff; background: #0b5c94; border: 0; border-radius: 6px; padding: 8px 14px; cursor: pointer";
    var back = make("button", { type: "button", style: style }, bar, "\u2190 Back");
    var next = make("button", { type: "button", style: style }, bar, "Next \u2192");
    var count = make("span", { style: "font: 14px/1.4 sans-serif; color: " + SOFT }, bar);
    var picture = stage(width, height, root);
    var words = make("div", { "aria-live": "polite", style: "font: 15px/1.5 sans-serif; color: " + INK + "; min-height: 7.6em" }, root);
    var dots = make("div", { style: "display: flex; flex-wrap: wrap; gap: 4px", "aria-hidden": "true" }, root);
    steps.forEach(function (step, k) {
      var dot = make("span", { title: step.name, style: "width: 22px; height: 8px; border-radius: 4px; background: " + LINE + "; cursor: pointer" }, dots);
      dot.addEventListener("click", function () { go(k); });
    });

    function arrow(x0, y0, x1, y1) {
      make("svg:path", { d: "M" + x0 + " " + y0 + "C" + (x0 + x1) / 2 + " " + y0 + " " + (x0 + x1) / 2 + " " + y1 + " " + x1 + " " + y1,
        fill: "none", stroke: SOFT, "stroke-width": 2, "marker-end": "url(#tip-" + id + ")" }, picture);
    }

    function go(k) {
      now = Math.min(steps.length - 1, Math.max(0, k));
      var step = steps[now], size = boxSize(step.shape);
      clear(picture);
      var defs = make("svg:defs", {}, picture);
      make("svg:path", { d: "M0 0L8 4L0 8Z", fill: SOFT },
        make("svg:marker", { id: "tip-" + id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" }, defs));
      var tall = size[1] + size[2] * 0.56 + size[0] * 0.07, broad = size[0] * 0.55 + size[2] * 1.6;
      var scale = Math.min(1, 210 / tall, 230 / broad);
      var left = step.ways.length ? 330 : Math.max(60, 300 - broad * scale / 2);
      var group = make("svg:g", { transform: "translate(" + left + " " + (250 - size[1] * scale) + ") scale(" + scale.toFixed(4) + ")" }, picture);
      drawBox(group, 0, 0, step.shape, step.parts);
      make("svg:text", { x: left + broad * scale / 2, y: 284, "text-anchor": "middle", "font-size": 18, "font-weight": "bold", fill: INK }, picture,
        step.shape.join(" \u00d7 "));
      step.ways.forEach(function (way, i) {
        var y = 70 + i * 150 / Math.max(1, step.ways.length - 1);
        make("svg:rect", { x: 8, y: y - 22, width: 200, height: 44, rx: 8, fill: "#f3f3f3", stroke: LINE }, picture);
        make("svg:text", { x: 18, y: y - 4, "font-size": 13, fill: INK, "font-weight": "bold" }, picture, way[0].length > 25 ? "\u2026" + way[0].slice(-24) : way[0]);
        make("svg:text", { x: 18, y: y + 14, "font-size": 13, fill: SOFT }, picture, way[1].join(" \u00d7 "));
        arrow(210, y, 268, 148);
      });
      if (step.ways.length) {
        make("svg:circle", { cx: 290, cy: 148, r: 18, fill: "#fff", stroke: INK, "stroke-width": 2 }, picture);
        make("svg:text", { x: 290, y: 155, "text-anchor": "middle", "font-size": 20, fill: INK }, picture, step.operation === "addition" ? "+" : "\u2016");
      }
      clear(words);
      var first = make("p", { style: "margin: 2px 0" }, words);
      make("strong", {}, first, step.operation.charAt(0).toUpperCase() + step.operation.slice(1));
      first.appendChild(document.createTextNode(" (" + step.name + "), " + step.shape.join(" \u00d7 ") + ". " + step.sentence));
      make("p", { style: "margin: 2px 0; color: " + SOFT }, words, "Parameters " + thousands(step.own[0]) + ", so far " + thousands(step.totals[0]) +
        "; multiply-adds " + thousands(step.own[1]) + ", so far " + thousands(step.totals[1]) + ".");
      if (step.parts.length > 1) {
        var key = make("p", { style: "margin: 2px 0" }, words);
        step.parts.forEach(function (part) {
          make("span", { style: "display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin: 0 4px 0 0; background: " + colour(part[2]) }, key);
          key.appendChild(document.createTextNode(part[0] + " (" + part[1] + ")  "));
        });
      }
      count.textContent = "Step " + (now + 1) + " of " + steps.length;
      back.disabled = now === 0;
      next.disabled = now === steps.length - 1;
      [back, next].forEach(function (button) { button.style.background = button.disabled ? "#767676" : "#0b5c94"; });
      Array.prototype.forEach.call(dots.children, function (dot, i) {
        dot.style.background = i === now ? "#d55e00" : i < now ? "#0b5c94" : LINE;
      });
    }
    back.addEventListener("click", function () { go(now - 1); });
    next.addEventListener("click", function () { go(now + 1); });
    keysOf(bar, { ArrowLeft: function () { go(now - 1); }, ArrowRight: function () { go(now + 1); },
      Home: function () { go(0); }, End: function () { go(steps.length - 1); } });
    go(0);
  }

  // ---- curves for one setting at a time --------------------------------------------------------------------------------
  function slide() {
    var width = 620, height = 360, left = 66, right = 16, top = 14, bottom = 48;
    var last = scene.frames.length - 1;
    var label = make("label", { style: "display: flex; flex-wrap: wrap; gap: 10px; align-items: center; font: 15px/1.4 sans-serif; color: " + INK }, root);
    var name = make("span", { style: "min-width: 9em" }, label);
    var range = make("input", { type: "range", min: 0, max: last, step: 1, value: last, style: "flex: 1 1 12rem; min-width: 10rem; accent-color: #0b5c94" }, label);
    var picture = stage(width, height, root);
    var words = make("p", { "aria-live": "polite", style: "font: 15px/1.5 sans-serif; color: " + INK + "; margin: 4px 0 0; min-height: 4.5em" }, root);

    function across(x) { return left + (x - scene.x[0]) / ((scene.x[1] - scene.x[0]) || 1) * (width - left - right); }
    function up(y) {
      var v = scene.log ? Math.log(y) / Math.LN10 : y;
      return height - bottom - (v - scene.y[0]) / (scene.y[1] - scene.y[0]) * (height - top - bottom);
    }
    function ticks(low, high, most) {
      var raw = (high - low) / most, power = Math.pow(10, Math.floor(Math.log(raw) / Math.LN10));
      var step = [1, 2, 5, 10].map(function (m) { return m * power; }).filter(function (s) { return s >= raw * 0.999; })[0];
      if (scene.log) step = Math.max(1, Math.round(step));
      var out = [];
      for (var v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) out.push(v);
      return out;
    }
    function plain(v) { return String(Number(v.toPrecision(6))); }
    function power(v) {
      var up = { "-": "\u207b", 0: "\u2070", 1: "\u00b9", 2: "\u00b2", 3: "\u00b3", 4: "\u2074", 5: "\u2075", 6: "\u2076", 7: "\u2077", 8: "\u2078", 9: "\u2079" };
      return v === 0 ? "1" : v === 1 ? "10" : "10" + String(v).split("").map(function (c) { return up[c]; }).join("");
    }
    var back = make("svg:g", {}, picture), curves = make("svg:g", {}, picture);
    ticks(scene.y[0], scene.y[1], 6).forEach(function (v) {
      var y = up(scene.log ? Math.pow(10, v) : v);
      make("svg:path", { d: "M" + left + " " + y + "H" + (width - right), stroke: "#e2e2e2" }, back);
      make("svg:text", { x: left - 8, y: y + 4, "text-anchor": "end", "font-size": 13, fill: SOFT }, back, scene.log ? power(Math.round(v)) : plain(v));
    });
    ticks(scene.x[0], scene.x[1], 6).forEach(function (v) {
      make("svg:text", { x: across(v), y: height - bottom + 18, "text-anchor": "middle", "font-size": 13, fill: SOFT }, back, plain(v));
    });
    make("svg:path", { d: "M" + left + " " + top + "V" + (height - bottom) + "H" + (width - right), fill: "none", stroke: "#444" }, back);
    make("svg:text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle", "font-size": 14, fill: INK }, back, scene.xlabel);
    make("svg:text", { transform: "translate(14 " + (height - bottom + top) / 2 + ") rotate(-90)", "text-anchor": "middle", "font-size": 14, fill: INK }, back, scene.ylabel);

    function figure(v) {
      if (v !== 0 && (Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3)) {
        var e = Math.floor(Math.log(Math.abs(v)) / Math.LN10 + 1e-9);
        return Number((v / Math.pow(10, e)).toPrecision(2)) + " \u00b7 " + power(e);
      }
      return String(Number(v.toPrecision(3)));
    }
    function path(x, y) { return x.map(function (v, i) { return (i ? "L" : "M") + across(v).toFixed(1) + " " + up(y[i]).toFixed(1); }).join(""); }

    function go(k) {
      var frame = scene.frames[k];
      clear(curves);
      frame.curves.forEach(function (curve, i) {
        if (curve.low) {
          var under = path(curve.x.slice().reverse(), curve.low.slice().reverse()).replace("M", "L");
          make("svg:path", { d: path(curve.x, curve.high) + under + "Z", fill: colour(i), "fill-opacity": 0.15 }, curves);
        }
        make("svg:path", { d: path(curve.x, curve.y), fill: "none", stroke: colour(i), "stroke-width": 2.6, "data-series": scene.series[i],
          "stroke-dasharray": ["none", "9 4", "3 3", "12 4 3 4"][i % 4], "stroke-linejoin": "round" }, curves);
      });
      range.value = k;
      range.setAttribute("aria-valuetext", scene.label + " " + plain(frame.value));
      name.textContent = scene.label + ": " + plain(frame.value);
      clear(words);
      scene.series.forEach(function (series, i) {
        var curve = frame.curves[i], key = make("span", { style: "display: inline-block; margin-right: 1.2em" }, words);
        make("span", { style: "display: inline-block; width: 14px; height: 4px; vertical-align: middle; margin-right: 5px; background: " + colour(i) }, key);
        key.appendChild(document.createTextNode(series + ": " + figure(curve.y[0]) + " at " + plain(curve.x[0]) + ", " +
          figure(curve.y[curve.y.length - 1]) + " at " + plain(curve.x[curve.x.length - 1])));
      });
    }
    range.addEventListener("input", function () { go(Number(range.value)); });
    range.addEventListener("keydown", function (event) { event.stopPropagation(); });
    go(last);
  }

  if (scene.kind === "steps") walk(); else slide();
})
