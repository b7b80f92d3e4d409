// Every text of the console. Another language is a copy of this file, and one line in ../texts.js.

/** @param {number} n @param {string} one @param {string} many */
const plural = (n, one, many) => (n === 1 ? one : many);

export const en = {
  skip: 'Go to the content',
  loading: 'Loading …',
  cure: 'What to do:',
  unknownSerial: 'unknown serial',
  viewerOnly: 'You may look, but not change anything: this needs the role operator.',

  nav: {
    label: 'Pages',
    now: 'Now',
    devices: 'Devices',
    silent: 'Silent',
    line: 'Line',
    audit: 'Audit trail',
    settings: 'Settings',
    help: 'Help',
    more: 'More',
  },
  /** @type {Record<string, string>} */
  roles: { viewer: 'may look', operator: 'may look and change' },
  theme: {
    system: 'Colours: as the system. Change to light',
    light: 'Colours: light. Change to dark',
    dark: 'Colours: dark. Change to as the system',
  },
  live: { connecting: 'Connecting', live: 'Live', lost: 'Connection lost, trying again' },

  actions: { retry: 'Try again', cancel: 'Cancel', close: 'Close', busy: 'Working …', refresh: 'Refresh' },
  pager: {
    label: 'Pages of the list',
    back: 'Back',
    next: 'Next',
    page: (/** @type {number} */ place) => `Page ${place}`,
  },

  errors: {
    unreachable: 'The gateway does not answer.',
    unreachableCure:
      'Check that this machine reaches the gateway, and that cvm console runs there. This page tries again by itself.',
    noAnswer: 'The gateway did not answer: it may have done this, or not.',
    noAnswerCure:
      'Wait until the dot at the top says Live, look at the device or the list whether it was done, and only then do it again. A token that got lost on the way is replaced by a new one: New token.',
    newVersionCure: 'Load the page again. The gateway may have a newer version than this page.',
    brokenCure: 'Try again. If it stays, look at the log of cvm console and run cvm doctor on the gateway.',
    answered: (/** @type {number} */ status) => `The gateway answered with HTTP status ${status}.`,
    about: (/** @type {string} */ code) => `More about ${code}`,
  },

  time: {
    now: 'just now',
    milliseconds: (/** @type {number} */ n) => `${n} ms`,
    seconds: (/** @type {number} */ n) => `${n} s`,
    minutes: (/** @type {number} */ n) => `${n} min`,
    hours: (/** @type {number} */ n) => `${n} h`,
    days: (/** @type {number} */ n) => `${n} ${plural(n, 'day', 'days')}`,
  },

  signIn: {
    title: 'Sign in',
    lead: 'The console of this gateway.',
    password: 'Password',
    hint: 'The gateway showed it once, at its first start. For another: cvm console password --reset.',
    enter: 'Sign in',
    busy: 'Signing in …',
    out: 'Sign out',
    outWithLabels: 'Sign out, and lose these tokens?',
    ended: 'Your session has ended.',
    endedCure: 'Nothing was changed since. Sign in to go on where you were: what you typed is still there.',
  },

  /** @type {Record<string, string>} */
  states: {
    enrolled: 'enrolled',
    provisioning: 'being provisioned',
    registered: 'registered',
    blocked: 'blocked',
    'being-removed': 'being removed',
    'not-enrolled': 'not enrolled',
    unknown: 'not known',
  },
  /** @type {Record<string, string>} */
  outcomes: {
    ok: 'done',
    waiting: 'waiting',
    refused: 'refused',
    failed: 'failed',
    none: 'not yet',
    warning: 'needs attention',
    unknown: 'not known',
  },
  /** @type {Record<string, string>} */
  parts: {
    broker: 'broker',
    worker: 'worker',
    aws: 'AWS',
    device: 'device',
    operator: 'operator',
    cli: 'command',
    console: 'console',
  },
  /** @type {Record<string, string>} */
  steps: {
    tls: 'TLS handshake',
    connected: 'Connected',
    closed: 'Connection closed by the broker',
    stored: 'Request stored',
    line: 'Waits in line',
    endpoint: 'AWS: endpoint',
    ensureThing: 'AWS: thing',
    issue: 'AWS: certificate created',
    findInactive: 'AWS: looked for an earlier certificate',
    attach: 'AWS: certificate attached',
    activate: 'AWS: certificate activated',
    withdraw: 'AWS: earlier certificate deleted',
    configure: 'AWS: thing configured',
    postponed: 'AWS did not do it; tried again',
    answered: 'Answered',
    'too-large': 'Reply too large for the device',
    acknowledged: 'Acknowledged',
    changed: 'Row changed',
    left: 'Left before the answer',
    'came-alive': 'Connected to AWS IoT Core',
    enrolled: 'Enrolled',
    'taken-over': 'Taken over from another table',
    reissued: 'New token made',
    moved: 'Moved to another site',
    blocked: 'Blocked',
    unblocked: 'Unblocked',
    removed: 'Removed',
    vended: 'Certificate vended',
    repeated: 'Same certificate given again',
    reopened: 'Gets another certificate: the reply was lost',
    waiting: 'Certificate made; waits for its device',
    delivered: 'Certificate stored by the device',
    refused: 'Refused',
    'refused-flood': 'Many refusals',
    'repeated-flood': 'Many repeated answers',
    swept: 'Table and AWS compared',
    'swept-up': 'Left-over repaired',
    'records-lost': 'Records were lost',
    'other-withdrawn': 'Other certificate deleted',
    'gateway-approved': 'Gateway approved',
    'gateway-forgotten': 'Gateway forgotten',
    'claim-added': 'Claim certificate made',
    'claim-revoked': 'Claim certificate revoked',
    'signed-in': 'Signed in to the console',
    'signed-out': 'Signed out of the console',
    'sign-in-refused': 'Sign-in refused',
    'moved-to-front': 'Moved to the front of the line',
  },
  /** @type {Record<string, string>} titles of checks that the gateway sends without one */
  checks: {
    redis: 'Redis',
    aws: 'AWS',
    workers: 'Workers',
    brokers: 'Brokers',
    disk: 'Disk',
    table: 'Table',
    policy: 'Policy',
    sweep: 'Sweep',
  },

  now: {
    well: 'All is well',
    wellLead: 'Devices that ask for a certificate get one.',
    needLead: 'Each line below says what to do.',
    warning: (/** @type {number} */ n) => plural(n, 'One thing needs attention', `${n} things need attention`),
    failed: (/** @type {number} */ n) =>
      plural(n, 'One thing has failed', n === 0 ? 'Something has failed' : `${n} things have failed`),
    unknown: 'Some checks could not be made',
    awayLead: (/** @type {string} */ time) => `What stands below was so at ${time}.`,
    asOf: (/** @type {string} */ time) => `as of ${time}`,
    needsYou: 'Needs you',
    figures: 'Figures',
    vendedHour: 'Vended in the last hour',
    lastMinute: (/** @type {string} */ n) => `${n} in the last full minute`,
    inLine: 'In line',
    lastServed: (/** @type {string} */ eta) => `the last is served in ${eta}`,
    noneWaits: 'no device waits',
    refusedHour: 'Refused in the last hour',
    noneRefused: 'No device was refused.',
    whyBelow: 'the reasons are below',
    silent: 'Vended, never connected',
    truckRolls: 'each may be a drive to the site',
    allSeen: 'all have connected to AWS',
    lastHour: 'The last hour, by the minute',
    chartSays: (/** @type {string} */ vended, /** @type {string} */ refused) =>
      `In the last hour ${vended} certificates were vended and ${refused} requests refused.`,
    vended: 'Vended',
    refused: 'Refused',
    repeated: 'Given again',
    minute: 'Minute',
    asTable: 'As a table',
    feed: 'At this moment',
    more: (/** @type {string} */ n) => `and ${n} more`,
    feedEmpty: 'Devices appear here as they come.',
    health: 'Health',
    quotas: 'Use of AWS’s quotas',
    ofPerSecond: (/** @type {string} */ used, /** @type {string} */ limit) => `${used} of ${limit} a second`,
    certificates: 'Certificates end',
    until: (/** @type {string} */ date, /** @type {number} */ days) =>
      `${date}, ${plural(days, 'in one day', `in ${days} days`)}`,
    refusals: 'Refused, by reason',
  },

  devices: {
    total: (/** @type {string} */ n, /** @type {boolean} */ isFiltered) =>
      isFiltered ? `${n} match` : `${n} enrolled`,
    fromFile: 'Enrol from a file',
    enrolOne: 'Enrol a device',
    filters: 'Filters',
    search: 'Serial begins with',
    searchHint: 'PUMP-00',
    state: 'State',
    anyState: 'any',
    site: 'Site',
    anySite: 'any',
    silentOnly: 'Never connected to AWS',
    noneMatch: 'No device matches',
    similar: (/** @type {string} */ serial) => `What is known of ${serial}, and serials like it`,
    noneMatchCure:
      'A search compares the beginning of the serial, capital and small letters apart. Devices of other sites are not in this list.',
    clear: 'Clear the filters',
    none: 'No device is enrolled yet',
    noneCure: 'Enrol a device, or many from a spreadsheet. Each device gets a token, which is shown once.',
    serial: 'Serial',
    requestedAt: 'Last asked',
    registeredAt: 'Registered',
    cameAlive: 'At AWS',
    silent: 'never connected',
    selectAll: 'Select all on this page',
    select: (/** @type {string} */ serial) => `Select ${serial}`,
  },

  bulk: {
    label: 'Actions on the selected devices',
    selected: (/** @type {string} */ n) => `${n} selected`,
    clear: 'Clear',
    devices: (/** @type {string} */ n) => `${n} devices`,
    typeToConfirm: (/** @type {string} */ text) => `Type ${text} to confirm`,
    someFailed: (/** @type {string} */ n, /** @type {string} */ all) => `Nothing was done to ${n} of ${all}`,
    moreFailed: (/** @type {string} */ n) => `and to ${n} more`,
  },
  acts: {
    reissue: {
      button: 'New token',
      title: (/** @type {string} */ what) => `Make a new token for ${what}?`,
      means:
        'The old token stops working at once. A certificate in use goes on working until the device asks for a new one with the new token. The new token is shown once.',
      done: (/** @type {string} */ what) => `New token made for ${what}`,
    },
    block: {
      button: 'Block',
      title: (/** @type {string} */ what) => `Block ${what}?`,
      means:
        'The certificate is deactivated at once: the device loses its connection to AWS and gets no other certificate. You can unblock it later.',
      done: (/** @type {string} */ what) => `${what} blocked`,
    },
    unblock: {
      button: 'Unblock',
      title: (/** @type {string} */ what) => `Unblock ${what}?`,
      means: 'The certificate is activated again: the device can connect to AWS.',
      done: (/** @type {string} */ what) => `${what} unblocked`,
    },
    remove: {
      button: 'Remove',
      title: (/** @type {string} */ what) => `Remove ${what}?`,
      means:
        'The certificate, the thing and the row are deleted. This cannot be undone: the device must be enrolled again, with a new token.',
      done: (/** @type {string} */ what) => `${what} removed`,
    },
  },

  enrol: {
    title: 'Enrol a device',
    lead: 'The device gets a token, with which it asks for its certificate once.',
    serialHint:
      'As the device says it: letters, digits, colon, underscore and hyphen; capital and small letters are different.',
    noSerial: 'A serial has 1 to 128 letters, digits, colons, underscores or hyphens, and no space.',
    site: 'Site (may be empty)',
    siteHint: 'Only the gateway of this site will serve the device. Empty: any gateway.',
    button: 'Enrol',
    done: (/** @type {string} */ serial) => `${serial} is enrolled`,
  },

  import: {
    title: 'Enrol from a file',
    lead: 'The file is checked first. Nothing is enrolled before you confirm.',
    file: 'CSV file',
    drop: 'Choose a file, or drop it here. The gateway checks it first.',
    taken: (/** @type {string} */ name) => `Checked: ${name}`,
    format: 'What must the file look like?',
    formatSays:
      'The first line names the columns. Only serial is needed; site, token and claim_group may be there. A spreadsheet saves it as “CSV UTF-8”.',
    looking: 'Checking the file …',
    enrolling: 'Enrolling. Leave this page open: the tokens are shown once.',
    tooLarge: 'The file has more than 20 MB.',
    tooLargeCure: 'Use cvm devices import on the gateway: it takes files of any size and goes on where it was stopped.',
    found: (/** @type {string} */ n) => `${n} rows`,
    good: 'can be enrolled',
    bad: 'cannot',
    button: (/** @type {string} */ n, /** @type {number} */ count) =>
      `Enrol ${n} ${plural(count, 'device', 'devices')}`,
    badStay: 'The bad rows are left out.',
    badRows: 'Rows that cannot be enrolled',
    line: 'Line',
    reason: 'What is wrong',
    cure: 'What to do',
    saveBad: 'Save these rows',
    moreBad: (/** @type {string} */ n) => `and ${n} more, which the saved file has.`,
    done: (/** @type {string} */ n) => `${n} enrolled`,
    leftOut: (/** @type {string} */ n) => `${n} rows were left out`,
    leftOutCure:
      'Correct these rows and enrol them from a file of their own. The labels of the other devices are ready.',
    toLabels: 'Print the labels',
  },

  labels: {
    title: 'Labels',
    count: (/** @type {string} */ n, /** @type {number} */ count) =>
      `${n} ${plural(count, 'device', 'devices')}, each with its token`,
    print: 'Print',
    save: 'Save as CSV',
    once: 'These tokens are shown once.',
    onceCure:
      'Print the labels or save the file before you leave. A token that is lost can only be replaced by a new one.',
    size: 'Label size',
    sizes: {
      a4: '24 on a sheet A4, 21 on US Letter (70 × 37 mm)',
      large: '10 on a sheet A4, 8 on US Letter (105 × 57 mm)',
      roll: 'Roll, one label each (62 × 29 mm)',
    },
    range: (/** @type {string} */ from, /** @type {string} */ to, /** @type {string} */ all) =>
      `${from} to ${to} of ${all}`,
    qr: (/** @type {string} */ serial) => `QR code with serial and token of ${serial}`,
    worthlessNotice: (/** @type {string} */ serial, /** @type {number} */ more) =>
      more === 0
        ? `The label of ${serial} is no longer valid`
        : `The labels of ${serial} and ${more} more are no longer valid`,
    worthless: 'These labels are no longer valid.',
    worthlessSays: (/** @type {'reissued' | 'removed'} */ why, /** @type {string} */ at, /** @type {string} */ by) =>
      [why === 'removed' ? 'the device was removed' : 'another new token was made', by && `by ${by}`, at && `at ${at}`]
        .filter(Boolean)
        .join(' '),
    worthlessCure:
      'They are left out here. Throw away what you have printed of them, and take the label of the person who made the new token; where that is lost, make another one.',
    putAway: 'Put away',
    putAwayTitle: 'Put these labels away?',
    putAwayMeans: 'The tokens leave this page and cannot be shown again. The devices stay enrolled.',
    none: 'There are no labels to print',
    noneCure:
      'Labels are made when a device is enrolled or gets a new token. Tokens are shown once: for a device that lost its label, make a new token.',
  },

  device: {
    timeline: 'What happened',
    verdict: 'What is the matter',
    facts: 'Facts',
    details: 'Details',
    certificate: 'Certificate',
    never: 'never',
    noSite: 'any',
    near: 'Did you mean',
    here: (/** @type {string} */ action) => `${action}, here`,
    missing: 'These sources could not be read:',
    nothing: 'This device has not been seen',
    nothingCure:
      'Check the serial of the device, the address and port of the gateway in its settings, and the network between them.',
    later: (/** @type {string} */ pause) => `${pause} later`,
    by: (/** @type {string} */ person) => `by ${person}`,
    from: (/** @type {string} */ address) => `from ${address}`,
    times: (/** @type {number} */ n, /** @type {string} */ since) => `${n} times since ${since}`,
    unproven: 'it may not have been the device itself: no token was proved',
  },
  journey: {
    label: 'How far the device has come',
    connected: 'Connected',
    proved: 'Token',
    line: 'Line',
    certificate: 'Certificate',
    delivered: 'Delivered',
    acknowledged: 'Stored',
    alive: 'At AWS',
  },

  silent: {
    title: 'Vended, never connected to AWS',
    lead: 'Devices that got a certificate and have never connected to AWS IoT Core with it.',
    count: (/** @type {string} */ n, /** @type {number} */ count) =>
      `${n} ${plural(count, 'device has', 'devices have')} a certificate and never connected to AWS IoT Core with it.`,
    save: 'Save as CSV',
    none: 'Every device has connected to AWS',
    noneSays: 'All devices that have a certificate have connected to AWS IoT Core with it.',
    notAsked: 'AWS has not been asked yet',
    notAskedSays:
      'A worker asks AWS in each sweep, the first time within an hour. To ask now, run cvm sweep on the gateway.',
    cannotAsk: 'AWS cannot be asked',
    unasked: (/** @type {string} */ n, /** @type {number} */ count) =>
      `${n} ${plural(count, 'device has', 'devices have')} a certificate that AWS has not been asked about yet.`,
    check: 'Before you drive there',
    checks: [
      'Does the site let port 8883 (or 443) out to AWS? A gateway that answers does not prove it.',
      'Is the clock of the device right? In 1970 no certificate is valid.',
      'Has the device stored the certificate? Its page says whether it acknowledged.',
    ],
    silentSince: 'Silent since',
  },

  line: {
    title: 'Line',
    lead: 'Requests that wait for their turn. AWS allows ten certificates a second, unless your account has more.',
    oldest: 'The first waits for',
    empties: 'Line is empty in',
    none: 'No device waits',
    noneSays: 'A device that asks now is served at once.',
    first: (/** @type {string} */ shown, /** @type {string} */ all) => `The first ${shown} of ${all}`,
    place: 'Place',
    waits: 'Waits for',
    eta: 'Served in',
    toFront: 'To the front',
    toFrontOf: (/** @type {string} */ serial) => `Move ${serial} to the front`,
    moved: (/** @type {string} */ serial) => `${serial} is served next`,
  },

  audit: {
    title: 'Audit trail',
    lead: 'Every decision, and who made it. Each record is linked to earlier ones, so a changed record is found.',
    verification: 'Verification',
    verificationSays: 'Reads all records and checks that none was changed, removed or inserted.',
    verify: 'Verify now',
    unchanged: (/** @type {string} */ n) => `${n} records, none changed`,
    head: 'Last record:',
    changed: (/** @type {string} */ n, /** @type {number} */ count) =>
      `The trail has ${n} ${plural(count, 'fault', 'faults')}`,
    changedCure:
      'Keep a copy of the folder as it is, and compare it with the heads in your logs: cvm audit verify --expect HASH.',
    ofDevice: 'Serial',
    at: 'When',
    event: 'What',
    person: 'Who',
    more: 'With',
    none: 'No records',
    noneSays: 'Nothing has been recorded yet.',
    noneOfDevice: 'There is no record of this serial. Enter the whole serial: a part of it is not found.',
  },

  settings: {
    title: 'Settings',
    lead: 'The settings as they are now. Change a setting at its source (column “From”), and start the gateway again.',
    find: 'Name or meaning',
    changedOnly: 'Only those that are set',
    name: 'Name',
    value: 'Value',
    from: 'From',
    meaning: 'Meaning',
    notSet: 'not set',
    /** @type {Record<string, string>} */
    sources: { environment: 'environment', '.env': '.env', file: 'file', default: 'default' },
  },

  help: {
    title: 'Help',
    lead: 'Every error, with its cause and what to do.',
    find: 'Find',
    findHint: 'token, AWS, 401 …',
    none: 'No entry has these words',
    noneCure: 'Try fewer words, or the code that the device or the log shows.',
  },
};
