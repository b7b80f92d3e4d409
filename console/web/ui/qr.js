import { html } from '../lib.js';
import { encode } from '../vendor/uqr.js';

/**
 * A QR code as one path. The border of two modules is left white by the label around it.
 * @param {{ text: string, label: string }} props
 */
export function QrCode({ text, label }) {
  const { size, data } = encode(text, { ecc: 'M', border: 2 });
  const path = data.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : ''))).join('');
  return html`<svg class="qr" viewBox=${`0 0 ${size} ${size}`} role="img" aria-label=${label} shape-rendering="crispEdges"><rect width=${size} height=${size} fill="#fff" /><path d=${path} fill="#000" /></svg>`;
}
