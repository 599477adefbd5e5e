// Step 2: the frame with the people found, the list of them, the part of the video, the settings. Every change is sent at once and kept
// with the visit; what the server answers is what is shown.
(() => {
  const { ask, say, show, sentenceOf, $ } = b4;
  const SVG = "http://www.w3.org/2000/svg";
  const MIN_BOX = 0.01, MAX_CLICK_MOVE = 0.03, LOOK_AFTER_MS = 120, KEEP_AFTER_MS = 250;
  let token = "", shown = null, pending = 0, stale = false, lastFrame = 0, mode = "choose";

  // Answers come in any order; the newest state of the visit counts.
  const take = (answer) => {
    if (answer.token !== token || (shown && answer.revision < shown.revision)) return;
    shown = answer;
    draw();
  };

  const change = async (action, fields = {}) => {
    const mine = token;
    pending++;
    const busy = setTimeout(() => say("choose", "Looking for people…", "busy"), 400);
    try {
      const answer = await ask(action, { token: mine, ...fields });
      clearTimeout(busy);
      if (mine === token) take(answer);
    } catch (error) {
      clearTimeout(busy);
      if (mine !== token) return;
      if (error.code === "replaced") stale = true; // A newer question took its place; that one may not know of this change.
      else { say("choose", sentenceOf(error)); hideMarker(); }
    } finally {
      clearTimeout(busy);
      pending--;
    }
    if (!pending && stale && mine === token) { stale = false; await change("choice"); }
  };

  // The picture

  const picker = $("#b4-picker"), image = picker.querySelector("img"), svg = picker.querySelector("svg"), marker = picker.querySelector("i");
  const hideMarker = () => { marker.className = ""; };
  let from = null;

  const position = (event) => {
    const box = image.getBoundingClientRect(), clip = (value) => Math.min(Math.max(value, 0), 0.9999);
    return [clip((event.clientX - box.left) / box.width), clip((event.clientY - box.top) / box.height)];
  };
  const mark = (a, b) => {
    const boxing = mode === "box";
    marker.className = boxing ? "b4-box" : "b4-dot";
    Object.assign(marker.style, {
      left: `${100 * Math.min(a[0], b[0])}%`, top: `${100 * Math.min(a[1], b[1])}%`,
      width: boxing ? `${100 * Math.abs(a[0] - b[0])}%` : "0", height: boxing ? `${100 * Math.abs(a[1] - b[1])}%` : "0",
    });
  };
  picker.addEventListener("pointerdown", (event) => {
    from = position(event);
    if (mode === "box") { event.preventDefault(); picker.setPointerCapture(event.pointerId); }
  });
  picker.addEventListener("pointermove", (event) => { if (from && mode === "box") mark(from, position(event)); });
  picker.addEventListener("pointercancel", () => { from = null; });
  picker.addEventListener("pointerup", (event) => {
    if (!from || !shown) return;
    const a = from, b = position(event);
    from = null;
    const person = Number($("#b4-person").value);
    if (mode === "box") {
      if (Math.abs(a[0] - b[0]) > MIN_BOX && Math.abs(a[1] - b[1]) > MIN_BOX) click([...a, ...b], mode, person);
    } else if (Math.hypot(a[0] - b[0], a[1] - b[1]) < MAX_CLICK_MOVE) {
      mark(b, b);
      click(b, mode, person);
    }
  });
  const click = (at, how, person) => change("click", { frame: shown.frame, at, mode: how, person });

  const drawPicture = () => {
    const { clip, people, chosen, clicks } = shown, { width_px: width, height_px: height } = clip;
    if (image.getAttribute("src") !== shown.picture) image.src = shown.picture;
    image.alt = `Frame ${shown.frame}: ${people.length === 1 ? "one person" : `${people.length} people`} found`;
    Object.assign(image, { width, height });
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    const add = (name, attributes, text) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      if (text) element.textContent = text;
      svg.append(element);
    };
    const unit = Math.max(width, height) / 100;
    for (const person of people) {
      const kind = person.id ? "b4-mask b4-mask-chosen" : chosen.length ? "b4-mask b4-mask-other" : "b4-mask";
      add("path", { d: person.outline, class: kind, fill: person.colour, stroke: person.colour, "fill-rule": "evenodd" });
    }
    for (const { at, inside, colour } of clicks) {
      const [x, y] = [at[0] * width, at[1] * height];
      if (at.length === 4) add("rect", { x, y, width: at[2] * width - x, height: at[3] * height - y, class: "b4-click-box", stroke: colour });
      else add("circle", { cx: x, cy: y, r: unit, class: "b4-click", fill: inside ? colour : "#b91c1c" });
    }
    for (const { id, box, colour } of people.filter((person) => person.id)) {
      const x = ((box[0] + box[2]) / 2) * width, y = Math.max(box[1] * height - 2.6 * unit, 2.2 * unit);
      add("circle", { cx: x, cy: y, r: 2 * unit, class: "b4-click", fill: colour });
      add("text", { x, y, "font-size": 2.6 * unit, class: "b4-number" }, String(id));
    }
    hideMarker();
  };

  // The same people as buttons, for keys, screen readers and thick fingers.

  const place = (index, count) => {
    if (count === 1) return "This person";
    if (index === 0) return "On the left";
    if (index === count - 1) return "On the right";
    return count === 3 ? "In the middle" : `${index + 1}${["", "", "nd", "rd"][index + 1] ?? "th"} from the left`;
  };

  const drawPeople = () => {
    const list = $("#b4-people"), { people, clip } = shown;
    while (list.children.length > people.length) list.lastElementChild.remove();
    people.forEach((person, index) => {
      let button = list.children[index]?.firstElementChild;
      if (!button) { // Buttons stay where they are, and with them the focus.
        button = document.createElement("button");
        button.type = "button";
        button.append(document.createElement("span"), document.createElement("span"));
        button.firstElementChild.className = "b4-face";
        const row = document.createElement("li");
        row.append(button);
        list.append(row);
        button.addEventListener("click", () => {
          const { id, at } = shown.people[index];
          if (id) change("drop", { person: id });
          else change("click", { frame: shown.frame, at, mode: "choose", person: 0 });
        });
      }
      const where = place(index, people.length);
      button.setAttribute("aria-pressed", person.id > 0);
      const told = people.length === 1 ? "chosen" : where.toLowerCase();
      button.lastElementChild.textContent = person.id ? `Person ${person.id} · ${told}` : where;
      button.style.setProperty("--b4-colour", person.id ? person.colour : "transparent");
      face(button.firstElementChild, person.box, clip);
    });
  };

  // The person's part of the frame, which the browser has already.
  const face = (element, box, clip) => {
    const [x0, y0, x1, y1] = [box[0] * clip.width_px, box[1] * clip.height_px, box[2] * clip.width_px, box[3] * clip.height_px];
    const [w, h] = [element.clientWidth || 44, element.clientHeight || 56];
    const scale = Math.min(w / Math.max(x1 - x0, 1), h / Math.max(y1 - y0, 1));
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    Object.assign(element.style, {
      backgroundImage: `url("${shown.picture}")`,
      backgroundSize: `${clip.width_px * scale}px ${clip.height_px * scale}px`,
      backgroundPosition: `${w / 2 - cx * scale}px ${h / 2 - cy * scale}px`,
    });
  };

  // Which frame

  const slider = $("#b4-frame"), number = $("#b4-frame-number");
  let lookTimer = 0;
  const showFrame = (frame) => {
    lastFrame = frame;
    slider.value = number.value = frame;
    const at = `${(frame / shown.clip.fps).toFixed(2)} s`;
    $("#b4-at").textContent = at;
    slider.setAttribute("aria-valuetext", `${at}, frame ${frame}`);
  };
  const look = (frame, wait = 0) => {
    if (!shown) return;
    showFrame(Math.min(Math.max(Math.round(frame) || 0, 0), shown.clip.frames - 1));
    clearTimeout(lookTimer);
    const wanted = lastFrame;
    lookTimer = setTimeout(() => { lookTimer = 0; change("choice", { frame: wanted }); }, wait);
  };
  slider.addEventListener("input", () => look(slider.valueAsNumber, LOOK_AFTER_MS));
  number.addEventListener("change", () => look(number.valueAsNumber));

  // Which part of the video: two handles over a film strip, or two numbers.

  const start = $("#b4-start"), end = $("#b4-end"), startS = $("#b4-start-s"), endS = $("#b4-end-s");
  const MIN_PART_S = 0.2;
  let range = [0, 0];

  const setRange = (from, to, moved) => {
    const { seconds: whole } = shown.clip, max = shown.max_range_s, least = Math.min(MIN_PART_S, whole);
    from = Math.min(Math.max(from, 0), whole - least);
    to = Math.min(Math.max(to, least), whole);
    if (moved === "start") to = Math.min(Math.max(to, from + least), from + max, whole);
    if (moved === "end") from = Math.max(Math.min(from, to - least), to - max, 0);
    range = [from, to];
    drawRange();
  };
  const drawRange = () => {
    const { seconds: whole } = shown.clip, [from, to] = range;
    for (const [handle, value] of [[start, from], [end, to]]) {
      Object.assign(handle, { max: whole, value });
      handle.setAttribute("aria-valuetext", `${value.toFixed(1)} seconds`);
    }
    startS.value = +from.toFixed(2);
    endS.value = +to.toFixed(2);
    const percent = (value) => (whole ? 100 * value / whole : 0);
    $(".b4-cut-start").style.width = `${percent(from)}%`;
    $(".b4-cut-end").style.width = `${100 - percent(to)}%`;
    Object.assign($(".b4-kept").style, { left: `${percent(from)}%`, width: `${percent(to - from)}%` });
    const tooLong = whole > shown.max_range_s + 0.05;
    $("#b4-whole").hidden = tooLong;
    $("#b4-range-say").textContent = `${(to - from).toFixed(1)} s of ${whole.toFixed(1)} s` +
      (tooLong ? `; ${+shown.max_range_s.toFixed(1)} s is the most, so move the ends to what matters.` : "");
  };
  // The moment that is shown lies in the part that is kept.
  const moveInside = () => {
    const { fps } = shown.clip, at = lastFrame / fps;
    if (at < range[0] - 0.5 / fps) look(Math.ceil(range[0] * fps));
    else if (at > range[1] + 0.5 / fps) look(Math.floor(range[1] * fps));
  };
  start.addEventListener("input", () => setRange(start.valueAsNumber, range[1], "start"));
  end.addEventListener("input", () => setRange(range[0], end.valueAsNumber, "end"));
  startS.addEventListener("change", () => setRange(startS.valueAsNumber || 0, range[1], "start"));
  endS.addEventListener("change", () => setRange(range[0], Number.isNaN(endS.valueAsNumber) ? shown.clip.seconds : endS.valueAsNumber, "end"));
  for (const handle of [start, end, startS, endS]) handle.addEventListener("change", () => { moveInside(); keep(); });
  $("#b4-whole").addEventListener("click", () => { setRange(0, shown.clip.seconds); keep(); });

  // One picture holds all tiles, side by side. Each is shown cut to its place, so that nobody is squeezed on a narrow screen.
  const strip = $(".b4-strip"), tiles = [...strip.querySelectorAll(".b4-tile")];
  let stripPicture = null;
  const drawStrip = () => {
    for (const [index, tile] of tiles.entries()) {
      if (!stripPicture) { tile.style.backgroundImage = ""; continue; }
      const width = stripPicture.naturalWidth / tiles.length, height = stripPicture.naturalHeight;
      const scale = Math.max(tile.clientWidth / width, tile.clientHeight / height);
      Object.assign(tile.style, {
        backgroundImage: `url("${stripPicture.src}")`,
        backgroundSize: `${stripPicture.naturalWidth * scale}px ${height * scale}px`,
        backgroundPosition: `${tile.clientWidth / 2 - (index + 0.5) * width * scale}px ${(tile.clientHeight - height * scale) / 2}px`,
      });
    }
    strip.dataset.ready = stripPicture !== null;
  };
  const loadStrip = () => {
    const mine = token, picture = new Image();
    stripPicture = null;
    drawStrip();
    picture.onload = () => { if (mine === token) { stripPicture = picture; drawStrip(); } };
    picture.src = `runs/${mine}/strip?${$("#b4-rotate").value}`; // Another address once it is turned: no browser shows the old one.
  };
  new ResizeObserver(drawStrip).observe(strip);

  // Settings: they belong to the clip, and the server keeps them. An empty field is empty, never 0.

  const form = $("#b4-form"), unit = $("#b4-unit");
  const CM_PER_INCH = 2.54, METRES_PER_CM = 0.01;
  const numberOf = (selector) => { const value = $(selector).valueAsNumber; return Number.isNaN(value) ? null : value; };

  const heightM = () => {
    const metres = unit.value === "cm" ? cmToM() : feetToM();
    return metres === null ? null : +metres.toFixed(4);
  };
  const cmToM = () => { const cm = numberOf("#b4-cm"); return cm === null ? null : cm * METRES_PER_CM; };
  const feetToM = () => {
    const [feet, inches] = [numberOf("#b4-feet"), numberOf("#b4-inches")];
    return feet === null && inches === null ? null : (12 * (feet ?? 0) + (inches ?? 0)) * CM_PER_INCH * METRES_PER_CM;
  };
  const showHeight = (metres) => {
    for (const part of document.querySelectorAll(".b4-unit")) part.hidden = part.dataset.unit !== unit.value;
    const inches = metres === null ? null : Math.round((metres / METRES_PER_CM / CM_PER_INCH) * 2) / 2;
    $("#b4-cm").value = metres === null ? "" : +(metres / METRES_PER_CM).toFixed(1);
    $("#b4-feet").value = inches === null ? "" : Math.floor(inches / 12);
    $("#b4-inches").value = inches === null ? "" : inches % 12;
  };
  const collect = () => ({
    people: form.elements.people.value, sex: form.elements.sex.value, motion: $("#b4-motion").value,
    person_height_m: heightM(), age_years: numberOf("#b4-age"), fps: numberOf("#b4-fps"), fov_deg: numberOf("#b4-fov"),
    rotate_deg: Number($("#b4-rotate").value),
    start_s: range[0] > 0.001 ? +range[0].toFixed(3) : null, end_s: range[1] < shown.clip.seconds - 0.001 ? +range[1].toFixed(3) : null,
  });
  const fill = ({ options, clip }) => {
    form.elements.people.value = options.people;
    form.elements.sex.value = options.sex;
    $("#b4-motion").value = options.motion;
    $("#b4-rotate").value = options.rotate_deg;
    for (const [selector, value] of [["#b4-age", options.age_years], ["#b4-fps", options.fps], ["#b4-fov", options.fov_deg]])
      $(selector).value = value ?? "";
    showHeight(options.person_height_m);
    range = [options.start_s ?? 0, options.end_s ?? clip.seconds];
    drawRange();
  };

  let keeping = Promise.resolve(), keepTimer = 0, problem = null;
  const keepNow = () => {
    clearTimeout(keepTimer);
    keepTimer = 0;
    if (!shown) return keeping;
    const mine = token, options = collect();
    keeping = keeping.then(async () => {
      try {
        const answer = await ask("options", { token: mine, options });
        if (mine !== token) return;
        problem = null;
        $("#b4-estimate").textContent = answer.estimate;
        say("run", answer.warning);
        point("");
        if (options.rotate_deg !== shown.options.rotate_deg) {
          loadStrip();
          await change("choice");
        }
      } catch (error) {
        if (mine !== token) return;
        problem = error;
        say("run", sentenceOf(error));
        point(error.field, false);
      }
    });
    return keeping;
  };
  const keep = () => { clearTimeout(keepTimer); keepTimer = setTimeout(keepNow, KEEP_AFTER_MS); };
  addEventListener("pagehide", () => { if (keepTimer) keepNow(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", keep);
  unit.addEventListener("change", () => {
    localStorage.setItem("b4-unit", unit.value);
    showHeight(unit.value === "cm" ? feetToM() : cmToM());
  });
  unit.value = localStorage.getItem("b4-unit") === "ft" ? "ft" : "cm";

  // Shows which field a sentence is about.
  const point = (name, focus = true) => {
    for (const field of document.querySelectorAll("[data-field]")) field.toggleAttribute("aria-invalid", field.dataset.field === name);
    for (const field of document.querySelectorAll("[aria-invalid]")) field.setAttribute("aria-invalid", "true");
    const field = [...document.querySelectorAll("[aria-invalid]")].find((one) => !one.closest("[hidden]"));
    if (!field) return;
    $("#b4-settings").open = true;
    if (focus) field.focus();
  };

  // Everything together

  const draw = () => {
    const { clip, chosen, people } = shown;
    const parts = [`${clip.seconds.toFixed(1)} s`, `${clip.frames} frames`, `${clip.width_px}×${clip.height_px}`];
    const name = Object.assign(document.createElement("b"), { textContent: clip.name });
    $("#b4-clip").replaceChildren(name, ...parts.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
    drawPicture();
    drawPeople();
    slider.max = number.max = clip.frames - 1;
    if (!lookTimer) showFrame(shown.frame); // Else the visitor is already on another one.
    const select = $("#b4-person"), kept = select.value;
    select.replaceChildren(new Option("whoever is clicked", "0"), ...chosen.map(({ id }) => new Option(`person ${id}`, id)));
    select.value = chosen.some(({ id }) => String(id) === kept) ? kept : "0";
    $("#b4-run").textContent = !chosen.length ? "Make it 3D" : chosen.length === 1 ? "Make this person 3D" : `Make these ${chosen.length} people 3D`;
    for (const selector of ["#b4-undo", "#b4-clear"]) $(selector).disabled = !chosen.length && !shown.text;
    if (document.activeElement !== $("#b4-text")) $("#b4-text").value = shown.text;
    $("#b4-estimate").textContent = shown.estimate;
    $("#b4-to-result").hidden = !shown.finished;
    const chosenHere = people.filter((person) => person.id).length;
    const told = shown.found || (chosenHere ? `${chosenHere === 1 ? "One person is" : `${chosenHere} people are`} chosen.` : "");
    say("choose", shown.warning || told, shown.warning ? "problem" : "good");
  };

  const enter = async (newToken) => {
    if (token !== newToken) {
      token = newToken;
      shown = null;
      problem = null;
    }
    clearTimeout(keepTimer);
    keepTimer = 0;
    if (!shown) say("upload", "Reading the video and finding people…", "busy");
    const answer = await ask("choice", { token });
    if (answer.token !== token) return;
    const isNew = !shown;
    shown = answer;
    lastFrame = answer.frame;
    show("choose");
    fill(answer);
    if (isNew) { mode = "choose"; document.querySelector("[name=mode][value=choose]").checked = true; picker.dataset.mode = mode; loadStrip(); }
    point("");
    draw();
  };

  // Once everything that was entered is kept; the first thing that is wrong, if something is.
  const settled = async () => {
    await keepNow();
    if (problem) throw problem;
  };

  $("#b4-undo").addEventListener("click", () => change("undo"));
  $("#b4-clear").addEventListener("click", () => change("clear"));
  $("#b4-text").addEventListener("change", () => change("describe", { text: $("#b4-text").value }));
  for (const radio of document.querySelectorAll("[name=mode]"))
    radio.addEventListener("change", () => { mode = radio.value; picker.dataset.mode = mode; });

  b4.choose = { enter, settled, point };
})();
