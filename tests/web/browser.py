# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that uses the panel as a person would: finds things by what they are called,
waits for what should be seen, and keeps screenshots in BUILD/panel-screenshots."""
import os
import shutil
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('VGPU_BUILD', os.path.join(ROOT, 'build'))
PANEL = os.environ.get('VGPU_PANEL', os.path.join(BUILD, 'agent/web/panel'))
SHOTS = os.path.join(BUILD, 'panel-screenshots')
AXE = os.path.join(ROOT, '.cache/web/node_modules/axe-core/axe.min.js')


def skip(why):
    print('skipped: ' + why)
    sys.exit(77)


def use_selenium():
    """Debian's Selenium belongs to Debian's Python: goes on there if this is another."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        debian = '/usr/bin/python3'
        if os.path.realpath(sys.executable) != os.path.realpath(debian) and \
                os.path.exists('/usr/lib/python3/dist-packages/selenium'):
            os.execv(debian, [debian, *sys.argv])
        skip('no Selenium here: NEEDS_WEB in tools/needs.sh')
    if not shutil.which('chromium') or not shutil.which('chromedriver'):
        skip('no Chromium here: NEEDS_WEB in tools/needs.sh')
    if not os.path.isdir(PANEL):
        skip('the panel was not built: it needs npm and, once, the network')


BY_NAME = '''
const wanted = arguments[0], within = arguments[1] ?? document;
const shown = (e) => e.offsetParent !== null || e.closest('dialog[open]') !== null
  || getComputedStyle(e).position === 'fixed';
const name = (e) => (e.getAttribute('aria-label') ?? e.textContent).replace(/\\s+/g, ' ').trim();
return [...within.querySelectorAll('button, a, summary, select, input')]
  .find((e) => shown(e) && name(e) === wanted) ?? null;
'''


class Browser:
    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
        self.profile = tempfile.mkdtemp(prefix='vgpu-panel.')
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which('chromium')
        for flag in ('--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic',
                     '--no-first-run', '--disable-background-networking', '--hide-scrollbars',
                     '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
                     '--window-size=1440,900', '--user-data-dir=' + self.profile):
            options.add_argument(flag)
        options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
        self.driver = webdriver.Chrome(service=Service(shutil.which('chromedriver')),
                                       options=options)
        self.driver.set_script_timeout(60)
        os.makedirs(SHOTS, exist_ok=True)

    def close(self):
        self.driver.quit()
        shutil.rmtree(self.profile, ignore_errors=True)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition, what, seconds=10):
        from selenium.common.exceptions import StaleElementReferenceException
        deadline = time.monotonic() + seconds
        while True:
            try:
                value = condition()
            except StaleElementReferenceException:
                value = None  # it was drawn anew between finding and using it
            if value:
                return value
            if time.monotonic() > deadline:
                self.shot('failed')
                raise AssertionError('not within %g s: %s\n%s' % (
                    seconds, what, self.js('return document.body.innerText')[-300:]))
            time.sleep(0.03)

    def open(self, url, token=None, page=''):
        """A fresh session: signed in where token is given."""
        self.driver.get(url + 'favicon.svg')
        self.js('sessionStorage.clear(); localStorage.clear()')
        if token:
            self.js("sessionStorage.setItem('vgpu-token', arguments[0])", token)
        self.driver.get(url + ('#' + page if page else ''))
        self.wait(lambda: self.js("return document.querySelector('main h1') !== null"), 'a page')

    def page(self, path):
        self.js('location.hash = arguments[0]', path)
        self.wait(lambda: self.js('''const at = document.activeElement;
            return document.querySelector('main h1') === at || at?.id.startsWith('pool-h-');'''),
                  'the page ' + path)

    def find(self, name, within=None):
        from selenium.webdriver.common.by import By
        box = self.driver.find_element(By.CSS_SELECTOR, within) if within else None
        return self.js(BY_NAME, name, box)

    def named(self, name, within=None):
        return self.wait(lambda: self.find(name, within), 'something called "%s"' % name)

    def click(self, name, within=None):
        def once():
            element = self.find(name, within)
            if element:
                self.js("arguments[0].scrollIntoView({block: 'center'})", element)
                element.click()
            return element
        self.wait(once, 'something called "%s" to click' % name)

    def field(self, name):
        from selenium.webdriver.common.by import By
        return self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR,
                                                           'dialog [name="%s"]' % name),
                         'the field ' + name)[0]

    def type(self, name, text):
        field = self.field(name)
        field.clear()
        field.send_keys(text)

    def choose(self, element, text):
        from selenium.webdriver.support.ui import Select
        Select(element).select_by_visible_text(text)

    def click_check(self, value):
        from selenium.webdriver.common.by import By
        self.wait(lambda: self.driver.find_elements(
            By.CSS_SELECTOR, 'dialog input[type=checkbox][value="%s"]' % value),
                  'the box ' + value)[0].click()

    def text(self, selector='main'):
        return self.js('return document.querySelector(arguments[0])?.innerText ?? ""', selector)

    def sees(self, text, selector='body', seconds=10):
        self.wait(lambda: text in self.text(selector), 'the text "%s" in %s' % (text, selector),
                  seconds)

    def dialog_gone(self):
        self.wait(lambda: self.js("return document.querySelector('dialog') === null"),
                  'the dialog closes')

    def apply(self, look=True):
        """Looks at what will happen, makes the change, and waits until the dialog is gone."""
        if look:
            self.click('See what will happen', 'dialog')
        self.named('Apply', 'dialog')
        shown = self.text('dialog')
        self.click('Apply', 'dialog')
        self.dialog_gone()
        return shown

    def size(self, width, height=900):
        self.driver.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {
            'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': width < 500})

    def shot(self, name, width=None, whole=False):
        if width:
            self.size(width)
        if whole:
            height = self.js('return document.documentElement.scrollHeight')
            self.size(width or 1440, min(4000, height))
        self.driver.save_screenshot(os.path.join(SHOTS, name + '.png'))
        if width or whole:
            self.size(1440)

    def complaints(self):
        """What the browser's console says, but for the answers that a test provokes."""
        return [entry['message'] for entry in self.driver.get_log('browser')
                if entry['level'] in ('SEVERE', 'WARNING')
                and 'Failed to load resource' not in entry['message']
                and 'ERR_' not in entry['message']]

    def cpu_ms(self):
        """CPU time that the page's thread has used for its tasks: no neighbour counts in it."""
        metrics = self.driver.execute_cdp_cmd('Performance.getMetrics', {})['metrics']
        return 1000 * next(m['value'] for m in metrics if m['name'] == 'TaskDuration')

    def faults_of_access(self, rules=None):
        """What axe-core finds against WCAG 2.2 A and AA, or against some of its rules."""
        if self.js('return window.axe === undefined'):
            with open(AXE, encoding='utf-8') as source:
                self.js(source.read() + '\nwindow.axe = window.axe ?? axe;')
        found = self.driver.execute_async_script('''
            const [rules, done] = arguments;
            axe.run(document, {runOnly: rules ?? ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa',
                                                  'wcag22aa', 'best-practice'],
                               resultTypes: ['violations']})
              .then((result) => done(result.violations.map((v) => `${v.id}: ${v.help}: ${
                v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 160)} ${n.failureSummary}`)
                  .join(' | ')}`)),
                (error) => done([String(error)]));''', rules)
        return found
