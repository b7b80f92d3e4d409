/**
 * A serial becomes the name of an AWS IoT thing, and has its alphabet. A MAC address is a serial. No character of a serial
 * has a meaning in a topic, a policy or an ARN.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
 */
export const serialPattern = /^[A-Za-z0-9:_-]{1,128}$/;

export const serialRule = 'a serial has 1 to 128 of the characters A-Z a-z 0-9 : _ -';

export function isSerial(text: string): boolean {
  return serialPattern.test(text);
}
