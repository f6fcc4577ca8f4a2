// A scene of cameras and people that the reader can turn, with mouse, touch or keys. No library, no network, no motion of its own.
// posekit/notebook/scene3d.py puts this file and a scene into a page; where scripts do not run, the picture that is there stays.
(function (id, scene) {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";
  var root = document.querySelector('[data-scene3d="' + id + '"]:not([data-ready])');
  if (!root) return;
  root.setAttribute("data-ready", "");

  function make(tag, attributes, parent) {
    var node = tag.indexOf("svg:") ? document.createElement(tag) : document.createElementNS(SVG, tag.slice(4));
    for (var name in attributes) node.setAttribute(name, attributes[name]);
    if (parent) parent.appendChild(node);
    return node;
  }

  // ---- what is there: a stage to turn, a list of the cameras, and what the chosen one sees -----------------------------
  root.querySelector("img").hidden = true;
  var wide = make("div", { style: "flex: 3 1 20rem; min-width: 0" }, root);
  var side = make("div", { style: "flex: 1 1 11rem; min-width: 0; font: 14px/1.4 sans-serif; color: #222" }, root);
  var stage = make("svg:svg", {
    viewBox: scene.box.join(" "), tabindex: 0, role: "application", "aria-label": scene.alt,
    "aria-roledescription": "figure that can be turned", "aria-keyshortcuts": "ArrowLeft ArrowRight ArrowUp ArrowDown + - Home",
    "data-lm-suppress-shortcuts": "true",  // or JupyterLab takes the arrow keys
    style: "display: block; width: 100%; height: auto; cursor: grab; touch-action: pan-y; user-select: none; border-radius: 6px"
  }, wide);
  var hint = make("p", { style: "margin: 4px 0 0; font: 13px/1.4 sans-serif; color: #555" }, wide);
  hint.textContent = "Drag to turn, or click on it and use the arrow keys; + and − zoom, Home begins anew. Point at a camera to see through it.";
  var label = make("label", { style: "display: block; margin: 0 0 6px" }, side);
  label.appendChild(document.createTextNode("Camera "));
  var list = make("select", { style: "font: inherit; color: #222; background: #fff; border: 1px solid #777; border-radius: 4px; padding: 2px" }, label);
  scene.cameras.forEach(function (camera, k) { make("option", { value: k }, list).textContent = camera.name; });
  var view = make("svg:svg", {
    viewBox: "0 0 " + scene.tile.join(" "), role: "img",
    style: "display: block; width: 100%; max-width: 16rem; height: auto; background: #eee; border-radius: 4px"
  }, side);
  var seen = scene.sheet && make("svg:image", { href: scene.sheet, width: scene.tile[0] * scene.columns }, view);
  var words = make("p", { "aria-live": "polite", style: "margin: 4px 0 0; min-height: 2.8em" }, side);

  // ---- the things on the stage: lines, each of one thing ---------------------------------------------------------------
  var name = make("svg:text", { "font-size": 20, "font-family": "sans-serif", "font-weight": "bold", fill: "#8a3c00",
    "text-anchor": "middle", stroke: "#fff", "stroke-width": 4, "paint-order": "stroke", "pointer-events": "none" }, stage);
  var things = scene.lines.map(function (line) {
    var path = make("svg:path", { fill: "none", stroke: line.colour, "stroke-width": line.width, "stroke-linecap": "round",
      "stroke-linejoin": "round", "pointer-events": "none" }, stage);
    return { points: line.points, strokes: [line.points.map(function (_, i) { return i; })], path: path, floor: line.floor };
  });
  var frustum = [[1, 2, 3, 4, 1], [0, 1], [0, 2], [0, 3], [0, 4]];
  var cameras = scene.cameras.map(function (camera, k) {
    var path = make("svg:path", { fill: "none", "stroke-linejoin": "round", "pointer-events": "none", "data-camera": camera.name }, stage);
    var target = make("svg:circle", { r: 15, fill: "transparent", style: "cursor: pointer" }, stage);
    target.addEventListener("pointerenter", function (event) { if (event.pointerType === "mouse" && !grip) choose(k); });
    target.addEventListener("click", function () { choose(k); });
    var thing = { points: camera.points, strokes: frustum, path: path, target: target };
    things.push(thing);
    return thing;
  });

  // ---- turning ---------------------------------------------------------------------------------------------------------
  var yaw, pitch, zoom, chosen = 0, grip = null;

  function place(p) {  // posekit/notebook/scene3d.py's `project_view` in JavaScript; a test compares them
    var a = Math.cos(yaw), b = Math.sin(yaw), c = Math.cos(pitch), d = Math.sin(pitch), y = p[1] - scene.middle;
    var x = p[0] * a + p[2] * b, z = p[2] * a - p[0] * b;
    var depth = z * c + y * d, scale = zoom * scene.far / (scene.far + depth);
    return [x * scale, (y * c - z * d) * scale, depth];
  }

  function reach(eye, corner) { return corner.map(function (v, i) { return eye[i] + 5 * (v - eye[i]); }); }

  function draw() {
    things.forEach(function (thing) {
      var at = thing.points.map(function (p) { return place(thing === cameras[chosen] ? reach(thing.points[0], p) : p); });
      thing.depth = thing.floor ? Infinity : at.reduce(function (sum, p) { return sum + p[2]; }, 0) / at.length;
      if (thing.target) thing.path.setAttribute("opacity", Math.min(1, Math.max(0.35, 0.75 - thing.depth / 700)).toFixed(2));
      thing.path.setAttribute("d", thing.strokes.map(function (stroke) {
        return stroke.map(function (i, k) { return (k ? "L" : "M") + at[i][0].toFixed(1) + " " + at[i][1].toFixed(1); }).join("");
      }).join(""));
      if (thing.target) {
        thing.target.setAttribute("cx", at[0][0].toFixed(1));
        thing.target.setAttribute("cy", at[0][1].toFixed(1));
      }
    });
    things.sort(function (one, other) { return other.depth - one.depth; });
    things.forEach(function (thing) { stage.insertBefore(thing.path, name); });
    cameras.forEach(function (camera, k) {
      camera.path.setAttribute("stroke", k === chosen ? "#d55e00" : "#444");
      camera.path.setAttribute("fill", k === chosen ? "rgba(213, 94, 0, 0.07)" : "none");
      camera.path.setAttribute("stroke-width", k === chosen ? 2 : 1.4);
      if (k === chosen) {
        camera.path.setAttribute("opacity", 1);
        name.setAttribute("x", camera.target.getAttribute("cx"));
        name.setAttribute("y", camera.target.getAttribute("cy") - 20);
      }
    });
  }

  function choose(k) {
    chosen = k;
    list.value = k;
    name.textContent = scene.cameras[k].name;
    words.textContent = scene.cameras[k].words;
    view.setAttribute("aria-label", "what camera " + scene.cameras[k].name + " sees");
    if (seen) {
      seen.setAttribute("x", -scene.tile[0] * (k % scene.columns));
      seen.setAttribute("y", -scene.tile[1] * Math.floor(k / scene.columns));
    }
    draw();
  }

  function turn(right, down, nearer) {
    yaw += right;
    pitch = Math.min(1.5, Math.max(-0.3, pitch + down));
    zoom = Math.min(4, Math.max(0.4, zoom * nearer));
    draw();
  }

  function begin() { yaw = scene.yaw; pitch = scene.pitch; zoom = 1; choose(0); }

  function release() { if (grip) { grip = null; stage.style.cursor = "grab"; draw(); } }
  stage.addEventListener("pointerdown", function (event) {
    if (event.button) return;
    grip = [event.clientX, event.clientY];
    stage.style.cursor = "grabbing";
  });
  window.addEventListener("pointermove", function (event) {
    if (!event.buttons) release();  // let go where nobody told us: over a menu, outside the window
    if (!grip) return;
    turn((event.clientX - grip[0]) * -0.008, (event.clientY - grip[1]) * 0.008, 1);
    grip = [event.clientX, event.clientY];
  });
  ["pointerup", "pointercancel"].forEach(function (kind) { window.addEventListener(kind, release); });
  var keys = { ArrowLeft: [0.12, 0, 1], ArrowRight: [-0.12, 0, 1], ArrowUp: [0, -0.08, 1], ArrowDown: [0, 0.08, 1],
    "+": [0, 0, 1.15], "=": [0, 0, 1.15], "-": [0, 0, 1 / 1.15] };
  stage.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Home") begin();
    else if (keys[event.key]) turn.apply(null, keys[event.key]);
    else return;
    event.preventDefault();   // the page does not scroll,
    event.stopPropagation();  // and the book does not turn to its next chapter
  });
  list.addEventListener("change", function () { choose(Number(list.value)); });
  begin();
})
