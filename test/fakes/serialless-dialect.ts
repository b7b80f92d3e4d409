import type { Answer } from '../../protocol/answer.ts';
import type { Dialect } from '../../protocol/dialect.ts';
import { statusCodes } from '../../protocol/problems.ts';

const create = '$aws/certificates/create/json';

/**
 * A dialect whose topics name no serial, as those of AWS IoT Fleet Provisioning. The serial is that of the connection, or the
 * one in the payload; the answer goes to the topic of the request, with its outcome as the last level.
 */
export const serialless: Dialect<{ readonly topic: string }> = {
  topics: create,
  read(topic, payload) {
    if (topic !== create) return undefined;
    const { token, serial } = JSON.parse(payload.length === 0 ? '{}' : Buffer.from(payload).toString());
    return { kind: 'request', request: { token, key: 'ec' }, serial, encoding: 'json', form: { topic } };
  },
  readFilter: (filter) =>
    [`${create}/accepted`, `${create}/rejected`].includes(filter)
      ? { serial: undefined, copyForm: undefined }
      : undefined,
  whenPending: () => 'say-nothing',
  write: (answer, { topic }) => ({
    topic: `${topic}/${answer.status}`,
    payload: Buffer.from(JSON.stringify(fieldsOf(answer))),
  }),
};

function fieldsOf(answer: Answer): object {
  if (answer.status === 'accepted') return { certificateId: answer.credentials.certificateId };
  if (answer.status !== 'rejected') return {};
  const { code, message } = answer.problem;
  return { statusCode: statusCodes[code], errorCode: code, errorMessage: message };
}
