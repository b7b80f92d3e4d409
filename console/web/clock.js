// The time of the gateway. What it tells has its times; a browser whose clock is wrong would call them "in 3 hours".

/** a difference that is as small is the way of the answer */
const tolerated = 10_000;
let ahead = 0;

/** @param {string | null} date the header `Date` of an answer */
export function hearTime(date) {
  const at = Date.parse(date ?? '');
  if (Number.isNaN(at)) return;
  const difference = at - Date.now();
  ahead = Math.abs(difference) < tolerated ? 0 : difference;
}

/** milliseconds since 1970 */
export const gatewayNow = () => Date.now() + ahead;
