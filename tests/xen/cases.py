# SPDX-License-Identifier: Apache-2.0
"""What the tests on real Xen have in common: one bed for all tests of a class."""
import unittest

from bed import Bed


class BedTest(unittest.TestCase):
    """prepare() makes what the tests of a class share, in cls.stack, the bed."""

    @classmethod
    def prepare(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.stack = Bed()
        cls.stack.__enter__()
        cls.failed = False
        try:
            cls.prepare()
        except BaseException as error:
            cls.stack.__exit__(type(error), error, None)
            raise

    @classmethod
    def tearDownClass(cls):
        cls.stack.__exit__(AssertionError if cls.failed else None, None, None)
