/* Samples and rollouts: a step to choose, tables to sort and filter, tokens in colour with their
 * numbers. Text from the data is the text of strangers: it goes into textContent and nowhere else.
 * Without this script the page shows the newest step as static tables. */
(() => {
  "use strict";

  const data = JSON.parse(document.getElementById("data").textContent).samples || [];

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  /* Four digits, as the rest of the page; all of them in the title. */
  const short = (value) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (Number.isInteger(value)) return String(value);
    if (size >= 1000 && size < 1e7) return value.toFixed(0);
    return String(Number(value.toPrecision(4)));
  };
  const numberElement = (value) => {
    const made = element("span", "number", short(value));
    made.title = value === null ? "none" : String(value);
    return made;
  };

  /* ---- the fixed prompts through time ---- */

  const words = (text) => text.split(/(\s+)/).filter((word) => word !== "");

  /* For each word whether the other text has it too, in the same order (a longest common
   * subsequence). */
  const common = (now, before) => {
    const length = [...Array(now.length + 1)].map(() => new Uint16Array(before.length + 1));
    for (let i = now.length - 1; i >= 0; i--) {
      for (let j = before.length - 1; j >= 0; j--) {
        length[i][j] = now[i] === before[j] ? length[i + 1][j + 1] + 1
          : Math.max(length[i + 1][j], length[i][j + 1]);
      }
    }
    const kept = now.map(() => false);
    for (let i = 0, j = 0; i < now.length && j < before.length;) {
      if (now[i] === before[j]) {
        kept[i++] = true;
        j++;
      } else if (length[i + 1][j] >= length[i][j + 1]) {
        i++;
      } else {
        j++;
      }
    }
    return kept;
  };

  const showAnswer = (cell, answer, before) => {
    const said = element("span", "said");
    said.dir = "auto";
    const now = words(answer.text);
    const kept = common(now, words(before.text));
    now.forEach((word, i) => {
      said.append(kept[i] || /^\s/.test(word) ? word : element("ins", "", word));
    });
    const worth = element("span", "worth", "score ");
    worth.append(numberElement(answer.score));
    if (answer.gold !== null) worth.append(", gold ", numberElement(answer.gold));
    if (!answer.ended) worth.append(", no end");
    cell.replaceChildren(said, worth);
  };

  const animateFixed = (block, fixed) => {
    const table = block.querySelector(".fixed-prompts");
    const controls = block.querySelector(".fixed-controls");
    if (!table || fixed.steps.length < 2) return;
    const label = element("label", "", "step ");
    const slider = element("input");
    const output = element("output");
    slider.type = "range";
    slider.min = 0;
    slider.max = fixed.steps.length - 1;
    slider.value = slider.max;
    const show = () => {
      const at = Number(slider.value);
      output.textContent = slider.ariaValueText = String(fixed.steps[at]);
      table.querySelector(".now").textContent = `after step ${fixed.steps[at]}`;
      [...table.tBodies[0].rows].forEach((row, p) => {
        showAnswer(row.cells[2], fixed.answers[at][p], fixed.answers[0][p]);
      });
    };
    slider.addEventListener("input", show);
    label.append(slider, output);
    controls.append(label, element("span", "asked", "underlined: not in the answer before PPO"));
    controls.hidden = false;
    show();
  };

  /* ---- the numbers of tokens ---- */

  const quantities = [
    ["log-ratio", "logp - reference, in nats: what KL is made of"],
    ["reward", "KL penalty, and the score at the last token"],
    ["advantage", "how much better than the critic expected, before whitening"],
    ["value", "what the critic expects from here on"],
  ];

  /* The file's numbers are float32; their difference is taken of the same bits. */
  const ratio = (row, t) => Math.fround(row.logp[t]) - Math.fround(row.reference[t]);
  const quantity = (row, t, name) => name === "log-ratio" ? ratio(row, t) : row[name][t];

  /* Full colour: what 95 % of the step's tokens stay below. */
  const colourRange = (step, name) => {
    const sizes = step.rows.flatMap((row) => row.tokens.map((_, t) =>
      Math.abs(quantity(row, t, name)))).sort((a, b) => a - b);
    return sizes[Math.floor(0.95 * (sizes.length - 1))] || sizes[sizes.length - 1] || 0;
  };

  const numbersOf = (row, t) => [
    ["token", JSON.stringify(row.tokens[t])],
    ["logp", row.logp[t]],
    ["reference", row.reference[t]],
    ["KL", Number(ratio(row, t).toPrecision(6))],
    ["reward", row.reward[t]],
    ["value", row.value[t]],
    ["advantage", row.advantage[t]],
    ["return", row.return[t]],
  ];

  /* ---- the table of rollouts ---- */

  class Rollouts {
    constructor(block, steps) {
      this.steps = steps;
      this.step = steps[steps.length - 1];
      this.table = block.querySelector(".rollouts");
      this.body = this.table.tBodies[0];
      this.key = "sample";
      this.descending = false;
      this.spans = []; /* by shown row, then token */
      this.addControls(block.querySelector(".rollout-controls"));
      this.addNumbers();
      this.addSorting();
      this.addTokens();
      this.show();
    }

    chooser(name, entries) {
      const label = element("label", "", name);
      const select = element("select");
      entries.forEach(([value, text]) => {
        const option = element("option", "", text);
        option.value = value;
        select.append(option);
      });
      label.append(select);
      return [label, select];
    }

    addControls(controls) {
      const [stepLabel, stepSelect] = this.chooser("step", this.steps.map((step, i) =>
        [i, i === 0 && step.step === 1 ? "1 (before the first update)" : String(step.step)]));
      stepSelect.value = this.steps.length - 1;
      stepSelect.addEventListener("change", () => {
        this.step = this.steps[Number(stepSelect.value)];
        this.show();
      });
      const hasGold = this.steps.some((step) => step.rows.some((row) => "gap" in row));
      const [rowLabel, rowSelect] = this.chooser("rows", [["", "all"], ["5", "5 with the worst gap"],
        ["10", "10 with the worst gap"]]);
      rowSelect.addEventListener("change", () => {
        this.worst = Number(rowSelect.value);
        if (this.worst > 0) [this.key, this.descending] = ["gap", true];
        this.show();
      });
      const searchLabel = element("label", "", "contains");
      this.search = element("input");
      this.search.type = "search";
      this.search.addEventListener("input", () => this.show());
      searchLabel.append(this.search);
      controls.append(stepLabel, ...(hasGold ? [rowLabel] : []), searchLabel, this.colourChoice(),
        this.scale());
      controls.hidden = false;
    }

    colourChoice() {
      const fieldset = element("fieldset");
      fieldset.append(element("legend", "", "colour"));
      const group = `colour-${Rollouts.made++}`;
      this.colour = "log-ratio";
      quantities.forEach(([name, about], i) => {
        const label = element("label");
        const radio = element("input");
        radio.type = "radio";
        radio.name = group;
        radio.value = name;
        radio.checked = i === 0;
        radio.addEventListener("change", () => {
          this.colour = name;
          this.paint();
        });
        label.title = about;
        label.append(radio, name);
        fieldset.append(label);
      });
      return fieldset;
    }

    scale() {
      const scale = element("span", "token-scale");
      [this.low, this.high] = [element("span"), element("span")];
      scale.append(this.low, element("i", "", "0"), this.high);
      return scale;
    }

    addNumbers() {
      this.numbers = element("p", "token-numbers", "Point at a token, or Tab to one and move with "
        + "the arrow keys: its numbers stand here.");
      this.numbers.setAttribute("role", "status");
      this.numbers.setAttribute("aria-live", "polite");
      this.numbers.setAttribute("aria-atomic", "true");
      this.table.after(this.numbers);
    }

    addSorting() {
      this.heads = [...this.table.tHead.rows[0].cells].filter((cell) => cell.dataset.key);
      this.heads.forEach((head) => {
        const button = element("button", "", head.textContent);
        button.type = "button";
        button.addEventListener("click", () => {
          const same = this.key === head.dataset.key;
          this.descending = same ? !this.descending : head.dataset.key !== "sample";
          this.key = head.dataset.key;
          this.show();
        });
        head.replaceChildren(button);
      });
    }

    addTokens() {
      const look = (event) => {
        const span = event.target.closest(".token");
        if (span && !span.classList.contains("looked-at")) this.look(span);
      };
      /* Not pointerover: that also comes when the keyboard scrolls the page under the pointer. */
      this.body.addEventListener("pointermove", look);
      this.body.addEventListener("focusin", look);
      this.body.addEventListener("keydown", (event) => this.move(event));
    }

    chosenRows() {
      const wanted = this.search.value.toLowerCase();
      const value = (row) => row[this.key] ?? -Infinity;
      let rows = this.step.rows.filter((row) =>
        (row.prompt + row.tokens.join("")).toLowerCase().includes(wanted));
      if (this.worst > 0) rows = rows.sort((a, b) => b.gap - a.gap).slice(0, this.worst);
      const sign = this.descending ? -1 : 1;
      return rows.sort((a, b) => sign * (value(a) - value(b)) || a.sample - b.sample);
    }

    show() {
      const rows = this.chosenRows();
      this.heads.forEach((head) => head.setAttribute("aria-sort", head.dataset.key !== this.key
        ? "none" : this.descending ? "descending" : "ascending"));
      const gap = "gap" in (this.step.rows[0] || {});
      this.table.caption.textContent = `Step ${this.step.step}: ${rows.length} of `
        + `${this.step.count} answers. KL in nats a sequence`
        + (gap ? "; gap: z(score) - z(gold) over all answers of the step." : ".");
      this.spans = [];
      this.body.replaceChildren(...rows.map((row) => this.showRow(row)));
      if (this.spans.length > 0 && this.spans[0].length > 0) this.spans[0][0].tabIndex = 0;
      this.paint();
    }

    showRow(row) {
      const tr = element("tr");
      const answer = element("td", "answer");
      const asked = element("span", "asked", row.prompt);
      asked.dir = "auto";
      const spans = row.tokens.map((text, t) => {
        const ended = row.ended && t === row.tokens.length - 1;
        const kind = ended ? "token end" : /^\s+$/.test(text) ? "token blank" : "token";
        const span = element("span", kind, text);
        span.tabIndex = -1;
        span.place = {row, t, line: this.spans.length};
        return span;
      });
      this.spans.push(spans);
      answer.append(asked, " ", ...spans);
      if (!row.ended) answer.append(element("span", "worth", " no end"));
      this.heads.forEach((head) => {
        const cell = element("td", "count");
        cell.append(numberElement(row[head.dataset.key] ?? null));
        tr.append(cell);
      });
      tr.cells[0].after(answer);
      return tr;
    }

    /* Colours what is shown by the chosen quantity: zero is plain, 95 % full. */
    paint() {
      const range = colourRange(this.step, this.colour);
      this.low.textContent = short(-range);
      this.high.textContent = short(range);
      this.spans.flat().forEach((span) => {
        const value = quantity(span.place.row, span.place.t, this.colour);
        const strength = range > 0 ? Math.min(1, Math.abs(value) / range) : 0;
        span.classList.toggle("down", value < 0);
        span.style.setProperty("--strength", (0.85 * strength).toFixed(3));
      });
    }

    look(span) {
      this.body.querySelectorAll(".looked-at").forEach((seen) => seen.classList.remove("looked-at"));
      span.classList.add("looked-at");
      this.numbers.replaceChildren(...numbersOf(span.place.row, span.place.t).map(
        ([name, value]) => {
          const part = element("span", name === "token" ? "said" : "");
          part.append(element("b", "", name), String(value));
          return part;
        }));
    }

    /* Arrow keys: along the answer and on to the next, up and down between answers. */
    move(event) {
      const span = event.target.closest(".token");
      if (!span) return;
      const {line, t} = span.place;
      const all = this.spans.flat();
      const beside = (lineThere) => {
        const there = this.spans[lineThere];
        return there && there[Math.min(t, there.length - 1)];
      };
      const next = {
        ArrowRight: () => all[all.indexOf(span) + 1],
        ArrowLeft: () => all[all.indexOf(span) - 1],
        ArrowDown: () => beside(line + 1),
        ArrowUp: () => beside(line - 1),
        Home: () => this.spans[line][0],
        End: () => this.spans[line][this.spans[line].length - 1],
      }[event.key]?.();
      if (!next) return;
      event.preventDefault();
      span.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }
  Rollouts.made = 0;

  document.querySelectorAll(".run-samples").forEach((block, i) => {
    const {fixed, rollouts} = data[i];
    if (fixed) animateFixed(block, fixed);
    if (rollouts?.length > 0) new Rollouts(block, rollouts);
  });
})();
