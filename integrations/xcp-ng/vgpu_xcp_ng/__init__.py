# SPDX-License-Identifier: Apache-2.0
"""What an XCP-ng dom0 needs to give virtual machines a vGPU: the device model's wrapper, XAPI's
hooks and plugin, and the reconciler are small programs beside this package and share it.

Python 3.6 (XCP-ng 8.3) and 2.7 (8.2), with nothing but the standard library. Nothing here imports
XenAPI or starts `xe`, but for the plugin's look-up of a name.
"""
