import { post } from '../api.js';
import { forgetKept, useKept } from '../kept.js';
import { html, useState } from '../lib.js';
import { goTo, linkTo } from '../router.js';
import { t } from '../texts.js';
import { keepLabels } from '../ui/labels-kept.js';
import { Box, Button, ErrorBox, Field, LinkButton, PageHead, say } from '../ui/parts.js';

/** AWS's alphabet of thing names: a MAC address is a serial. */
const isSerial = (/** @type {string} */ text) => /^[A-Za-z0-9:_-]{1,128}$/.test(text);

/** @param {{ canAct: boolean }} props */
export function EnrolPage({ canAct }) {
  const [serial, setSerial] = useKept('enrol serial', '');
  const [site, setSite] = useKept('enrol site', '');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (undefined));
  const [fault, setFault] = useState(/** @type {string | undefined} */ (undefined));
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!isSerial(serial)) return setFault(t.enrol.noSerial);
    setBusy(true);
    setError(undefined);
    post('/devices', { serial, ...(site === '' ? {} : { site }) }).then(
      (enrolled) => {
        keepLabels([{ ...(site === '' ? {} : { site }), ...enrolled }]);
        forgetKept('enrol');
        say(t.enrol.done(serial));
        goTo(linkTo('labels'));
      },
      (failure) => {
        setBusy(false);
        setError(failure);
      },
    );
  };
  return html`
    <p class="crumbs"><a href=${linkTo('devices')}>${t.nav.devices}</a></p>
    <${PageHead} title=${t.enrol.title} lead=${t.enrol.lead} />
    ${canAct ? null : html`<${Box} kind="warning">${t.viewerOnly}<//>`}
    <form class="panel narrow" onSubmit=${submit}>
      <${Field} label=${t.devices.serial} hint=${t.enrol.serialHint} error=${fault} value=${serial} required maxlength="128" autocomplete="off" autocapitalize="off" spellcheck=${false} onInput=${(
        /** @type {string} */ text,
      ) => {
        setSerial(text.trim());
        setFault(undefined);
      }} />
      <${Field} label=${t.enrol.site} hint=${t.enrol.siteHint} value=${site} autocomplete="off" onInput=${(/** @type {string} */ text) => setSite(text.trim())} />
      <${ErrorBox} error=${error} />
      <div class="actions"><${Button} kind="primary" type="submit" icon="add" disabled=${busy || !canAct}>${busy ? t.actions.busy : t.enrol.button}<//><${LinkButton} icon="file" href=${linkTo('import')}>${t.devices.fromFile}<//></div>
    </form>`;
}
