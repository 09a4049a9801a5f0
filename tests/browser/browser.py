"""Chromium without a window, driven by chromedriver over plain HTTP (W3C WebDriver)."""

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
TAB, ENTER, SPACE, RIGHT = "\ue004", "\ue007", " ", "\ue014"

# Violations of the policy happen while the page is parsed: this listens before that.
WATCH = """
window.violations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def missing():
    """What this machine lacks to run a browser, or None."""
    lacking = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(lacking)} (apt-get install chromium chromium-driver)" if lacking else None


def skip_reason():
    """Why tests in a browser are skipped, or None; under LPIPS_REQUIRE_BROWSER=1 that is an error."""
    lacking = missing()
    if lacking and os.environ.get("LPIPS_REQUIRE_BROWSER") == "1":
        raise RuntimeError(f"LPIPS_REQUIRE_BROWSER=1, but there is no {lacking}")
    if lacking:
        print(f"SKIPPED: tests in a browser: no {lacking}", flush=True)
    return lacking


def axe():
    """The source of axe-core, or None without a network."""
    venv = ROOT / "target/venv/browser"
    found = sorted(venv.glob("lib/python*/site-packages/axe_playwright_python/axe.min.js"))
    if not found and os.environ.get("LPIPS_REQUIRE_BROWSER") == "1":
        raise RuntimeError(f"LPIPS_REQUIRE_BROWSER=1, but axe-core is not in {venv}: run scripts/browser")
    return found[0].read_text(encoding="utf-8") if found else None


class Driver:
    """A chromedriver process."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if match := re.search(r"successfully on port (\d+)", line):
                self.url = f"http://127.0.0.1:{match[1]}"
                return
        raise RuntimeError("chromedriver did not start")

    def call(self, method, path, body=None):
        data = None if body is None and method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        request.method = method
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise RuntimeError(f"{value['error']}: {value['message'].splitlines()[0]}") from None

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Browser:
    """One window."""

    def __init__(self, driver, scripts=True, **view):
        self.driver = driver
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--hide-scrollbars", "--no-first-run",
        ]
        options = {"args": arguments, "binary": shutil.which("chromium")}
        if not scripts:
            options["prefs"] = {"profile.managed_default_content_settings.javascript": 2}
        session = driver.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}})
        self.path = f"/session/{session['sessionId']}"
        self.cdp("Page.addScriptToEvaluateOnNewDocument", source=WATCH)
        self.view(**view)

    def view(self, width=1280, height=900, dark=False, calm=False):
        """The size of the window, and what its user prefers."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height,
                 deviceScaleFactor=1, mobile=width < 500)
        self.cdp("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"},
        ])

    def call(self, method, path, body=None):
        return self.driver.call(method, self.path + path, body)

    def cdp(self, command, **parameters):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page):
        self.call("POST", "/url", {"url": Path(page).as_uri()})

    def run(self, script, *arguments):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def run_async(self, script, *arguments):
        return self.call("POST", "/execute/async", {"script": script, "args": list(arguments)})

    def find(self, selector):
        found = self.call("POST", "/element", {"using": "css selector", "value": selector})
        return found[ELEMENT]

    def type(self, selector, text):
        """Sends keys to an element, which scrolls it into view and focuses it."""
        self.call("POST", f"/element/{self.find(selector)}/value", {"text": text})

    def click(self, selector):
        self.call("POST", f"/element/{self.find(selector)}/click")

    def keys(self, *keys):
        """Presses keys wherever the focus is."""
        actions = [action for key in keys for action in
                   ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})]
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def log(self, kind):
        return self.call("POST", "/se/log", {"type": kind})

    def requests(self):
        """Addresses of what was asked for, but for data in the page."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        urls = [message["params"]["request"]["url"] for message in messages
                if message["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def screenshot(self, path, whole=False):
        picture = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(picture["data"]))

    def close(self):
        self.call("DELETE", "")
