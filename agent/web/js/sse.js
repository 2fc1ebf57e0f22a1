// SPDX-License-Identifier: Apache-2.0
// Server-sent events from a fetch() body (EventSource cannot send a token). Pure.

export const EVENT_CHARS_MAX = 8 * 1024 * 1024;

/** Feed text as it comes; onEvent({type, data, id}) is called for each whole event. */
export class SseParser {
  constructor(onEvent) {
    this.onEvent = onEvent;
    this.rest = '';
    this.skipLineFeed = false;
    this.clear();
  }

  clear() {
    this.type = '';
    this.data = [];
    this.size = 0;
  }

  push(text) {
    if (this.skipLineFeed && text !== '') {
      if (text[0] === '\n') text = text.slice(1);
      this.skipLineFeed = false;
    }
    this.rest += text;
    let start = 0;
    for (;;) {
      const end = this.lineEnd(start);
      if (end < 0) break;
      this.line(this.rest.slice(start, end));
      start = end + 1;
      if (this.rest[end] === '\r') {
        if (start === this.rest.length) this.skipLineFeed = true;
        else if (this.rest[start] === '\n') start++;
      }
    }
    this.rest = this.rest.slice(start);
    if (this.rest.length > EVENT_CHARS_MAX) throw new Error('event too long');
  }

  lineEnd(start) {
    const feed = this.rest.indexOf('\n', start);
    const ret = this.rest.indexOf('\r', start);
    if (feed < 0 || ret < 0) return Math.max(feed, ret);
    return Math.min(feed, ret);
  }

  line(line) {
    if (line === '') {
      this.dispatch();
      return;
    }
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'event') this.type = value;
    if (name === 'id') this.id = value;
    if (name === 'data') {
      this.size += value.length;
      if (this.size > EVENT_CHARS_MAX) throw new Error('event too long');
      this.data.push(value);
    }
  }

  dispatch() {
    if (this.data.length > 0) {
      this.onEvent({ type: this.type || 'message', data: this.data.join('\n'), id: this.id });
    }
    this.clear();
  }
}

/** ms to wait before attempt n (0, 1, ...) to connect again; random in [0, 1). */
export function backoff(attempt, random = Math.random()) {
  const most = Math.min(15000, 500 * 2 ** Math.min(attempt, 10));
  return Math.round(most * (0.5 + random / 2));
}
