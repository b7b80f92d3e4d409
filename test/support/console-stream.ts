import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import type { TestConsole } from './console.ts';

/** A stream of server-sent events, as a browser reads it. */
export function openEvents(console: Pick<TestConsole, 'port' | 'ca'>, headers: Readonly<Record<string, string>>) {
  const events: { event: string; data: unknown }[] = [];
  let [text, ended] = ['', false];
  let answer: IncomingMessage | undefined;
  const sent = request({
    ...{ host: '127.0.0.1', port: console.port, path: '/api/v1/events', ca: console.ca, servername: 'localhost' },
    agent: false,
    headers,
  });
  const opened = new Promise<number>((resolve, reject) => {
    sent.on('error', (error) => {
      ended = true;
      reject(error);
    });
    sent.on('response', (response) => {
      answer = response;
      resolve(response.statusCode ?? 0);
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const parts = `${text}${chunk}`.split('\n\n');
        text = parts.pop() ?? '';
        for (const part of parts) {
          const [, event, data] = /^event: (\S+)\ndata: (.*)$/.exec(part) ?? [];
          if (event !== undefined && data !== undefined) events.push({ event, data: JSON.parse(data) });
        }
      });
      response.on('close', () => {
        ended = true;
      });
      response.on('error', () => {});
    });
  });
  opened.catch(() => {});
  sent.end();
  return {
    /** the status of the answer */
    opened,
    events,
    ended: () => ended,
    /** takes no more bytes */
    pause: () => void answer?.pause(),
    resume: () => void answer?.resume(),
    close: () => void sent.destroy(),
  };
}
