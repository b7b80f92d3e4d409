import { certificateCase } from './certificate-case.ts';

const page = 'docs/protocol.md';

/** Always played first: it shows how the device speaks. */
export const plain = certificateCase({
  name: 'plain',
  plays: 'answers as it does',
  wants: 'asks, stores its certificate, acknowledges it (Fleet Provisioning: asks to be registered)',
  cure: 'follow "In short" of the page',
  reference: `${page}#in-short`,
  disturb: () => ({}),
});
