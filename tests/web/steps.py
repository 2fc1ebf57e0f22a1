# SPDX-License-Identifier: Apache-2.0
"""The first ten minutes of a new administrator in the panel; tests run it against the stand-in and
against the real agent."""


def shape_host(browser, shot='0', scanned=False):
    """From nothing to GPUs 0 and 1 serving pools A and B, VMs 1-7 in A, 8-20 in B."""
    if not scanned:  # a mediator scans when it starts
        browser.sees('No GPU is recorded yet')
    browser.sees('No pool yet')
    browser.shot(shot + '1-empty', whole=True)
    browser.click('Scan for GPUs')
    shown = browser.apply(look=False)
    assert ('All GPUs are as recorded' if scanned else 'is added') in shown, shown
    browser.sees('GPU 0', '.gpu-grid')
    browser.sees('In no pool yet', '.gpu-grid')
    for gpu, pool in enumerate('AB'):
        browser.click('New pool')
        browser.type('pool', pool)
        browser.apply()
        browser.click('Assign pools to GPU %d' % gpu)
        browser.click_check(pool)
        assert 'joins pool ' + pool in browser.apply()
        browser.sees('Pool ' + pool, '.gpu-grid')
    for pool, vms in (('A', '1-7'), ('B', '8-20')):
        browser.click('Assign VMs to pool ' + pool)
        browser.type('vms', vms)
        if pool == 'A':
            browser.click('See what will happen', 'dialog')
            browser.named('Apply', 'dialog')
            browser.shot(shot + '2-vms-1-7')
        shown = browser.apply(look=pool != 'A')
        assert 'VMs %s' % vms in shown, shown
    browser.wait(lambda: browser.js("return document.querySelectorAll('tr[data-vm]').length") == 20,
                 '20 VMs')


def set_priorities(browser):
    for vm, priority in ((1, 'High'), (2, 'Low')):
        browser.choose(browser.named('Priority of VM %d' % vm), priority)
        assert 'Medium' in browser.apply(look=False)
        browser.wait(lambda v=vm, p=priority: browser.named('Priority of VM %d' % v)
                     .get_attribute('value') == p.lower(), 'the new priority')


def quarantine_and_release(browser, vm, shot='04'):
    browser.click('Quarantine VM %d' % vm)
    browser.type('reason', 'writes where it should not')
    browser.apply()
    browser.sees('writes where it should not', '.attention')
    browser.sees('Quarantined', 'tr[data-vm="%d"]' % vm)
    browser.shot(shot + '-quarantined', whole=True)
    browser.click('Release VM %d' % vm)
    browser.apply(look=False)
    browser.wait(lambda: 'Quarantined' not in browser.text('tr[data-vm="%d"]' % vm), 'the release')
