import type { Profile } from '../profile.ts';

/** Why a case does not concern a device that speaks Fleet Provisioning, and another one. */
export const cvmOnly =
  (why: string, skip: (profile: Profile) => string | undefined = () => undefined) =>
  (profile: Profile) =>
    profile.dialect === 'cvm' ? skip(profile) : why;
