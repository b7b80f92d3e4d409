/** The partition key of the association table. */
export const keyAttribute = 'productId';

/**
 * DynamoDB's time to live, where the table has it on: epoch seconds after which a row may go. Only what is left of removed devices has it,
 * for tables that no sweep visits any more.
 */
export const expiryAttribute = 'forgetAt';
