/** `viewer` looks, `operator` decides as well. */
export const roles = ['viewer', 'operator'] as const;
export type Role = (typeof roles)[number];

export const mayDecide = (role: Role): boolean => role === 'operator';
