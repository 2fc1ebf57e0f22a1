# SPDX-License-Identifier: Apache-2.0
"""Why something was not done: a code of docs/spec/admin.md or one of ours, and a text."""

MEDIATOR_DOWN = 'mediator-down'  # nobody answers: what was asked for may have been done or not
UNREADABLE = 'unreadable'  # xenopsd's or xenstore's word on a VM


class Failure(Exception):
    def __init__(self, code, text):
        super(Failure, self).__init__(text)
        self.code = code
        self.text = text


def invalid(text, *values):
    return Failure('invalid', text % values)
