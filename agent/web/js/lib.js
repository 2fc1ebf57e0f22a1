// SPDX-License-Identifier: Apache-2.0
// The one place that names the front-end parts which tools/web-build.sh puts beside this.
import { h, render, Component } from '../vendor/preact.js';
import { useEffect, useId, useLayoutEffect, useRef, useState } from '../vendor/hooks.js';
import { batch, computed, effect, signal, untracked } from '../vendor/signals.js';
import htm from '../vendor/htm.js';

export const html = htm.bind(h);
export { render, Component, useEffect, useId, useLayoutEffect, useRef, useState };
export { batch, computed, effect, signal, untracked };

/** A component that is drawn again only when one of its properties is another object. */
export function memo(draw) {
  return class extends Component {
    shouldComponentUpdate(next) {
      const keys = Object.keys(next);
      return (
        keys.length !== Object.keys(this.props).length ||
        keys.some((key) => !Object.is(next[key], this.props[key]))
      );
    }

    render(props) {
      return draw(props);
    }
  };
}
