/** The IoT policy that a site's devices share. */
export const policyName = 'cvm-device';
