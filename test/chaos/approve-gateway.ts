/**
 * Where an operator lets a further gateway of a table vend. Today a gateway needs no approval: there is nothing to do.
 */
export async function approveGateway(_site: { command(argv: readonly string[]): Promise<unknown> }): Promise<void> {}
