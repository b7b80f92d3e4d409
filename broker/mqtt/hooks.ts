import type { AedesOptions } from 'aedes';
import { createAuthenticate } from './authenticate.ts';
import { createPreConnect } from './connect.ts';
import { createHookContext, type HookOptions } from './context.ts';
import type { Forwarding } from './forward.ts';
import { createAuthorizePublish } from './publish.ts';
import { createAuthorizeSubscribe, createUnsubscribed } from './subscribe.ts';

export type Hooks = Required<
  Pick<AedesOptions, 'preConnect' | 'authenticate' | 'authorizeSubscribe' | 'authorizePublish' | 'authorizeForward'>
> & { unsubscribed: ReturnType<typeof createUnsubscribed>; acknowledged: Forwarding['acknowledged'] };

/** The hooks of aedes, in the order of a connection's life. aedes asks and waits for an answer, except for `unsubscribed` and `acknowledged` (PUBACK), which are notices. */
export function createHooks(options: HookOptions): Hooks {
  const context = createHookContext(options);
  return {
    preConnect: createPreConnect(context),
    authenticate: createAuthenticate(context),
    authorizeSubscribe: createAuthorizeSubscribe(context),
    unsubscribed: createUnsubscribed(context),
    authorizePublish: createAuthorizePublish(context),
    authorizeForward: context.forwarding.authorizeForward,
    acknowledged: context.forwarding.acknowledged,
  };
}
