import { PkiError } from '../../src/common/errors/index.ts';
import { errorFields, type Logger } from '../../src/common/runtime/index.ts';
import type { BundleStore } from '../bundle/index.ts';
import type { IssuerConnection } from '../issuer-client/index.ts';

export interface CatchUpDependencies {
  readonly bundles: BundleStore;
  /**
   * Connects without an identity and without verifying the server, for this one request. Nothing in
   * the answer is believed without its signature.
   */
  readonly connectUnverified: (signal: AbortSignal) => Promise<IssuerConnection>;
  readonly logger: Logger;
}

/**
 * Opens a connection; when the server can not be verified under what is held, asks for
 * the bundle steps that were missed, each signed under the one before, and tries once more. So an
 * agent that slept through rotations of the root comes back by itself, and whoever only pretends to
 * be the server gains nothing: without signed steps the first refusal stands.
 */
export async function connectCatchingUp(
  open: () => Promise<IssuerConnection>,
  dependencies: CatchUpDependencies,
  signal: AbortSignal,
): Promise<IssuerConnection> {
  try {
    return await open();
  } catch (thrown) {
    const { bundles, logger } = dependencies;
    if (
      !(thrown instanceof PkiError) ||
      thrown.code !== 'SERVER_UNTRUSTED' ||
      !bundles.canVerifySteps()
    )
      throw thrown;
    const before = bundles.stepSequence();
    await walk(before, dependencies, signal).catch((failure: unknown) =>
      logger.warn({ ...errorFields(failure) }, 'the bundle could not be brought up to date'),
    );
    const after = bundles.stepSequence();
    if (after === before) throw thrown;
    logger.info(
      { from: before, to: after },
      'the bundle was brought up to date: roots or issuing authorities had changed meanwhile',
    );
    return open();
  }
}

async function walk(
  sequence: number,
  { bundles, connectUnverified }: CatchUpDependencies,
  signal: AbortSignal,
): Promise<void> {
  const connection = await connectUnverified(signal);
  try {
    const { steps } = await connection.fetchBundleSteps({ sequence });
    await bundles.advance(steps);
  } finally {
    connection.close();
  }
}
