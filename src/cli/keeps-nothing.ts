import type { Client, Metadata } from '@grpc/grpc-js';
import { reportsContract } from '../common/wire/index.ts';

const deadlineMs = 2000;

export interface Reader {
  /** The client of the open stream, whose connection identifies this process to the agent. */
  readonly client: Client;
  /** The name in the metadata `meshca-client` of the stream. */
  readonly clientId: string;
  /** One of the received identities. */
  readonly spiffeId: string;
}

/**
 * Tells our agent that this process keeps nothing of what it has read, so that no rotation waits
 * for certificates that nobody has. Other agents do not know the call. If it fails, rotations wait
 * as usual.
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
