import { get, post } from '../api.js';
import { duration, number } from '../format.js';
import { html, useState } from '../lib.js';
import { useLive } from '../live.js';
import { useLoad } from '../load.js';
import { linkTo } from '../router.js';
import { t } from '../texts.js';
import { Button, Empty, ErrorBox, Loading, PageHead, say, Waiting } from '../ui/parts.js';

/** @typedef {import('../types.d.ts').Line} Line */

/** What waits for its turn at AWS, by place. @param {{ canAct: boolean }} props */
export function LinePage({ canAct }) {
  const { data, error, reload } = useLoad((signal) => get('/line', {}, signal), []);
  const [heard, setHeard] = useState(/** @type {Line | undefined} */ (undefined));
  const [failure, setFailure] = useState(/** @type {any} */ (undefined));
  useLive('line', (fresh) => (Array.isArray(fresh?.requests) ? setHeard(fresh) : reload()));
  useLive('resync', () => {
    setHeard(undefined);
    reload();
  });
  const line = /** @type {Line | undefined} */ (heard ?? data);
  const toFront = (/** @type {string} */ requestId, /** @type {string} */ serial) => {
    setFailure(undefined);
    post(`/line/${encodeURIComponent(requestId)}/front`).then(() => {
      say(t.line.moved(serial));
      setHeard(undefined);
      reload();
    }, setFailure);
  };
  return html`
    <${PageHead} title=${t.line.title} lead=${t.line.lead} />
    <${ErrorBox} error=${failure ?? error} retry=${reload} />
    ${
      line === undefined
        ? error === undefined
          ? html`<${Loading} />`
          : null
        : html`
          <ul class="figures small-figures">
            <li><span class="figure"><span class="figure-label">${t.now.inLine}</span><span class="figure-value">${number(line.length)}</span></span></li>
            <li><span class="figure"><span class="figure-label">${t.line.oldest}</span><span class="figure-value">${line.length === 0 ? '–' : duration(line.oldestSeconds)}</span></span></li>
            <li><span class="figure"><span class="figure-label">${t.line.empties}</span><span class="figure-value">${line.length === 0 ? '–' : duration(line.etaSeconds)}</span></span></li>
          </ul>
          ${
            line.requests.length === 0
              ? html`<${Empty} title=${t.line.none}><p>${t.line.noneSays}</p><//>`
              : html`<table class="cards">
                <caption class=${line.length > line.requests.length ? '' : 'hidden'}>${t.line.first(number(line.requests.length), number(line.length))}</caption>
                <thead><tr><th scope="col" class="num">${t.line.place}</th><th scope="col">${t.devices.serial}</th><th scope="col">${t.line.waits}</th><th scope="col">${t.line.eta}</th>${canAct ? html`<td></td>` : null}</tr></thead>
                <tbody>${line.requests.map(
                  (request) => html`<tr key=${request.requestId}>
                    <td class="num" data-label=${t.line.place}>${number(request.place)}</td>
                    <th scope="row"><a class="mono" href=${linkTo('device', request.serial)}>${request.serial}</a></th>
                    <td data-label=${t.line.waits}><${Waiting} since=${request.since} /></td>
                    <td data-label=${t.line.eta}>${duration(request.etaSeconds)}</td>
                    ${
                      canAct
                        ? html`<td class="end">${request.place <= 1 ? null : html`<${Button} icon="front" aria-label=${t.line.toFrontOf(request.serial)} onClick=${() => toFront(request.requestId, request.serial)}>${t.line.toFront}<//>`}</td>`
                        : null
                    }
                  </tr>`,
                )}</tbody>
              </table>`
          }`
    }`;
}
