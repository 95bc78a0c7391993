import { PkiError } from '../../src/common/errors/index.ts';

/**
 * Makes a call over a connection. If the next SVID of this agent was used while the call was under
 * way with the one before, it is made again, by its request ID, over the connection that is present
 * then: no workload feels the renewal of the agent.
 */
export async function acrossHandOver<Connection, T>(
  connection: Connection,
  present: () => Connection | undefined,
  act: (connection: Connection) => Promise<T>,
): Promise<T> {
  try {
    return await act(connection);
  } catch (thrown) {
    const next = present();
    const handedOver = next !== undefined && next !== connection;
    if (PkiError.from(thrown).code !== 'AGENT_SUPERSEDED' || !handedOver) throw thrown;
    return act(next);
  }
}
