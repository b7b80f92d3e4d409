/**
 * A serial is a thing name: AWS's alphabet, so that a MAC address is a serial and nothing that has a meaning in a topic,
 * a policy or an ARN can be part of one.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
 */
export const serialPattern = /^[A-Za-z0-9:_-]{1,128}$/;

export const serialRule = 'a serial has 1 to 128 of the characters A-Z a-z 0-9 : _ -';

export function isSerial(text: string): boolean {
  return serialPattern.test(text);
}
