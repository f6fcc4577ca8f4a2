// Two figures that answer to the reader's hand: a walk through a block, and curves for one setting at a time. No library, no network,
// no motion of its own. posekit/notebook/interactive.py puts this file and a scene into a page; where scripts do not run, the picture stays.
(function (id, scene) {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";
  var root = document.querySelector('[data-interactive="' + id + '"]:not([data-ready])');
  if (!root) return;
  root.setAttribute("data-ready", "");
  root.querySelector("img").hidden = true;
  var INK = "#222", SOFT = "#555", LINE = "#bbb", BLUE = "#0b5c94", ORANGE = "#d55e00";
  var TEXT = "font: 15px/1.5 sans-serif; color: " + INK + "; margin: 0; ", SMALL = "font: 13px/1.4 sans-serif; color: " + SOFT + "; margin: 0; ";

  function make(tag, attributes, parent, text) {
    var node = tag.indexOf("svg:") ? document.createElement(tag) : document.createElementNS(SVG, tag.slice(4));
    for (var name in attributes) node.setAttribute(name, attributes[name]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }
  function clear(node) { while (node.firstChild) node.removeChild(node.firstChild); }
  function write(parent, x, y, text, size, more) {
    var attributes = { x: x.toFixed(1), y: y.toFixed(1), "font-size": size, fill: INK };
    for (var name in more) attributes[name] = more[name];
    return make("svg:text", attributes, parent, text);
  }
  function stage(parent, height, more) {
    var node = make("svg:svg", { "font-family": "sans-serif", height: height, style: "display: block; margin: 0 auto; max-width: 100%; " + (more || "") }, parent);
    if (!more) { node.setAttribute("role", "img"); node.setAttribute("aria-label", scene.alt); }
    return node;
  }
  function widen(picture, width) {
    picture.setAttribute("width", width);
    picture.setAttribute("viewBox", "0 0 " + width + " " + picture.getAttribute("height"));
  }
  function onWidth(draw) {  // a pixel stays a pixel, on a phone too: the figure is drawn anew for the width it gets
    var ruler = make("div", { style: "height: 0" }, root), last = 0;
    function look() {
      var width = Math.min(760, ruler.clientWidth || last || 640);
      if (width !== last) draw(last = width);
    }
    look();
    if (window.ResizeObserver) new ResizeObserver(look).observe(ruler); else window.addEventListener("resize", look);
  }
  function onKeys(actions) {  // keys act here and only here: the page does not scroll, the book does not turn its pages,
    root.querySelectorAll("button, input").forEach(function (node) {
      node.setAttribute("data-lm-suppress-shortcuts", "true");  // and JupyterLab does not take them for its own
    });
    root.addEventListener("keydown", function (event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key.indexOf("Arrow") === 0 || event.key === "Home" || event.key === "End") event.stopPropagation();
      if (!actions[event.key]) return;
      actions[event.key]();
      event.preventDefault();
    });
  }
  function short(text, room) { return text.length <= room ? text : "\u2026" + text.slice(text.length - Math.max(4, room - 1)); }
  function times(shape) { return shape.join("\u00a0\u00d7\u00a0"); }
  function comma(n) { return String(n).replace(/\B(?=(\d{3})+$)/g, ","); }

  // ---- a walk through a block ------------------------------------------------------------------------------------------
  var BACK = [0.42, 0.3];  // where the width goes: to the right and up, as shares of it

  function shade(hex, share) {  // towards white (share > 0) or black
    return "#" + [1, 3, 5].map(function (i) {
      var v = parseInt(hex.slice(i, i + 2), 16);
      return ("0" + Math.round(share > 0 ? v + (255 - v) * share : v * (1 + share)).toString(16)).slice(-2);
    }).join("");
  }
  function light(hex) {
    var part = [1, 3, 5].map(function (i) { return parseInt(hex.slice(i, i + 2), 16); });
    return part[0] * 0.299 + part[1] * 0.587 + part[2] * 0.114 > 125;
  }
  function extent(box, unit) {  // height, width and length in pixels; nothing is too thin to be seen
    var s = box.sides;
    return { h: Math.max(3, s[0] * unit[0]), w: Math.max(3, s[1] * unit[0]), c: Math.max(3, s[2] * unit[1]) };
  }

  function drawBox(parent, box, unit, middle, floor, mark) {  // channels to the right, height up, width to the back
    var e = extent(box, unit), dx = BACK[0] * e.w, dy = BACK[1] * e.w, x = middle - (e.c + dx) / 2, top = floor - e.h;
    var every = box.parts.reduce(function (sum, part) { return sum + part[1]; }, 0);
    var group = make("svg:g", { "data-box": mark, "data-sides": [e.h, e.w, e.c].map(function (v) { return v.toFixed(1); }).join(" ") }, parent);
    function face(points, fill, kind) {
      make("svg:path", { d: "M" + points.map(function (p) { return p[0].toFixed(1) + " " + p[1].toFixed(1); }).join("L") + "Z",
        fill: fill, stroke: "#fff", "stroke-width": 0.8, "stroke-linejoin": "round", "data-face": kind }, group);
    }
    var end = x + e.c, from = x;
    box.parts.forEach(function (part, i) {
      var to = from + e.c * part[1] / every;
      face([[from, top], [to, top], [to + dx, top - dy], [from + dx, top - dy]], shade(part[2], 0.45), "top");
      face([[from, top], [to, top], [to, floor], [from, floor]], part[2], "front");
      if (i === box.parts.length - 1) face([[end, top], [end + dx, top - dy], [end + dx, floor - dy], [end, floor]], shade(part[2], -0.25), "side");
      if (box.parts.length > 1 && to - from > 8 * String(part[1]).length + 2 && e.h > 16) {
        write(group, (from + to) / 2, floor - 5, String(part[1]), 12, { "text-anchor": "middle", fill: light(part[2]) ? "#111" : "#fff" });
      }
      from = to;
    });
    return { left: x, right: end + dx, middle: floor - e.h / 2 - dy / 2 };
  }

  function walk() {
    var steps = scene.steps, now = 0, HEIGHT = 300, width = 640, unit = [1, 1];
    var bar = make("div", { style: "display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin-bottom: 4px" }, root);
    var look = "font: 600 15px/1.2 sans-serif; color: #fff; background: " + BLUE + "; border: 0; border-radius: 6px; padding: 10px 16px; cursor: pointer; touch-action: manipulation";
    var back = make("button", { type: "button", style: look }, bar, "\u2190 Back");
    var next = make("button", { type: "button", style: look }, bar, "Next \u2192");
    var count = make("span", { style: SMALL + "font-size: 14px" }, bar);
    var picture = stage(root, HEIGHT);
    var strip = stage(root, 46, "cursor: pointer; touch-action: manipulation");
    strip.setAttribute("aria-hidden", "true");
    make("p", { style: SMALL + "text-align: center", "aria-hidden": "true" }, root, "Channels after each step; click on one to go there. " + scene.note);
    // every step's words lie in one cell, so that it is as high as the longest and nothing below moves; one of them is seen and heard
    var cell = make("div", { style: "display: grid; margin-top: 8px" }, root);
    var all = make("div", { "aria-hidden": "true", style: "display: contents" }, cell);
    steps.forEach(function (step, k) { say(make("div", { style: "grid-area: 1 / 1; min-width: 0; visibility: hidden" }, all), k); });
    var words = make("div", { "aria-live": "polite", "aria-atomic": "true", style: "grid-area: 1 / 1; min-width: 0" }, cell);

    function say(parent, k) {
      var step = steps[k], last = steps[steps.length - 1].totals;
      var head = make("p", { style: TEXT }, parent);
      make("strong", {}, head, step.operation.charAt(0).toUpperCase() + step.operation.slice(1));
      head.appendChild(document.createTextNode(" (" + step.name + "), " + times(step.shape) + "."));
      make("p", { style: TEXT }, parent, step.sentence);
      if (step.ways.length > 1) {
        make("p", { style: TEXT }, parent, "In come " + step.ways.map(function (way) { return way.name + ", " + times(way.shape); }).join(", and ") + ".");
      }
      if (step.parts.length > 1) {
        var made = make("p", { style: TEXT }, parent, "Its channels: ");
        step.parts.forEach(function (part, i) {
          make("span", { style: "display: inline-block; width: 12px; height: 12px; border-radius: 2px; vertical-align: -1px; margin-right: 4px; background: " + part[2] }, made);
          made.appendChild(document.createTextNode(part[1] + " from " + part[0] + (i < step.parts.length - 1 ? ", " : ".")));
        });
      }
      ["Parameters", "Multiply-adds"].forEach(function (what, i) {
        var line = make("p", { style: TEXT + "font-variant-numeric: tabular-nums; margin-top: 4px" }, parent, what + ": here " + comma(step.own[i]) + ", so far " + comma(step.totals[i]) + ".");
        var whole = make("span", { style: "display: flex; height: 6px; border-radius: 3px; background: #e6e6e6; overflow: hidden; max-width: 30rem" }, line), share = 100 / (last[i] || 1);
        make("span", { style: "background: " + BLUE + "; width: " + (step.totals[i] - step.own[i]) * share + "%" }, whole);
        make("span", { style: "background: " + ORANGE + "; width: " + step.own[i] * share + "%" }, whole);
      });
    }

    function fit() {  // one scale for all steps: the largest box just fits, and growing is seen as growing
      unit = [1e9, 1e9];
      steps.forEach(function (step) {
        step.ways.forEach(function (way) { room(way, (HEIGHT - 10) / step.ways.length - 44, 0.34); });
        room(step, HEIGHT - 70, 0.42);
      });
      function room(box, high, share) {
        unit[0] = Math.min(unit[0], high / (box.sides[0] + BACK[1] * box.sides[1]), share * 0.55 * width / (BACK[0] * box.sides[1]), 190);
      }
      steps.forEach(function (step) {
        step.ways.concat(step).forEach(function (box) {
          unit[1] = Math.min(unit[1], ((box === step ? 0.42 : 0.34) * width - BACK[0] * box.sides[1] * unit[0]) / box.sides[2]);
        });
      });
    }

    function arrow(x0, y0, x1, y1, tip) {
      var bend = (x0 + x1) / 2;
      make("svg:path", { d: "M" + x0 + " " + y0 + "C" + bend + " " + y0 + " " + bend + " " + y1 + " " + x1 + " " + y1, fill: "none", stroke: SOFT, "stroke-width": 2 }, picture);
      if (tip) make("svg:path", { d: "M" + (x1 + 2) + " " + y1 + "l-9 -5v10Z", fill: SOFT }, picture);
    }

    function draw() {
      var step = steps[now], ways = step.ways, slot = HEIGHT / (ways.length || 1), centre = HEIGHT / 2;
      widen(picture, width);
      clear(picture);
      function put(box, middle, y, letters, size, mark) {  // a box with its name above and its shape below, around a height
        var e = extent(box, unit), high = e.h + BACK[1] * e.w, place = drawBox(picture, box, unit, middle, y + high / 2 + 2, mark);
        write(picture, middle, y - high / 2 - 8, short(box.name, letters), 12.5, { "text-anchor": "middle", fill: SOFT });
        write(picture, middle, y + high / 2 + 7 + size, times(box.shape), size, { "text-anchor": "middle", "font-weight": "bold" });
        return place;
      }
      var to = ways.length ? 0.77 * width : width / 2, out = put(step, to, centre, Math.floor(0.44 * width / 7), 17, "out");
      var x = 0.46 * width, many = ways.length > 1;
      ways.forEach(function (way, i) {
        var place = put(way, 0.18 * width, slot * (i + 0.5), Math.floor(0.36 * width / 7), 13, "in");
        arrow(place.right + 6, slot * (i + 0.5), many ? x - 13 : out.left - 8, centre, !many);
      });
      if (!many) return;
      arrow(x + 13, centre, out.left - 8, centre, true);
      make("svg:circle", { cx: x, cy: centre, r: 13, fill: "#fff", stroke: SOFT, "stroke-width": 2 }, picture);
      if (step.operation === "concatenation") {
        [-6, 1].forEach(function (dx, i) { make("svg:rect", { x: x + dx, y: centre - 6, width: 5, height: 12, fill: ways[i].parts[0][2] }, picture); });
      } else {
        make("svg:path", { d: "M" + (x - 7) + " " + centre + "h14M" + x + " " + (centre - 7) + "v14", stroke: INK, "stroke-width": 2.4 }, picture);
      }
    }

    function drawStrip() {
      var each = Math.min(30, width / steps.length), left = (width - each * steps.length) / 2, gap = each > 12 ? 3 : 1;
      widen(strip, width);
      clear(strip);
      steps.forEach(function (step, k) {
        var column = make("svg:g", { "data-step": k, opacity: k > now ? 0.4 : 1 }, strip), x = left + k * each, y = 40, high = Math.max(3, 36 * step.sides[2]);
        make("svg:title", {}, column, k + 1 + ": " + step.name);
        make("svg:rect", { x: x, y: 0, width: each, height: 46, fill: "transparent" }, column);
        step.parts.forEach(function (part) {
          var h = high * part[1] / step.shape[step.shape.length - 1];
          make("svg:rect", { x: x + gap / 2, y: y - h, width: each - gap, height: h, fill: part[2] }, column);
          y -= h;
        });
        if (k === now) make("svg:rect", { x: x + gap / 2, y: 42.5, width: each - gap, height: 3.5, fill: ORANGE }, column);
        column.addEventListener("click", function () { go(k); });
      });
    }

    function go(k) {
      now = Math.min(steps.length - 1, Math.max(0, k));
      count.textContent = "Step " + (now + 1) + " of " + steps.length;
      [[back, now === 0], [next, now === steps.length - 1]].forEach(function (one) {  // not `disabled`, which would lose the focus
        one[0].setAttribute("aria-disabled", one[1]);
        one[0].style.background = one[1] ? "#6b6b6b" : BLUE;
      });
      clear(words);
      say(words, now);
      draw();
      drawStrip();
    }

    back.addEventListener("click", function () { go(now - 1); });
    next.addEventListener("click", function () { go(now + 1); });
    onKeys({ ArrowLeft: function () { go(now - 1); }, ArrowRight: function () { go(now + 1); },
      Home: function () { go(0); }, End: function () { go(steps.length - 1); } });
    onWidth(function (space) { width = space; fit(); go(now); });
  }

  // ---- curves for one setting at a time --------------------------------------------------------------------------------
  function power(v) {
    return "10" + String(v).split("").map(function (c) { return "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079".charAt("-0123456789".indexOf(c)); }).join("");
  }
  function plain(v) { return String(Number(v.toPrecision(6))).replace("-", "\u2212"); }
  function figure(v) {
    if (v === 0 || (Math.abs(v) < 1e5 && Math.abs(v) >= 1e-3)) return plain(Number(v.toPrecision(3)));
    var parts = v.toExponential(1).split("e");
    return plain(Number(parts[0])) + " \u00d7 " + power(Number(parts[1]));
  }

  function slide() {
    var HEIGHT = 330, left = 52, right = 14, top = 10, bottom = 44, width = 640;
    var frames = scene.frames, now = frames.length - 1, xs = [], at = 0;
    function bar(most, more) {
      var line = make("label", { style: TEXT + "display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: center" + (more || "") }, root), text = make("span", { style: "min-width: 8.5em" }, line);
      var input = make("input", { type: "range", min: 0, max: most, step: 1, value: most, style: "flex: 1 1 12rem; min-width: 9rem; height: 32px; margin: 0; accent-color: " + BLUE }, line);
      return { text: text, input: input };
    }
    var choice = bar(frames.length - 1);
    make("p", { style: SMALL + "margin-top: 6px" }, root, "\u2191 " + scene.ylabel + (scene.log ? " (logarithmic)" : ""));
    var picture = stage(root, HEIGHT);
    picture.style.touchAction = "pan-y";
    var place = bar(0, "; margin-top: 2px");
    var words = make("p", { "aria-live": "polite", style: TEXT + "min-height: " + 1.5 * (scene.series.length + 1) + "em" }, root);

    function across(x) { return left + (x - scene.x[0]) / ((scene.x[1] - scene.x[0]) || 1) * (width - left - right); }
    function up(y) {
      var v = scene.log ? Math.log(y) / Math.LN10 : y;
      return HEIGHT - bottom - (v - scene.y[0]) / (scene.y[1] - scene.y[0]) * (HEIGHT - top - bottom);
    }
    function ticks(low, high, most, whole) {
      var raw = (high - low) / most || 1, ten = Math.pow(10, Math.floor(Math.log(raw) / Math.LN10));
      var step = [1, 2, 5, 10].map(function (m) { return m * ten; }).filter(function (s) { return s >= raw * 0.999; })[0], out = [];
      if (whole) step = Math.max(1, Math.round(step));
      for (var v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-6; v += step) out.push(v);
      return out;
    }
    function nearest(values, x) {
      return values.reduce(function (best, v, i) { return Math.abs(v - x) < Math.abs(values[best] - x) ? i : best; }, 0);
    }
    var whole = frames.every(function (frame) { return frame.curves.every(function (curve) { return curve.x.every(function (v) { return v % 1 === 0; }); }); });
    function path(x, y) { return x.map(function (v, i) { return (i ? "L" : "M") + across(v).toFixed(1) + " " + up(y[i]).toFixed(1); }).join(""); }

    function draw() {
      var frame = frames[now], halo = { stroke: "#fff", "stroke-width": 4, "paint-order": "stroke", "stroke-linejoin": "round", "font-weight": 600 };
      widen(picture, width);
      clear(picture);
      ticks(scene.y[0], scene.y[1], 6, scene.log).forEach(function (v) {
        var y = up(scene.log ? Math.pow(10, v) : v), text = !scene.log ? plain(v) : Math.abs(v) < 4 ? plain(Math.pow(10, v)) : power(Math.round(v));
        make("svg:path", { d: "M" + left + " " + y.toFixed(1) + "H" + (width - right), stroke: "#e2e2e2" }, picture);
        write(picture, left - 7, y + 4.5, text, 13, { "text-anchor": "end", fill: SOFT });
      });
      ticks(scene.x[0], scene.x[1], width < 450 ? 4 : 8, whole).forEach(function (v) {
        write(picture, across(v), HEIGHT - bottom + 18, plain(v), 13, { "text-anchor": "middle", fill: SOFT });
      });
      make("svg:path", { d: "M" + left + " " + top + "V" + (HEIGHT - bottom) + "H" + (width - right), fill: "none", stroke: "#444" }, picture);
      write(picture, (left + width - right) / 2, HEIGHT - 6, scene.xlabel, 14, { "text-anchor": "middle" });
      frame.curves.forEach(function (curve, i) {
        if (!curve.low) return;
        var under = path(curve.x.slice().reverse(), curve.low.slice().reverse()).replace("M", "L");
        make("svg:path", { d: path(curve.x, curve.high) + under + "Z", fill: scene.colours[i], "fill-opacity": 0.14, "data-band": scene.series[i] }, picture);
      });
      frame.curves.forEach(function (curve, i) {
        make("svg:path", { d: path(curve.x, curve.y), fill: "none", stroke: scene.colours[i], "stroke-width": 2.6, "data-series": scene.series[i],
          "stroke-dasharray": ["none", "10 4", "3 3", "12 4 3 4"][i % 4], "stroke-linejoin": "round" }, picture);
      });
      // where the reader reads: a line, a point on each curve, and its name and value beside it
      var x = across(xs[at]), flip = x > (left + width - right) / 2, low = HEIGHT - bottom - 6;
      make("svg:path", { d: "M" + x.toFixed(1) + " " + top + "V" + (HEIGHT - bottom), stroke: "#888", "stroke-dasharray": "2 3" }, picture);
      var notes = frame.curves.map(function (curve, i) {
        var k = nearest(curve.x, xs[at]), y = up(curve.y[k]);
        make("svg:circle", { cx: across(curve.x[k]).toFixed(1), cy: y.toFixed(1), r: 4.5, fill: scene.colours[i], stroke: "#fff", "stroke-width": 1.5 }, picture);
        return { y: y + 4, i: i, value: figure(curve.y[k]), band: curve.low && figure(curve.low[k]) + " to " + figure(curve.high[k]) };
      }).sort(function (one, other) { return one.y - other.y || one.i - other.i; });
      notes.forEach(function (note, k) { note.y = Math.max(note.y, k ? notes[k - 1].y + 17 : top + 12); });
      notes.slice().reverse().forEach(function (note) { note.y = Math.min(note.y, low); low = note.y - 17; });
      notes.forEach(function (note) {
        halo.fill = shade(scene.colours[note.i], -0.3);
        halo["text-anchor"] = flip ? "end" : "start";
        write(picture, x + (flip ? -11 : 11), note.y, scene.series[note.i] + " " + note.value, 13.5, halo);
      });
      var text = scene.label + " " + plain(frame.value) + ", read at " + plain(xs[at]) + ":";
      clear(words);
      words.appendChild(document.createTextNode(text));
      notes.sort(function (one, other) { return one.i - other.i; }).forEach(function (note) {
        var line = make("span", { style: "display: block" }, words);
        make("span", { style: "display: inline-block; width: 16px; height: 4px; vertical-align: middle; margin-right: 6px; background: " + scene.colours[note.i] }, line);
        line.appendChild(document.createTextNode(scene.series[note.i] + " " + note.value + (note.band ? " (" + note.band + ")" : "")));
      });
      make("span", {}, words);
    }

    function read(k) {
      at = Math.min(xs.length - 1, Math.max(0, k));
      place.input.max = xs.length - 1;
      place.input.value = at;
      place.text.textContent = "Read at " + plain(xs[at]);
      place.input.setAttribute("aria-valuetext", scene.xlabel + " " + plain(xs[at]));
      draw();
    }
    function go(k) {
      var x = xs[at], end = xs.length && at === xs.length - 1;
      now = k;
      xs = frames[k].curves.reduce(function (all, curve) { return all.concat(curve.x); }, []).sort(function (a, b) { return a - b; })
        .filter(function (v, i, all) { return !i || v !== all[i - 1]; });
      choice.input.value = k;
      choice.input.setAttribute("aria-valuetext", scene.label + " " + plain(frames[k].value));
      choice.text.textContent = scene.label + ": " + plain(frames[k].value);
      read(x === undefined ? apart() : end ? xs.length - 1 : nearest(xs, x));
    }
    function apart() {  // reading begins at the end where the curves differ more
      var spread = [0, -1].map(function (k) {
        var ends = frames[now].curves.map(function (curve) { return up(curve.y.slice(k)[0]); });
        return Math.max.apply(null, ends) - Math.min.apply(null, ends);
      });
      return spread[0] > spread[1] ? 0 : xs.length - 1;
    }
    function point(event) {
      var box = picture.getBoundingClientRect(), x = (event.clientX - box.left) * width / box.width;
      var k = nearest(xs.map(across), x);
      if (k !== at) read(k);
    }
    picture.addEventListener("pointermove", point);
    picture.addEventListener("pointerdown", point);
    choice.input.addEventListener("input", function () { go(Number(choice.input.value)); });
    place.input.addEventListener("input", function () { read(Number(place.input.value)); });
    onKeys({});
    onWidth(function (space) { width = space; if (xs.length) draw(); else go(now); });
  }

  if (scene.kind === "steps") walk(); else slide();
})
