import { join } from 'node:path';
import { exampleSuite } from '../support/example-suite.ts';
import { lacks, pythonWith } from '../support/lacks.ts';

const examples = join(import.meta.dirname, '../../examples');

const python = pythonWith('paho.mqtt.client', 'cryptography');

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
