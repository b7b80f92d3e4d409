import { createOwnBuckets, type QuotaBuckets } from '../../aws/quota-buckets.ts';
import { limits, quotaBucketsContract } from './quota-buckets-suite.ts';

quotaBucketsContract('of one process', async () => {
  let own = createOwnBuckets(limits);
  const buckets: QuotaBuckets = {
    takeAll: (calls) => own.takeAll(calls),
    takeOne: (operation) => own.takeOne(operation),
    giveBack: (calls) => own.giveBack(calls),
    throttled: (operation, sentMsAgo) => own.throttled(operation, sentMsAgo),
    rates: () => own.rates(),
  };
  const clear = async () => {
    own = createOwnBuckets(limits);
  };
  return { buckets, clear, close: async () => {} };
});
