import type { Encoding } from '../encoding.ts';

/**
 * The topics of AWS IoT Fleet Provisioning. None of them names the device: it speaks for the serial of its connection.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html
 */
export type Operation = { readonly encoding: Encoding } & (
  | { readonly name: 'create' | 'create-from-csr' }
  | { readonly name: 'provision' /** unchecked */; readonly templateName: string }
);

const certificates = /^\$aws\/certificates\/(create|create-from-csr)\/(json|cbor)$/;
const templates = /^\$aws\/provisioning-templates\/([^/+#]+)\/provision\/(json|cbor)$/;

/** What a device asks for by publishing to this topic; undefined where it is none of these. */
export function operationOf(topic: string): Operation | undefined {
  const [, name, form] = certificates.exec(topic) ?? [];
  if (name === 'create' || name === 'create-from-csr') return { name, encoding: form === 'cbor' ? 'cbor' : 'json' };
  const [, templateName, encoding] = templates.exec(topic) ?? [];
  if (templateName === undefined) return undefined;
  return { name: 'provision', templateName, encoding: encoding === 'cbor' ? 'cbor' : 'json' };
}

/** Answers come to the topic of the request, with their outcome as one more level. */
const answers = /^(.+)\/(accepted|rejected|\+|#)$/;

/** Whether a filter is that of answers: both of one operation, or one of the two. */
export function isAnswerFilter(filter: string): boolean {
  const [, topic = ''] = answers.exec(filter) ?? [];
  return operationOf(topic) !== undefined;
}
