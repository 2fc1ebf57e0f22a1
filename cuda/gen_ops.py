# SPDX-License-Identifier: Apache-2.0
def wire_header(spec): return ''
def input_header(spec): return ''
def check_source(spec): return ''
def send_header(spec): return ''
def send_source(spec): return ''
def calls_document(spec): return ''
