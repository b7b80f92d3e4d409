/**
 * Makes a conditional write whose answer may be lost on its way: it has then taken effect, and the client either fails or
 * repeats it and is told that its condition does not hold. So a write that was not confirmed is looked up.
 * @param hasHappened reads whether the row is as this very write leaves it
 */
export async function confirmed(write: () => Promise<boolean>, hasHappened: () => Promise<boolean>): Promise<boolean> {
  try {
    return (await write()) || (await hasHappened());
  } catch (error) {
    // the outcome is not known; where it cannot be read either, the first error says why
    if (await hasHappened().catch(() => false)) return true;
    throw error;
  }
}
