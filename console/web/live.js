// Server-sent events: one stream for the whole page, connected anew when it breaks.
import { get } from './api.js';
import { useEffect, useRef } from './lib.js';
import { createStore } from './store.js';

/** @typedef {'connecting' | 'live' | 'lost'} LiveState */

export const liveState = createStore(/** @type {LiveState} */ ('connecting'));

const types = ['now', 'device', 'line', 'resync'];
/** the server writes every 15 seconds: after this silence, in milliseconds, the connection counts as broken */
const silence = 40_000;
const longestPause = 10_000;
/** a page that was hidden for this time, in milliseconds, closes its connection: the server has few */
const hiddenFor = 60_000;

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();
/** @type {EventSource | undefined} */
let source;
let failures = 0;
let watchdog = 0;
let retry = 0;
let hideTimer = 0;
let running = false;

export function startLive() {
  if (running) return;
  running = true;
  document.addEventListener('visibilitychange', onVisibility);
  window.addEventListener('online', reconnectNow);
  connect();
}

export function stopLive() {
  running = false;
  document.removeEventListener('visibilitychange', onVisibility);
  window.removeEventListener('online', reconnectNow);
  disconnect();
}

function connect() {
  disconnect();
  if (!running) return;
  const opened = new EventSource('api/v1/events');
  source = opened;
  opened.onopen = () => {
    const wasLost = failures > 0;
    failures = 0;
    liveState.set('live');
    watch();
    // what happened meanwhile was missed: pages load anew
    if (wasLost) emit('resync', undefined);
  };
  opened.onerror = () => opened === source && lose();
  for (const type of types) {
    opened.addEventListener(type, (event) => {
      watch();
      const data = parse(event.data);
      if (data !== undefined) emit(type, data);
    });
  }
  watch();
}

function lose() {
  disconnect();
  failures++;
  liveState.set('lost');
  // a stream does not say why it was refused; where the session has ended, this call leads to the sign-in
  get('/session').catch(() => {});
  const pause = Math.min(1000 * 2 ** (failures - 1), longestPause);
  // a gateway that starts anew must not meet all its pages in the same instant
  retry = window.setTimeout(connect, pause * (0.5 + Math.random() / 2));
}

function disconnect() {
  clearTimeout(watchdog);
  clearTimeout(retry);
  source?.close();
  source = undefined;
}

function watch() {
  clearTimeout(watchdog);
  watchdog = window.setTimeout(lose, silence);
}

function reconnectNow() {
  if (liveState.get() !== 'live') connect();
}

function onVisibility() {
  clearTimeout(hideTimer);
  if (document.hidden) {
    hideTimer = window.setTimeout(() => {
      disconnect();
      failures = Math.max(failures, 1);
      liveState.set('connecting');
    }, hiddenFor);
  } else if (source === undefined) connect();
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * @param {string} type
 * @param {any} data
 */
function emit(type, data) {
  for (const listener of [...(listeners.get(type) ?? [])]) listener(data);
}

/**
 * @param {'now' | 'device' | 'line' | 'resync'} type `resync`: events were missed, as this page found or the gateway says
 * @param {(data: any) => void} listener
 */
export function useLive(type, listener) {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    /** @param {any} data */
    const forward = (data) => latest.current(data);
    const others = listeners.get(type) ?? new Set();
    listeners.set(type, others.add(forward));
    return () => {
      others.delete(forward);
    };
  }, [type]);
}

/**
 * Events of devices, as a list: the server may send one, or many in one event.
 * @param {(events: import('./types.d.ts').DeviceEvent[]) => void} listener
 */
export function useDeviceEvents(listener) {
  useLive('device', (data) => listener(Array.isArray(data) ? data : [data]));
}

/**
 * Whether one of the events may be about what a page shows. Those that are told as a number only may be.
 * @param {import('./types.d.ts').DeviceEvent[]} events
 * @param {(serial: string) => boolean} isShown
 */
export const mayConcern = (events, isShown) =>
  events.some(({ event, serial }) => event === 'more' || (serial !== undefined && isShown(serial)));
