// Slices of one scan in three planes, drawn by NiiVue, or on a plain canvas where WebGL2 or the
// bundle is missing. Both draw the same state; all controls are plain form fields.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const frame = $("slices"), where = $("where"), by = $("by");
  if (!frame) return;
  const data = JSON.parse($("volumes").textContent);
  const AXES = ["sagittal", "coronal", "axial"]; // what stands upright on x, y and z
  const [nx, ny, nz] = data.size;
  const window0 = data.windows[0];
  const state = {
    at: [...data.start],
    plane: 2, // that the keys and the wheel of the plain viewer scroll
    view: "all",
    low: window0.low,
    high: window0.high,
    over: true,
    layers: data.layers.map((layer) => ({ shown: layer.shown, opacity: layer.opacity })),
  };
  const strength = (k) => (state.over && state.layers[k].shown ? state.layers[k].opacity : 0);
  const rgb = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));

  const opened = async (text) => {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  // Sides of the patient at the edges of each plane: left, right, above and below it.
  const SIDES = ["APSI", "RLSI", "RLAP"];
  const sides = document.createElement("div");
  sides.className = "sides";
  sides.setAttribute("aria-hidden", "true");
  const letter = (tiles, ratio) => {
    sides.replaceChildren(...tiles.flatMap(({ axis, box }) => {
      const [x, y, w, h] = box.map((length) => length / ratio);
      const places = [[x + 9, y + h / 2 - 14], [x + w - 9, y + h / 2 - 14], [x + w / 2 + 12, y + 10], [x + w / 2 + 12, y + h - 10]];
      return places.map(([left, top], k) => {
        const side = document.createElement("span");
        side.textContent = SIDES[axis][k];
        side.style.left = `${left}px`;
        side.style.top = `${top}px`;
        return side;
      });
    }));
  };
  let scan, maps, painter;
  const voxel = (values, at) => values[at[0] + nx * (at[1] + ny * at[2])];

  // NiiVue: one canvas; mouse, wheel and touch are its own, keys are ours.
  const withNiivue = async (buffers) => {
    const nv = new niivue.Niivue({
      logLevel: "silent", backColor: [0, 0, 0, 1], crosshairColor: [1, 0.75, 0.2, 1],
      crosshairWidth: 0.8, crosshairWidthUnit: "mm", crosshairGap: 8, isRadiologicalConvention: true, sagittalNoseLeft: true,
      multiplanarShowRender: 0, multiplanarPadPixels: 4, isColorbar: false, dragMode: 0,
      dragAndDropEnabled: false, isForceMouseClickToVoxelCenters: true, loadingText: "",
      isOrientationTextVisible: false, interactive: true,
    });
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    frame.replaceChildren(canvas, sides);
    await nv.attachToCanvas(canvas, false);
    canvas.removeAttribute("tabindex");
    const add = async (buffer, name, colormap, opacity, low, high) => {
      const volume = await niivue.NVImage.new(buffer, `${name}.nii`, colormap, opacity, null, low, high);
      nv.addVolume(volume);
      return volume;
    };
    const base = await add(buffers[0], "scan", "gray", 1, state.low, state.high);
    for (const [k, layer] of data.layers.entries()) {
      const top = Math.max(0, ...layer.labels.map((label) => label.code));
      const map = { R: [], G: [], B: [], A: [], I: [], labels: [] };
      for (let code = 0; code <= top; code += 1) {
        const label = layer.labels.find((one) => one.code === code);
        const [r, g, b] = label ? rgb(label.colour) : [0, 0, 0];
        map.R.push(r); map.G.push(g); map.B.push(b); map.A.push(label ? 255 : 0);
        map.I.push(code); map.labels.push("");
      }
      const volume = await add(buffers[k + 1], layer.key, "gray", strength(k), 0, top || 1);
      volume.setColormapLabel(map);
    }
    let busy = false;
    nv.onLocationChange = (found) => {
      if (busy) return;
      const at = found.vox.map((v, k) => Math.min(Math.max(Math.round(v), 0), data.size[k] - 1));
      if (at.every((v, k) => v === state.at[k])) return;
      state.at = at;
      tell();
    };
    canvas.addEventListener("webglcontextlost", (event) => { event.preventDefault(); plainly("The graphics of this browser were lost"); });
    let drawn = "";
    return {
      draw() {
        busy = true;
        const types = { all: 3, axial: 0, coronal: 1, sagittal: 2 };
        if (nv.opts.sliceType !== types[state.view]) nv.setSliceType(types[state.view]);
        nv.scene.crosshairPos = nv.vox2frac(state.at);
        const look = JSON.stringify([state.low, state.high, state.layers.map((_, k) => strength(k))]);
        if (look !== drawn) {
          drawn = look;
          base.cal_min = state.low;
          base.cal_max = state.high;
          data.layers.forEach((_, k) => { nv.volumes[k + 1].opacity = strength(k); });
          nv.updateGLVolume();
        }
        nv.drawScene();
        busy = false;
        const tiles = nv.screenSlices.filter((tile) => tile.axCorSag < 3);
        letter(tiles.map((tile) => ({ axis: 2 - tile.axCorSag, box: tile.leftTopWidthHeight })), canvas.width / canvas.clientWidth);
      },
    };
  };

  // A plain canvas: each plane is a picture, scaled to millimetres.
  const onCanvas = () => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    frame.replaceChildren(canvas, sides);
    const pen = canvas.getContext("2d"), [dx, dy, dz] = data.spacing;
    const grey = new Uint8ClampedArray(256);
    // Columns and rows of a picture as steps along the axes of the volume: patient's right on the left,
    // front and head above; sagittal with the front on the left.
    const planes = [
      { axis: 2, wide: nx, high: ny, w: nx * dx, h: ny * dy, to: (c, r) => [nx - 1 - c, ny - 1 - r, state.at[2]] },
      { axis: 1, wide: nx, high: nz, w: nx * dx, h: nz * dz, to: (c, r) => [nx - 1 - c, state.at[1], nz - 1 - r] },
      { axis: 0, wide: ny, high: nz, w: ny * dy, h: nz * dz, to: (c, r) => [state.at[0], ny - 1 - c, nz - 1 - r] },
    ];
    const off = planes.map((plane) => Object.assign(document.createElement("canvas"), { width: plane.wide, height: plane.high }));
    const colours = data.layers.map((layer) => {
      const found = [];
      layer.labels.forEach((label) => { found[label.code] = rgb(label.colour); });
      return found;
    });
    let tiles = [];
    const layout = () => {
      const shown = planes.filter((plane) => state.view === "all" || AXES[plane.axis] === state.view);
      const row = frame.clientWidth >= 640;
      const total = shown.reduce((sum, p) => sum + p.w, 0), tallest = Math.max(...shown.map((p) => p.h));
      const gap = 4 * (shown.length - 1);
      const scale = row ? Math.min((canvas.width - gap) / total, canvas.height / tallest)
        : Math.min(canvas.width / Math.max(...shown.map((p) => p.w)), (canvas.height - gap) / shown.reduce((s, p) => s + p.h, 0));
      let [x, y] = row ? [(canvas.width - gap - total * scale) / 2, 0] : [0, 0];
      tiles = shown.map((plane) => {
        const w = plane.w * scale, h = plane.h * scale;
        const tile = { plane, x: row ? x : (canvas.width - w) / 2, y: row ? (canvas.height - h) / 2 : y, w, h };
        x += w + 4; y += h + 4;
        return tile;
      });
    };
    const paint = (plane, target) => {
      const picture = target.getContext("2d").createImageData(plane.wide, plane.high), out = picture.data;
      const ways = data.layers.map((_, k) => strength(k));
      for (let r = 0, p = 0; r < plane.high; r += 1) {
        for (let c = 0; c < plane.wide; c += 1, p += 4) {
          const [x, y, z] = plane.to(c, r), i = x + nx * (y + ny * z);
          let red = grey[scan[i]], green = red, blue = red;
          for (let k = 0; k < ways.length; k += 1) {
            const colour = ways[k] && maps[k][i] ? colours[k][maps[k][i]] : null;
            if (!colour) continue;
            red += (colour[0] - red) * ways[k]; green += (colour[1] - green) * ways[k]; blue += (colour[2] - blue) * ways[k];
          }
          out[p] = red; out[p + 1] = green; out[p + 2] = blue; out[p + 3] = 255;
        }
      }
      target.getContext("2d").putImageData(picture, 0, 0);
    };
    const draw = () => {
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(frame.clientWidth * ratio);
      canvas.height = Math.round(frame.clientHeight * ratio);
      for (let code = 0; code < 256; code += 1) grey[code] = 255 * (data.first + data.step * code - state.low) / (state.high - state.low);
      layout();
      pen.fillStyle = "#000";
      pen.fillRect(0, 0, canvas.width, canvas.height);
      tiles.forEach(({ plane, x, y, w, h }) => {
        const target = off[planes.indexOf(plane)];
        paint(plane, target);
        pen.drawImage(target, x, y, w, h);
        const [across, down] = plane.axis === 2 ? [nx - 1 - state.at[0], ny - 1 - state.at[1]]
          : [plane.axis ? nx - 1 - state.at[0] : ny - 1 - state.at[1], nz - 1 - state.at[2]];
        pen.strokeStyle = "#ffbf33";
        pen.lineWidth = ratio;
        pen.beginPath();
        const cx = x + ((across + 0.5) / plane.wide) * w, cy = y + ((down + 0.5) / plane.high) * h, gap = 8 * ratio;
        [[x, cy, cx - gap, cy], [cx + gap, cy, x + w, cy], [cx, y, cx, cy - gap], [cx, cy + gap, cx, y + h]].forEach(([a, b, c, d]) => { pen.moveTo(a, b); pen.lineTo(c, d); });
        pen.stroke();
      });
      letter(tiles.map(({ plane, x, y, w, h }) => ({ axis: plane.axis, box: [x, y, w, h] })), ratio);
    };
    const tileAt = (event) => {
      const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
      const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
      const tile = tiles.find((t) => x >= t.x && x < t.x + t.w && y >= t.y && y < t.y + t.h);
      return tile && { tile, c: Math.floor(((x - tile.x) / tile.w) * tile.plane.wide), r: Math.floor(((y - tile.y) / tile.h) * tile.plane.high) };
    };
    const go = (event) => {
      const hit = tileAt(event);
      if (hit) { state.at = hit.tile.plane.to(hit.c, hit.r); changed(); }
    };
    canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); go(event); });
    canvas.addEventListener("pointermove", (event) => { if (event.buttons) go(event); });
    canvas.addEventListener("wheel", (event) => {
      const hit = tileAt(event);
      if (!hit) return;
      event.preventDefault();
      step(hit.tile.plane.axis, event.deltaY > 0 ? -1 : 1);
    }, { passive: false });
    return { draw };
  };

  // What the page says in words: slice numbers, attenuation and labels under the crosshair.
  const tell = () => {
    AXES.forEach((name, axis) => {
      const field = $(`slice-${name}`);
      field.value = state.at[axis] + 1;
      field.setAttribute("aria-valuetext", `${name} slice ${state.at[axis] + 1} of ${data.size[axis]}`);
      $(`number-${name}`).textContent = `${state.at[axis] + 1} of ${data.size[axis]}`;
    });
    const code = voxel(scan, state.at), hu = data.first + data.step * code;
    const amount = code === 0 ? `${hu} HU or less` : code === 255 ? `${hu} HU or more` : `about ${hu} HU`;
    const names = data.layers.flatMap((layer, k) => {
      const label = layer.labels.find((one) => one.code === voxel(maps[k], state.at));
      return label ? [label.name] : [];
    });
    where.textContent = [amount.replace(/^(about )?-/, "$1\u2212"), ...names].join("; ");
  };
  const changed = () => { tell(); painter.draw(); };
  const step = (axis, by) => {
    state.at[axis] = Math.min(Math.max(state.at[axis] + by, 0), data.size[axis] - 1);
    changed();
  };
  const choose = (plane) => {
    state.plane = plane;
    frame.dataset.plane = AXES[plane];
    $("plane").textContent = AXES[plane];
  };
  const setWindow = (one) => {
    state.low = one.low;
    state.high = one.high;
    $(`window-${one.id}`).checked = true;
    changed();
  };
  const setView = (view) => {
    state.view = view;
    if (view !== "all") choose(AXES.indexOf(view));
    $(`view-${view}`).checked = true;
    changed();
  };
  const setOver = (over) => { state.over = over; $("over").checked = over; changed(); };
  const setLayer = (k, shown) => { state.layers[k].shown = shown; $(`layer-${k}`).checked = shown; if (shown) state.over = $("over").checked = true; changed(); };

  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const letter = event.key.toLowerCase(), far = Math.ceil(data.size[state.plane] / 10);
    const chosen = { a: 2, c: 1, s: 0 }[letter];
    const preset = data.windows.find((one) => one.key === letter);
    const moves = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: far, PageDown: -far, Home: -data.size[state.plane], End: data.size[state.plane] };
    if (event.key in moves) step(state.plane, moves[event.key]);
    else if (chosen !== undefined) { if (state.view === "all") choose(chosen); else setView(AXES[chosen]); }
    else if (preset) setWindow(preset);
    else if (letter === "o") setOver(!state.over);
    else if (letter === "v") setView(state.view === "all" ? AXES[state.plane] : "all");
    else if (letter === "r") { state.at = [...data.start]; setWindow(window0); setView("all"); }
    else if (/^[1-9]$/.test(letter) && state.layers[letter - 1]) setLayer(letter - 1, !state.layers[letter - 1].shown);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const listen = () => {
    frame.addEventListener("keydown", keys, true);
    frame.addEventListener("dblclick", (event) => event.stopPropagation(), true);
    frame.addEventListener("pointerdown", () => frame.focus({ preventScroll: true }), true);
    AXES.forEach((name, axis) => {
      $(`slice-${name}`).addEventListener("input", (event) => { choose(axis); state.at[axis] = event.target.value - 1; changed(); });
    });
    data.windows.forEach((one) => $(`window-${one.id}`).addEventListener("change", () => setWindow(one)));
    ["all", ...AXES].forEach((name) => $(`view-${name}`).addEventListener("change", () => setView(name)));
    $("over").addEventListener("change", (event) => setOver(event.target.checked));
    state.layers.forEach((layer, k) => {
      $(`layer-${k}`).addEventListener("change", (event) => setLayer(k, event.target.checked));
      $(`opacity-${k}`).addEventListener("input", (event) => { layer.opacity = event.target.value / 100; changed(); });
    });
    new ResizeObserver(() => painter.draw()).observe(frame);
  };
  const plainly = (why) => {
    painter = onCanvas();
    frame.dataset.painter = "canvas";
    by.textContent = `${why}: slices are drawn on a plain canvas.`;
    changed();
  };

  const start = async () => {
    if (typeof DecompressionStream === "undefined") throw new Error("This browser is too old for the viewer");
    const buffers = await Promise.all([data.scan, ...data.layers.map((layer) => layer.codes)].map(opened));
    [scan, ...maps] = buffers.map((buffer) => new Uint8Array(buffer, 352));
    choose(2);
    const probe = document.createElement("canvas").getContext("webgl2");
    let why = typeof niivue === "undefined" ? "NiiVue is not beside this page" : probe ? "" : "This browser has no WebGL2";
    if (!why) {
      try {
        painter = await withNiivue(buffers);
        frame.dataset.painter = "niivue";
        by.textContent = "Slices are drawn by NiiVue.";
        changed();
      } catch {
        why = "NiiVue could not start";
      }
    }
    if (why) plainly(why);
    listen();
    frame.dataset.ready = "yes";
  };
  start().catch((error) => { by.textContent = `${error.message}. Static pictures stand on the page of quality.`; frame.dataset.ready = "no"; });
})();
