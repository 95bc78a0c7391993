import type { Client, Metadata } from '@grpc/grpc-js';
import { reportsContract } from '../common/wire/index.ts';

const deadlineMs = 2000;

export interface Reader {
  /** Of the open stream: the connection that the agent knows this process by. */
  readonly client: Client;
  /** The name that the stream has in its metadata `meshca-client`. */
  readonly clientId: string;
  /** One of the identities that were read. */
  readonly spiffeId: string;
}

/**
 * Tells our agent that this process keeps nothing of what it has read, so that no rotation waits for
 * the end of a certificate that nobody has. An agent of others does not know the call, and an answer
 * that fails changes nothing: it is then waited for.
 */
export function tellThatNothingIsKept(
  { client, clientId, spiffeId }: Reader,
  header: Metadata,
): Promise<void> {
  const reports = new (reportsContract().packages.meshca.workload.v1.Reports)(
    'unix:',
    null as never,
    { channelOverride: client.getChannel() },
  );
  return new Promise((resolve) => {
    reports.report(
      { clientId, spiffeId, keepsNothing: true },
      header,
      { deadline: Date.now() + deadlineMs },
      () => resolve(),
    );
  });
}
