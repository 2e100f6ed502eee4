"""A headless Chromium that looks at one page and forgets nothing that it complained about."""
import base64
import json
import re

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

FIRST_CHART = """
new MutationObserver((records, watcher) => {
  if (!document.querySelector(".curve .plot canvas")) return;
  window.firstChart = performance.now();
  watcher.disconnect();
}).observe(document, {childList: true, subtree: true});
"""


class Browser:
    def __init__(self):
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                         "--window-size=1280,900"):
            options.add_argument(argument)
        options.binary_location = "/usr/bin/chromium"
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.run("Page.addScriptToEvaluateOnNewDocument", source=FIRST_CHART)

    def close(self):
        self.driver.quit()

    def run(self, command, **parameters):
        return self.driver.execute_cdp_cmd(command, parameters)

    def open(self, path):
        self.look(1280, "light")
        self.driver.get("file://" + path)
        self.js("document.documentElement.style.scrollBehavior = 'auto'")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector, within=None):
        return (within or self.driver).find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector, within=None):
        found = self.all(selector, within)
        assert found, f"nothing on the page is {selector}"
        return found[0]

    def texts(self, selector, within=None):
        """textContent of all, hidden ones too."""
        return self.js("return [...(arguments[1] || document).querySelectorAll(arguments[0])]"
                       ".map((e) => e.textContent)", selector, within)

    def show(self, element):
        """Into the middle of the window, as charts are drawn when they come into sight."""
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)

    def click(self, element):
        self.show(element)
        element.click()

    def actions(self):
        return ActionChains(self.driver, duration=20)

    def look(self, width, scheme, media=""):
        self.run("Emulation.setEmulatedMedia", media=media,
                 features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.run("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=False)

    def picture(self):
        return base64.b64decode(self.run("Page.captureScreenshot")["data"])

    def complaints(self):
        """Console lines of any level since the last call."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def requests(self):
        """Addresses asked for since the last call, but for the page itself and data: URLs."""
        asked = []
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
            elif message["method"].startswith("Network.webSocketCreated"):
                asked.append(message["params"]["url"])
        pages = re.compile(r"^(file://.*\.html(#.*)?|data:.*|about:blank)$")
        return [address for address in asked if not pages.match(address)]
