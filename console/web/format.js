// Numbers and times as people read them.
import { gatewayNow } from './clock.js';
import { language, t } from './texts.js';

/** 24 hours, and the day before the month: what a site reads without a thought */
const locale = language === 'en' ? 'en-GB' : language;
const numbers = new Intl.NumberFormat(locale);
const ago = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
const clock = new Intl.DateTimeFormat(locale, { timeStyle: 'medium' });
const clockShort = new Intl.DateTimeFormat(locale, { hour: '2-digit', minute: '2-digit' });

/** @param {number | undefined} value */
export const number = (value) => (value === undefined ? '–' : numbers.format(value));

/**
 * Messages of the API begin small, as those of the command line do; here they stand for themselves. Commands stay as they are typed.
 * @param {string | undefined} text
 */
export const sentence = (text = '') => (/^cvm\b/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1));

/** @param {import('./types.d.ts').Time | undefined} time */
export function toDate(time) {
  if (time === undefined || time === null) return undefined;
  const value = new Date(time);
  return Number.isNaN(value.getTime()) ? undefined : value;
}

/** @param {import('./types.d.ts').Time | undefined} time */
export const fullTime = (time) => formatted(dateTime, time);
/** @param {import('./types.d.ts').Time | undefined} time */
export const day = (time) => formatted(date, time);
/** @param {import('./types.d.ts').Time | undefined} time */
export const clockTime = (time) => formatted(clock, time);
/** @param {import('./types.d.ts').Time | undefined} time */
export const clockMinute = (time) => formatted(clockShort, time);

/**
 * @param {Intl.DateTimeFormat} format
 * @param {import('./types.d.ts').Time | undefined} time
 */
function formatted(format, time) {
  const value = toDate(time);
  return value === undefined ? '–' : format.format(value);
}

/** @type {[number, Intl.RelativeTimeFormatUnit][]} */
const units = [
  [86_400 * 365, 'year'],
  [86_400 * 30, 'month'],
  [86_400, 'day'],
  [3600, 'hour'],
  [60, 'minute'],
  [1, 'second'],
];

/**
 * "3 minutes ago"
 * @param {import('./types.d.ts').Time | undefined} time
 * @param {number} [now] milliseconds
 */
export function relative(time, now = gatewayNow()) {
  const value = toDate(time);
  if (value === undefined) return '–';
  const seconds = Math.round((value.getTime() - now) / 1000);
  // what has just happened is never "in 7 seconds": two clocks are never quite the same
  if (seconds > -5 && seconds < 15) return t.time.now;
  const [size, unit] = units.find(([each]) => Math.abs(seconds) >= each) ?? [1, /** @type {const} */ ('second')];
  return ago.format(Math.trunc(seconds / size), unit);
}

/**
 * "2 min 5 s"
 * @param {number | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === undefined || !Number.isFinite(seconds)) return '–';
  if (seconds > 0 && seconds < 1) return t.time.milliseconds(Math.max(1, Math.round(seconds * 1000)));
  const whole = Math.round(seconds);
  if (whole < 60) return t.time.seconds(whole);
  if (whole < 3600)
    return joined(t.time.minutes(Math.floor(whole / 60)), whole % 60 === 0 ? '' : t.time.seconds(whole % 60));
  const minutes = Math.round(whole / 60);
  if (minutes < 1440)
    return joined(t.time.hours(Math.floor(minutes / 60)), minutes % 60 === 0 ? '' : t.time.minutes(minutes % 60));
  return t.time.days(Math.round(minutes / 1440));
}

/**
 * @param {string} first
 * @param {string} second
 */
const joined = (first, second) => (second === '' ? first : `${first} ${second}`);
