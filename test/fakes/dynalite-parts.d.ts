/** The parts of dynalite that carry out one operation on a store, and check its expressions before. */
type Callback<T> = (error: Error | null, answer?: T) => void;
type Operation = (store: unknown, data: unknown, callback: Callback<{ Attributes?: Record<string, unknown> }>) => void;

declare module 'dynalite/actions/putItem.js' {
  const putItem: Operation;
  export default putItem;
}
declare module 'dynalite/actions/updateItem.js' {
  const updateItem: Operation;
  export default updateItem;
}
declare module 'dynalite/actions/deleteItem.js' {
  const deleteItem: Operation;
  export default deleteItem;
}
declare module 'dynalite/validations/index.js' {
  /** Parses the expressions of an operation into it. @returns why they are wrong */
  export function validateExpressions(data: unknown): string | undefined;
}
