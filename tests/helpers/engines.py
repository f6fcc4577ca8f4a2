"""The live page in Firefox and in WebKitGTK, by the protocols that they bring: Playwright drives
neither of Debian's builds, and Debian has no geckodriver."""

import base64
import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import requests
from websocket import create_connection

FIREFOX_SETTINGS = {
    "media.navigator.streams.fake": True,  # a camera that shows a pattern
    "media.navigator.permission.disabled": True,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}
COLLECT = """(() => {
  window.wrong = [];
  const say = console.error;
  console.error = (...words) => { window.wrong.push(words.join(" ")); say(...words); };
  addEventListener("error", (event) => window.wrong.push(event.message));
  addEventListener("unhandledrejection", (event) => window.wrong.push(String(event.reason)));
  document.addEventListener("securitypolicyviolation", (event) => window.wrong.push(
    `${event.violatedDirective}: ${event.blockedURI}`));
})()"""
SECONDS = 120


def wait_for_line(log: Path, pattern: str, process: subprocess.Popen) -> str:
    """Return the first group of the pattern, as soon as a program has written it."""
    deadline = time.monotonic() + SECONDS
    while (found := re.search(pattern, log.read_text(errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args[0]} did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
    return found[1]


class Engine:
    """A browser with one page. `evaluate` runs JavaScript; `wrong` lists the console's errors."""

    wrong: list[str]

    def evaluate(self, expression: str):
        """Return the value of an expression, as far as JSON can hold it; promises are awaited."""
        raise NotImplementedError

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + SECONDS
        while not self.evaluate(f"Boolean({expression})"):
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"{expression}\n{text}\n{self.wrong}")
            time.sleep(0.1)


class Firefox(Engine):
    """Firefox without a window, over WebDriver BiDi. Needs `firefox` or `firefox-esr`."""

    @staticmethod
    def missing() -> str | None:
        """Name what is missing here, if anything is."""
        found = shutil.which("firefox") or shutil.which("firefox-esr")
        return None if found else "no Firefox found: install it (apt install firefox-esr)"

    def __init__(self, folder: Path) -> None:
        profile = folder / "profile"
        profile.mkdir()
        lines = [
            f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in FIREFOX_SETTINGS.items()
        ]
        (profile / "user.js").write_text("\n".join(lines))
        log = folder / "log.txt"
        program = shutil.which("firefox") or shutil.which("firefox-esr")
        command = [program, "--headless", "--no-remote", "--remote-debugging-port=0"]
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--profile", str(profile)], stdout=file, stderr=subprocess.STDOUT
            )
        self.wrong = []
        self.last = 0
        address = wait_for_line(log, r"BiDi listening on (ws://\S+)", self.process)
        self.socket = create_connection(f"{address}/session", timeout=SECONDS, suppress_origin=True)
        session = self.ask("session.new", capabilities={})
        self.version = session["capabilities"]["browserVersion"]
        self.ask("session.subscribe", events=["log.entryAdded"])
        self.page = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method: str, **params):
        self.last += 1
        self.socket.send(json.dumps({"id": self.last, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                self.wrong.append(answer["params"]["text"])
            if answer.get("id") == self.last:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                return answer["result"]

    def open(self, address: str) -> None:
        self.ask("browsingContext.navigate", context=self.page, url=address, wait="complete")

    def evaluate(self, expression: str):
        done = self.ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify((await ({expression})) ?? null))()",
            target={"context": self.page},
            awaitPromise=True,
        )
        if done["type"] == "exception":
            raise RuntimeError(done["exceptionDetails"]["text"])
        return json.loads(done["result"]["value"])

    def screenshot(self) -> bytes:
        return base64.b64decode(
            self.ask("browsingContext.captureScreenshot", context=self.page)["data"]
        )

    def close(self) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait()


class WebKit(Engine):
    """WebKitGTK's MiniBrowser on a virtual screen, over WebDriver. Needs `WebKitWebDriver` and
    `Xvfb`."""

    @staticmethod
    def missing() -> str | None:
        """Name what is missing here, if anything is."""
        if shutil.which("WebKitWebDriver") is None:
            return "no WebKitGTK found: install it (apt install webkit2gtk-driver)"
        if shutil.which("Xvfb") is None:
            return "no virtual screen found: install it (apt install xvfb)"
        return None

    def __init__(self, folder: Path) -> None:
        log = folder / "log.txt"
        numbers = folder / "screen.txt"
        with numbers.open("w") as file:
            self.screen = subprocess.Popen(
                ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x1024x24", "-nolisten", "tcp"],
                stdout=file,
                stderr=subprocess.DEVNULL,
            )
        display = wait_for_line(numbers, r"(\d+)\n", self.screen)
        port = 20_000 + self.screen.pid % 20_000
        environment = {
            "PATH": "/usr/bin:/bin",
            "DISPLAY": f":{display}",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "LIBGL_ALWAYS_SOFTWARE": "1",
        }
        with log.open("w") as file:
            self.driver = subprocess.Popen(
                ["WebKitWebDriver", f"--port={port}"],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self.base = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                requests.get(f"{self.base}/status", timeout=5)
                break
            except requests.ConnectionError:
                if self.driver.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        minibrowser = next(Path("/usr").glob("lib/*/webkit2gtk-4.*/MiniBrowser"))
        options = {"binary": str(minibrowser), "args": ["--automation"]}
        session = self.ask("", capabilities={"alwaysMatch": {"webkitgtk:browserOptions": options}})
        self.version = session["capabilities"]["browserVersion"]
        self.base += f"/session/{session['sessionId']}"
        self.ask("/timeouts", script=1000 * SECONDS, pageLoad=1000 * SECONDS)

    def ask(self, path: str, **content):
        path = path or "/session"
        answer = requests.post(self.base + path, json=content, timeout=SECONDS).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise RuntimeError(f"{path}: {answer['error']} {answer['message']}")
        return answer

    @property
    def wrong(self) -> list[str]:
        return self.evaluate("window.wrong")

    def open(self, address: str) -> None:
        """Open a page, and collect errors from when it is loaded: the driver reports none."""
        self.ask("/url", url=address)
        self.evaluate(COLLECT)

    def evaluate(self, expression: str):
        script = f"return (async () => JSON.stringify((await ({expression})) ?? null))()"
        return json.loads(self.ask("/execute/sync", script=script, args=[]))

    def screenshot(self) -> bytes:
        answer = requests.get(f"{self.base}/screenshot", timeout=SECONDS).json()
        return base64.b64decode(answer["value"])

    def close(self) -> None:
        requests.delete(self.base, timeout=SECONDS)
        for process in (self.driver, self.screen):
            process.terminate()
            process.wait()
