/** Some entries of the catalogue of failures, in its shape. */
export const fakeHelp = [
  {
    id: 'wrong-token',
    title: 'Wrong token',
    cause: 'The device presents a token that is not the one of its serial.',
    cure: 'Compare the token in the device with its label. If the label is lost, make a new token and give it to the device.',
  },
  {
    id: 'InvalidToken',
    title: 'InvalidToken (401)',
    cause:
      'The token is wrong, or the serial is not enrolled. The gateway does not say which, so that nobody can try serials.',
    cure: 'Look at the page of the device: it says which of the two it is.',
  },
  {
    id: 'blocked',
    title: 'Blocked by an operator',
    cause: 'An operator has blocked the device: its certificate is inactive.',
    cure: 'Unblock it on its page when it may have its certificate again.',
  },
  {
    id: 'AlreadyProvisioned',
    title: 'AlreadyProvisioned (409)',
    cause: 'The token has vended its certificate, and the time in which the device may ask again is over.',
    cure: 'Make a new token for a device that has lost its certificate.',
  },
  {
    id: 'policy-missing',
    title: 'The IoT policy is missing',
    cause: 'AWS IoT Core has no policy of the name in CVM_POLICY_NAME.',
    cure: 'Run cvm aws setup on the gateway.',
  },
  {
    id: 'Throttled',
    title: 'Throttled (429)',
    cause: 'The device asks more often than it may.',
    cure: 'Let the firmware wait for the seconds in retryAfter.',
  },
  {
    id: 'redis-full',
    title: 'Redis is full',
    cause: 'Redis has no memory left for requests.',
    cure: 'Give it more (maxmemory), or remove what else uses it.',
  },
  {
    id: 'gateway-clock',
    title: 'The clock of the gateway is wrong',
    cause: 'AWS refuses calls whose time is more than five minutes off.',
    cure: 'Start a time service on the gateway: timedatectl set-ntp true.',
  },
];

export const fakeSettings = [
  { name: 'AWS_REGION', value: 'eu-west-1', from: '.env', meaning: 'The region of AWS IoT Core and the table' },
  { name: 'CVM_CONSOLE_PORT', value: '8443', from: 'default', meaning: 'The port of this console' },
  {
    name: 'CVM_DATA_DIR',
    value: '/var/lib/cvm',
    from: 'environment',
    meaning: 'The folder of the site CA, the keys of the gateway and the audit trail',
  },
  { name: 'CVM_MQTT_PORT', value: '8883', from: 'default', meaning: 'The port for devices' },
  {
    name: 'CVM_REPLAY_WINDOW',
    value: '24h',
    from: 'default',
    meaning: 'How long a device may ask again and gets the same certificate',
  },
  { name: 'CVM_SITE', value: 'north plant', from: '.env', meaning: 'The site that this gateway serves' },
  { name: 'CVM_TABLE', value: 'cvm-devices', from: 'default', meaning: 'The table in DynamoDB' },
  { name: 'REDIS_URL', value: 'redis://:••••@10.4.0.2:6379', from: '.env', meaning: 'Where Redis is' },
];
