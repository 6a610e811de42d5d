"""The approval page in a real browser: a person's click decides; a stray key and other pages do not."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import title_is
from selenium.webdriver.support.wait import WebDriverWait

from crm_mcp.ledger import Approval, Ledger, Question
from crm_mcp.page import ApprovalPage

from .programs import SECONDS

BROWSERS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
PREVIEW = """To: Anna Ruiz <anna@acme.example>

<script>document.title = "taken over"</script>
<form><input autofocus><button>Approve</button></form>
    and more."""
QUESTION = "May your assistant do this?"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    home = tmp_path_factory.mktemp("browser")
    options = ChromeOptions()
    options.binary_location = installed(*BROWSERS)
    for flag in (*FLAGS, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    service = ChromeService(installed("chromedriver"), env={**os.environ, "HOME": str(home)})
    with Chrome(options, service) as browser:
        browser.set_page_load_timeout(SECONDS)
        yield browser


def installed(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.fail(f"None of {', '.join(names)} is installed: run `make browser`, or install it.")
    return found


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(tmp_path / "ledger.db")
    yield ledger
    ledger.shut()


@pytest.fixture
def asked(ledger: Ledger) -> Approval:
    question = Question(
        digest="d1", principal="bo", entity="e1", tool="send_outbound_email", preview=PREVIEW, plan=None
    )
    return ledger.ask_for_approval(question, seconds=600)


@pytest.fixture
def link(ledger: Ledger, asked: Approval) -> Iterator[str]:
    page = ApprovalPage(ledger)
    yield page.link(asked.id)
    page.stop()


@contextmanager
def another_site(html: str) -> Iterator[str]:
    """The address of a page of somebody else's."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def text(browser: Chrome, selector: str) -> str:
    return browser.find_element(By.CSS_SELECTOR, selector).text


def press(browser: Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def wait_for(browser: Chrome, title: str) -> None:
    WebDriverWait(browser, SECONDS, poll_frequency=0.05).until(title_is(title))


def test_person_reads_and_approves(browser: Chrome, link: str, asked: Approval, ledger: Ledger) -> None:
    browser.get(link)
    assert (browser.title, text(browser, "h1"), text(browser, "pre")) == (QUESTION, QUESTION, PREVIEW)
    decline, approve = browser.find_elements(By.TAG_NAME, "button")
    assert [decline.text, approve.text] == ["Decline", "Approve"]
    colours = {button.value_of_css_property("background-color") for button in (decline, approve)}
    assert len(colours) == 2, "the browser refused the style"

    press(browser, Keys.ENTER)
    assert ledger.approval(asked.id) == asked
    approve.click()
    # Had the key decided anything, this would say that it was decided already.
    wait_for(browser, "Approved")
    assert text(browser, "main p") == "Tell your assistant to go on. It may do this once."
    assert (ledger.approval(asked.id).state, ledger.approval(asked.id).decided_by) == ("approved", "page")


def test_first_button_on_the_keyboard_declines(
    browser: Chrome, link: str, asked: Approval, ledger: Ledger
) -> None:
    browser.get(link)
    press(browser, Keys.TAB, Keys.ENTER)
    wait_for(browser, "Declined")
    assert ledger.approval(asked.id).state == "declined"


@pytest.mark.parametrize("site", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("knows", ["the link", "even the page's secret"])
def test_form_of_another_site_decides_nothing(
    browser: Chrome, link: str, asked: Approval, ledger: Ledger, site: str, knows: str
) -> None:
    [proof] = re.findall(r'name="proof" value="(\w+)"', httpx2.get(link).text)
    form = f"""<form method="post" action="{escape(link)}"><input name="decision" value="approve">
        <input name="proof" value="{proof if knows == "even the page's secret" else ""}"></form>
        <script>document.forms[0].submit()</script>"""
    with another_site(form) as address:
        browser.get(f"http://{address.replace('127.0.0.1', site)}/")
        wait_for(browser, "Refused")
    assert browser.current_url == link
    assert ledger.approval(asked.id) == asked


def test_page_is_not_shown_in_a_frame_of_another_site(browser: Chrome, link: str) -> None:
    own = "<button>shown</button>"
    frames = f'<iframe srcdoc="{escape(own)}"></iframe><iframe src="{escape(link)}"></iframe>'
    shown = []
    with another_site(frames) as address:
        browser.get(f"http://{address}/")
        for frame in browser.find_elements(By.TAG_NAME, "iframe"):
            browser.switch_to.frame(frame)
            shown.append([button.text for button in browser.find_elements(By.TAG_NAME, "button")])
            browser.switch_to.default_content()
    assert shown == [["shown"], []]
