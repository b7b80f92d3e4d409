import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { exampleSuite } from '../support/example-suite.ts';
import { lacks } from '../support/lacks.ts';

const examples = join(import.meta.dirname, '../../examples');

/** A Python with what the example needs: one of another place may stand first in PATH, and have none of it. */
const python = ['python3', '/usr/bin/python3'].find(
  (each) => spawnSync(each, ['-c', 'import paho.mqtt.client, cryptography']).status === 0,
);

exampleSuite({
  name: 'shell',
  command: ['sh', join(examples, 'shell/provision.sh')],
  missing: ['openssl', 'jq', 'mosquitto_rr'].some(lacks),
  saysPosition: false,
});

exampleSuite({
  name: 'python',
  command: [python ?? '', join(examples, 'python/provision.py')],
  missing: python === undefined,
  saysPosition: true,
});
