/**
 * What firmware has probably mixed up when it names a topic that is none of ours, for the refusal. It quotes nothing of the topic.
 * @param use what the device does with it @returns undefined where nothing can be guessed
 */
export function topicFault(topic: string, use: 'publish' | 'subscribe'): string | undefined {
  return faults.find(([pattern, , only = use]) => only === use && pattern.test(topic))?.[1];
}

type Fault = readonly [pattern: RegExp, words: string, only?: 'publish' | 'subscribe'];

/** The first that fits counts. */
const faults: readonly Fault[] = [
  [/^\s|\s$/, 'the topic begins or ends with a space'],
  [/^["'].*["']$/, 'the topic has quotes around it'],
  [
    /^(\/|\\\$aws\/|aws\/)(certificates|provisioning-templates)\//,
    'the topic must begin with "$aws": in double quotes, a shell takes that for a variable of its own; write it in single quotes',
  ],
  [/^\//, 'the topic begins with a slash: leave it out'],
  [/^\$aws\/things\//, 'that is a topic of AWS IoT Core: connect there, with the certificate'],
  [
    /^\$aws\/.+\/(accepted|rejected)$/,
    'the gateway answers there: publish to the topic without its last level',
    'publish',
  ],
  [
    /^\$aws\/(certificates\/create(-from-csr)?|provisioning-templates\/[^/]+\/provision)(\/|\/(accepted|rejected))?$/,
    'the format is missing in it: json or cbor, as a level',
  ],
  [/^\$aws\/certificates\/create-certificate-from-csr\//, 'the topic is $aws/certificates/create-from-csr'],
  [/^cvm\/(request|ack|reply)\/?$/, 'the serial of the device is missing at its end'],
  [/^cvm\/reply\//, 'the gateway answers there: publish to cvm/request/<serial>', 'publish'],
  [/^cvm\/(request|ack)\//, 'a level follows the serial: a serial has no slash in it', 'publish'],
  [/^cvm\/(request|ack)\//, 'the gateway answers at cvm/reply/<serial>', 'subscribe'],
  [/^(cvm|\$aws)\//i, 'each character counts, also whether it is a capital'],
];
