/** Of a token: what tells it from others, for people. */
export const tokenNamePattern = /^[A-Za-z0-9_.-]{1,64}$/;
export const tokenNameRule = 'the name of an API token has 1 to 64 of the characters A-Z a-z 0-9 _ . -';
