"""The report in a real browser: what a reader does with it, hostile text, many runs.
Arguments: the rlhf program, a folder, "timed" or "untimed"."""
import html.parser
import json
import math
import os
import random
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import h5py
import numpy as np

from selenium.webdriver.support.select import Select

import report_runs as runs
from report_browser import Browser

RLHF, FOLDER, TIMED = sys.argv[1], sys.argv[2], sys.argv[3] == "timed"
KEY = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "end": "\ue010",
       "home": "\ue011", "tab": "\ue004"}


def rlhf(*words):
    done = subprocess.run([RLHF, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, (words, done.returncode, done.stderr[-800:])
    return done.stdout


def report(*paths, name="report"):
    page = f"{FOLDER}/{name}.html"
    rlhf("report", *paths, "-o", page)
    return page


def digits_agree(text, value):
    """`text` is `value` rounded to the digits that it shows."""
    if not math.isfinite(value):
        return text == "–"
    mantissa = re.match(r"-?(\d*)\.?(\d*)(?:e([-+]?\d+))?$", text)
    assert mantissa, text
    exponent = int(mantissa.group(3) or 0)
    return abs(float(text) - value) <= 0.5000001 * 10.0 ** (exponent - len(mantissa.group(2)))


def wait(condition, what):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(what)


def quiet(browser):
    assert browser.complaints() == []
    assert browser.requests() == []


# ---- charts ----

def scales_of(browser, plot):
    return tuple(browser.texts(".dygraph-axis-label-x", plot))


def curves_zoom_together(browser):
    plots = browser.all("#curves-ppo .plot")[:4]
    browser.show(plots[1])
    wait(lambda: all(scales_of(browser, plot) for plot in plots[:3]), "the charts were not drawn")
    before = [scales_of(browser, plot) for plot in plots[:3]]
    width = plots[0].size["width"]
    browser.actions().move_to_element_with_offset(plots[0], -width // 6, 0).click_and_hold() \
        .move_by_offset(width // 12, 0).move_by_offset(width // 4, 0).release().perform()
    after = [scales_of(browser, plot) for plot in plots[:3]]
    assert after[0] != before[0], "a drag did not zoom"
    assert after[1] != before[1] and after[2] != before[2], "linked charts did not follow"
    browser.actions().move_to_element(plots[0]).double_click().perform()
    wait(lambda: [scales_of(browser, plot) for plot in plots[:3]] == before,
         "a double click did not reset the zoom")


def hovered_steps_are_the_journals(browser, run, chance):
    """Numbers under the pointer, at places picked at random: those of metrics.jsonl."""
    with open(f"{run}/ppo/metrics.jsonl", encoding="utf-8") as file:
        journal = {row["step"]: row for row in map(json.loads, file)}
    figures = browser.all("#curves-ppo .curve")
    for figure in chance.sample(figures, 3):
        name = browser.one(".metric", figure).text
        plot = browser.one(".plot", figure)
        browser.show(plot)
        wait(lambda: browser.all("canvas", plot), f"{name} was not drawn")
        browser.actions().move_to_element_with_offset(plot, chance.randint(-40, 90), 0).perform()
        wait(lambda: browser.one(".readout", figure).text, f"{name}: nothing under the pointer")
        text = browser.one(".readout", figure).text
        step, value = re.match(r"step (\d+): .*?value (\S+)", text).groups()
        assert digits_agree(value.rstrip(","), journal[int(step)][name]), (name, text)


def single_runs_come_and_go(browser):
    box = browser.one("#show-runs")
    plot = browser.one("#curves-ppo .plot")
    browser.show(plot)
    wait(lambda: browser.all("canvas", plot), "the chart was not drawn")
    picture = lambda: browser.js(
        "return [...arguments[0].querySelectorAll('canvas')].map((c) => c.toDataURL()).join()", plot)
    browser.show(box)
    browser.actions().move_to_element(box).perform() # no chart is pointed at
    before, was = picture(), box.is_selected()
    browser.click(box)
    assert box.is_selected() != was
    browser.show(plot) # charts out of sight wait to be drawn
    wait(lambda: picture() != before, "single runs made no difference")
    browser.click(box)
    browser.show(plot)
    wait(lambda: picture() == before, "single runs did not go again")


def paper_shows_the_curves(browser, run):
    """Every chart is on paper: as drawing, three beside each other, as high where the journal is."""
    with open(f"{run}/ppo/metrics.jsonl", encoding="utf-8") as file:
        gold = [json.loads(line)["objective/gold"] for line in file]
    browser.js("dispatchEvent(new Event('beforeprint'))")
    browser.look(718, "dark", "print") # A4 without its margins
    drawn = browser.js("return [...document.querySelectorAll('.curve .plot')].map((plot) => ["
                       "plot.dataset.stage, plot.parentNode.querySelector('.metric').textContent,"
                       "plot.getBoundingClientRect().right,"
                       "[...plot.querySelectorAll('.engraved .line')].map((line) =>"
                       "line.getAttribute('points').split(' ').map((point) => point.split(',').map(Number)))])")
    assert drawn and max(right for _, _, right, _ in drawn) <= 718, drawn
    for stage, name, _, lines in drawn:
        assert lines and all(math.isfinite(y) for line in lines for _, y in line), (stage, name, lines)
    raw = next(lines[0] for stage, name, _, lines in drawn if (stage, name) == ("ppo", "objective/gold"))
    assert len(raw) == len(gold)
    assert raw[gold.index(max(gold))][1] == min(y for _, y in raw)
    assert len(set(x for x, _ in raw)) == len(raw)
    hidden = lambda what: browser.js("return [...document.querySelectorAll(arguments[0])]"
                                     ".every((e) => e.getClientRects().length === 0)", what)
    assert hidden(".curve canvas, .controls label, .readout, details:not([open]), .rollout-controls")
    assert not hidden(".engraved")
    browser.look(1280, "light")
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert hidden(".engraved") and not hidden(".controls label")
    assert len(browser.run("Page.printToPDF", printBackground=False)["data"]) > 100_000


# ---- rollouts and samples ----

def cells(browser, key):
    """Shown values of a column of the table of rollouts, by their titles."""
    heads = [head.get_attribute("data-key") for head in browser.all(".rollouts thead th")]
    return [float(x) for x in browser.js(
        "return [...document.querySelector('.rollouts tbody').rows].map((row) =>"
        " row.cells[arguments[0]].querySelector('.number').title)", heads.index(key))]


def the_table_sorts(browser):
    for key in ("score", "gold", "gap", "kl"):
        head = browser.one(f".rollouts th[data-key={key}]")
        browser.click(browser.one("button", head))
        assert head.get_attribute("aria-sort") == "descending"
        values = cells(browser, key)
        assert values == sorted(values, reverse=True) and len(set(values)) > 3, (key, values)
        browser.one("button", head).send_keys(" ") # by keyboard
        assert head.get_attribute("aria-sort") == "ascending"
        assert cells(browser, key) == values[::-1] or cells(browser, key) == sorted(values)
    assert len(browser.all(".rollouts th[aria-sort=none]")) == 5


def chooser(browser, name):
    for label in browser.all(".rollout-controls label"):
        if label.text.startswith(name):
            browser.show(label)
            return Select(browser.one("select", label))
    raise AssertionError(f"nothing chooses {name}")


def rows_are_chosen(browser):
    everything = len(browser.all(".rollouts tbody tr"))
    chooser(browser, "rows").select_by_visible_text("5 with the worst gap")
    gaps = cells(browser, "gap")
    assert len(gaps) == 5 and gaps == sorted(gaps, reverse=True)
    chooser(browser, "rows").select_by_visible_text("all")
    word = browser.texts(".rollouts tbody .token")[5].strip()
    search = browser.one(".rollout-controls input[type=search]")
    search.send_keys(word.upper())
    rows = browser.texts(".rollouts tbody tr")
    assert 0 < len(rows) <= everything and all(word.lower() in row.lower() for row in rows)
    search.clear()
    search.send_keys("no answer says this")
    assert not browser.all(".rollouts tbody tr")
    search.clear()
    search.send_keys(" ") # an event that clear() alone does not send
    wait(lambda: len(browser.all(".rollouts tbody tr")) == everything, "the rows did not come back")


def numbers_of_token(browser):
    text = browser.one(".token-numbers").text
    found = re.findall(r"(logp|reference|KL|reward|value|advantage|return)\s*(\S+)", text)
    return {name: float(number) for name, number in found}


def tokens_tell_their_numbers(browser, run):
    """Pointer and keyboard, every number compared with the file."""
    names = {"logp": "logp", "reference": "reference_logp", "reward": "reward", "value": "value",
             "advantage": "advantage", "return": "return"}
    browser.click(browser.one(".rollouts th[data-key=sample] button"))
    chooser(browser, "step").select_by_index(0)
    with h5py.File(f"{run}/ppo/rollouts/000001.h5") as file:
        token = {name: file["token"][column][:] for name, column in names.items()}
        first = file["rollout/offset"][:-1] + file["rollout/prompt_length"][:]

    def check(row, t):
        shown, at = numbers_of_token(browser), int(first[row]) + t
        for name, values in token.items():
            assert np.float32(shown[name]) == values[at], (row, t, name, shown, values[at])
        difference = float(token["logp"][at]) - float(token["reference"][at])
        assert abs(shown["KL"] - difference) <= 1e-5 * abs(difference) + 1e-12

    spans = browser.all(".rollouts tbody tr:nth-child(2) .token")
    browser.show(spans[3])
    browser.actions().move_to_element(spans[3]).perform()
    check(1, 3)
    assert len(browser.all(".token[tabindex='0']")) == 1
    browser.show(browser.one(".token[tabindex='0']"))
    browser.js("document.querySelector(\".token[tabindex='0']\").focus()")
    check(0, 0)
    browser.actions().send_keys(KEY["right"], KEY["right"]).perform()
    check(0, 2)
    browser.actions().send_keys(KEY["down"]).perform()
    check(1, 2)
    browser.actions().send_keys(KEY["left"]).perform()
    check(1, 1)
    browser.actions().send_keys(KEY["end"]).perform()
    check(1, len(spans) - 1)
    browser.actions().send_keys(KEY["right"]).perform()
    check(2, 0)
    browser.actions().send_keys(KEY["up"], KEY["home"]).perform()
    check(1, 0)
    assert len(browser.all(".token[tabindex='0']")) == 1
    assert browser.one(".token-numbers").get_attribute("aria-live") == "polite"


def colouring_switches(browser):
    """Each choice has another picture; blue is below zero and orange above."""
    seen = set()
    for radio in browser.all(".rollout-controls input[type=radio]"):
        browser.click(radio)
        seen.add(browser.js("return [...document.querySelectorAll('.token')].slice(0, 60)"
                            ".map((e) => getComputedStyle(e).backgroundColor).join()"))
        spans = browser.all(".rollouts tbody tr:nth-child(4) .token")
        browser.actions().move_to_element(spans[1]).perform()
        numbers = numbers_of_token(browser)
        name = radio.get_attribute("value")
        value = numbers["KL" if name == "log-ratio" else name]
        red, _, blue = [int(x) for x in re.findall(r"\d+", browser.js(
            "return getComputedStyle(arguments[0]).backgroundColor", spans[1]))[:3]]
        assert (blue > red) == (value < 0), (name, value, red, blue)
    assert len(seen) == 4, "the colours of some quantities are the same"
    assert browser.one(".token-scale").text.count("0") >= 1


def answers_change_with_the_slider(browser, run):
    with h5py.File(f"{run}/ppo/samples.h5") as file:
        steps = sorted(set(file["sample/step"][:].tolist()))
        score, gold = file["sample/score"][:], file["sample/gold"][:]
        first, last = file["sample/offset"][:-1] + file["sample/prompt_length"][:], file["sample/offset"][1:]
        ids = file["token/id"][:]
    slider = browser.one(".fixed-controls input")
    browser.show(slider)
    slider.send_keys(KEY["home"])
    for i, step in enumerate(steps):
        assert browser.one(".fixed-prompts .now").text == f"after step {step}"
        rows = browser.all(".fixed-prompts tbody tr")
        for p in (0, 7, 15):
            cell = browser.all("td", rows[p])[1]
            sample = 16 * i + p
            said = runs.decode(run, ids[first[sample]:last[sample]])
            assert browser.texts(".said", cell) == [runs.shown(said)]
            numbers = [float(e.get_attribute("title")) for e in browser.all(".number", cell)]
            assert [np.float32(x) for x in numbers] == [score[sample], gold[sample]]
            assert digits_agree(browser.one(".number", cell).text, float(score[sample]))
        slider.send_keys(KEY["right"])
    assert browser.one("output").text == str(steps[-1])


def numbers_are_the_files(browser, run, chance):
    """Ten at random: seven of the table of rollouts, three of the scorecard."""
    steps = chooser(browser, "step")
    steps.select_by_index(chance.randrange(len(steps.options)))
    chosen = int(re.match(r"\d+", steps.first_selected_option.text)[0])
    with h5py.File(f"{run}/ppo/rollouts/{chosen:06d}.h5") as file:
        column = {name: file["rollout"][name][:].astype(float) for name in ("score", "gold", "kl")}
        column["length"] = file["rollout/response_length"][:].astype(float)
    z = lambda x: (x - x.mean()) / x.std()
    column["gap"] = z(column["score"]) - z(column["gold"])
    heads = [head.get_attribute("data-key") for head in browser.all(".rollouts thead th")]
    samples = cells(browser, "sample")
    for _ in range(7):
        line, name = chance.randrange(len(samples)), chance.choice(list(column))
        shown = browser.js("return document.querySelector('.rollouts tbody').rows[arguments[0]]"
                           ".cells[arguments[1]].textContent", line, heads.index(name))
        assert digits_agree(shown, column[name][int(samples[line])]), (name, line, shown)
    with open(f"{run}/evaluate/scorecard.json", encoding="utf-8") as file:
        card = json.load(file)["policies"]
    truth = {(policy, name): card[policy][name]["mean"] for policy in ("sft", "ppo")
             for name in ("gold", "scores", "kl", "length")}
    story = set(browser.js("return [...document.querySelectorAll('main > section:first-of-type "
                           ".number')].map((e) => e.textContent + ' ' + e.title)"))
    for place in chance.sample(list(truth), 3):
        assert any(float(title) == truth[place] and digits_agree(text, truth[place])
                   for text, title in map(str.split, story)), (place, truth[place])


# ---- looks ----

LUMINANCE = """
const [text, ground] = [arguments[0], arguments[1]].map((colour) => colour.match(/[\\d.]+/g).map(Number));
const over = [0, 1, 2].map((i) => (ground[3] ?? 1) * ground[i] + (1 - (ground[3] ?? 1)) * arguments[2][i]);
const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92
  : ((c + 0.055) / 1.055) ** 2.4).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const [a, b] = [light(text), light(over)].sort((x, y) => y - x);
return (a + 0.05) / (b + 0.05);
"""


def contrast(browser, element):
    style = lambda e, name: browser.js("return getComputedStyle(arguments[0])[arguments[1]]", e, name)
    body = [int(x) for x in re.findall(r"\d+", style(browser.one("body"), "backgroundColor"))[:3]]
    return browser.js(LUMINANCE, style(element, "color"), style(element, "backgroundColor"), body)


def looks(browser, page):
    """Light, dark, a phone and paper: nothing sticks out, text stands out."""
    ground = {}
    for name, width, scheme, media in (("light", 1280, "light", ""), ("dark", 1280, "dark", ""),
                                       ("phone", 320, "light", ""), ("phone-dark", 390, "dark", ""),
                                       ("print", 794, "dark", "print")):
        browser.look(width, scheme, media)
        for details in browser.all("details:not([open]) > summary")[:40]:
            browser.js("arguments[0].parentElement.open = true", details)
        sizes = browser.js("return ['scrollWidth', 'clientWidth'].map((k) => document.documentElement[k])")
        assert media or sizes[0] <= sizes[1], (page, name, sizes) # paper shrinks what is wide
        ground[name] = browser.js("return getComputedStyle(document.body).backgroundColor")
        strongest = browser.js("return [...document.querySelectorAll('.token:not(.end)')].sort((a, b) =>"
                               " b.style.getPropertyValue('--strength') - a.style.getPropertyValue("
                               "'--strength'))[0]")
        for element in [browser.one("h2"), browser.one("td"), strongest]:
            if element:
                ratio = contrast(browser, element)
                assert ratio >= 4.5, (page, name, element.text, ratio)
        browser.show(browser.one("#samples"))
        with open(f"{FOLDER}/{name}.png", "wb") as file:
            file.write(browser.picture())
    assert ground["print"] == ground["light"] == ground["phone"] != ground["dark"] == ground["phone-dark"]
    assert not browser.js("return document.querySelector('.rollout-controls').offsetHeight")
    browser.look(1280, "light")


# ---- safety ----

def the_policy_holds(browser):
    """A script that comes in later does not run, and no address is reached."""
    policy = browser.one("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none';") and "unsafe-eval" not in policy, policy
    script = re.search(r"script-src([^;]*)", policy).group(1).split()
    assert script and all(re.match(r"'sha256-[A-Za-z0-9+/]{43}='$", word) for word in script), script
    browser.js("const s = document.createElement('script'); s.textContent = 'window.late = 1';"
               "document.body.append(s); const i = new Image(); i.src = 'http://127.0.0.1:9/x.png';"
               "document.body.append(i)")
    assert browser.js("return window.late === undefined")
    complaints = " ".join(browser.complaints())
    assert "script-src" in complaints and "img-src" in complaints, complaints
    browser.requests()


class Table(html.parser.HTMLParser):
    """Texts of the class named in a page, as they are without any script."""
    def __init__(self, kind):
        super().__init__()
        self.kind, self.depth, self.found = kind, 0, []

    def handle_starttag(self, tag, attributes):
        if self.depth > 0:
            self.depth += 1
        elif dict(attributes).get("class") == self.kind:
            self.depth = 1
            self.found.append("")

    def handle_endtag(self, tag):
        self.depth -= self.depth > 0

    def handle_data(self, data):
        if self.depth > 0:
            self.found[-1] += data


def hostile_text_is_text(browser):
    run = f"{FOLDER}/hostile"
    runs.write_pairs(f"{FOLDER}/pairs.jsonl")
    outputs = [rlhf("run", "tiny", "--out", run, "--set", "task.name=files",
                    "--set", f"task.pair_file={FOLDER}/pairs.jsonl",
                    "--set", "model.positions=128", "--set", "task.response_tokens=24",
                    "--set", "pretrain.steps=10")]
    rows, fixed = runs.plant_hostile(run, 4)
    named = f"{FOLDER}/<img src=x onerror=pwned=99>\u202e\x1b[2J"
    os.rename(run, named)
    page = report(named, name="hostile")
    browser.open(page)
    quiet(browser)
    assert browser.js("return window.pwned") is None
    name = browser.js("return JSON.parse(document.getElementById('data').textContent)"
                      ".curves.runs[0].name")
    assert name.isprintable() and "pwned" in name, name
    assert not browser.all("main img, main iframe, main script, main a[href^=http], main style")
    expected = [(runs.shown(prompt), runs.shown(answer)) for prompt, answer in rows]
    assert len({text for pair in expected for text in pair}) >= 70
    found = browser.js("return [...document.querySelectorAll('.rollouts tbody tr')].map((row) =>"
                       " [row.querySelector('.asked').textContent, [...row.querySelectorAll("
                       "'.token:not(.end)')].map((e) => e.textContent).join('')])")
    assert found == [list(pair) for pair in expected]
    found = [[browser.texts(".asked", row)[0], browser.texts(".said", row)[1]]
             for row in browser.all(".fixed-prompts tbody tr")]
    assert found == [[runs.shown(prompt), runs.shown(answer)] for prompt, answer in fixed]
    with open(page, encoding="utf-8") as file:
        text = file.read()
    asked, said = Table("asked"), Table("said")
    asked.feed(text)
    said.feed(text)
    assert asked.found[-64:] == [pair[0] for pair in expected]
    assert said.found[-64:] == [pair[1] for pair in expected]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)

    for words in (["inspect", named, "--step", "4"], ["inspect", named, "--step", "4", "--json"],
                  ["inspect", named, "--step", "4", "--csv"], ["generate", named, "-n", "40"],
                  ["generate", named, "-n", "40", "--json"],
                  ["generate", named, "--prompt", "\x1b[2J\u202e\x9b1m<!--", "--temperature", "3"]):
        outputs.append(rlhf(*words))
    for output in outputs:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]",
                             output.decode("utf-8", "strict")), output


# ---- many runs ----

def fifteen_runs_stay_small(browser, run):
    paths = runs.fifteen_runs(run, FOLDER, 1000)
    page = report(*paths, name="many")
    size = os.path.getsize(page)
    assert size < 5e6, size
    first = []
    for _ in range(3 if TIMED else 1):
        browser.open(page)
        wait(lambda: browser.js("return document.querySelector('.curve .plot') !== null"), "no curve")
        if not browser.js("return window.firstChart"):
            browser.show(browser.one("#curves-ppo .plot"))
        wait(lambda: browser.js("return window.firstChart"), "no chart")
        first.append(browser.js("return window.firstChart"))
    print(f"15 runs of 1000 steps: {size / 1e6:.2f} MB, first charts after {min(first):.0f} ms")
    share = max(1, os.getloadavg()[0] / os.cpu_count()) # others on this machine want their time too
    assert not TIMED or min(first) < 1000 * share, (first, share)
    quiet(browser)
    single_runs_come_and_go(browser)
    assert len(browser.all(".run-samples")) == 3
    looks(browser, "many")
    quiet(browser)


def main():
    run = f"{FOLDER}/plain"
    rlhf("run", "tiny", "--out", run, "--set", "ppo.steps=8", "--set", "ppo.sample_every=2")
    seed = random.SystemRandom().randrange(2 ** 32)
    print(f"numbers picked with seed {seed}")
    chance = random.Random(seed)
    browser = Browser()
    try:
        page = report(run)
        browser.open(page)
        quiet(browser)
        curves_zoom_together(browser)
        hovered_steps_are_the_journals(browser, run, chance)
        single_runs_come_and_go(browser)
        paper_shows_the_curves(browser, run)
        answers_change_with_the_slider(browser, run)
        the_table_sorts(browser)
        rows_are_chosen(browser)
        tokens_tell_their_numbers(browser, run)
        colouring_switches(browser)
        numbers_are_the_files(browser, run, chance)
        looks(browser, "one")
        quiet(browser)
        the_policy_holds(browser)
        hostile_text_is_text(browser)
        fifteen_runs_stay_small(browser, run)
    finally:
        browser.close()
    print("test_report_page: fine")


main()
