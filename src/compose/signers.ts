import {
  createSigners,
  DeferredSigners,
  SignerRouter,
  type LoginTurns,
  type ManagedSigners,
  type TokenConfig,
} from '../hsm/index.ts';
import type { VaultSession } from '../issuance/index.ts';
import type { ServerContext } from './context.ts';
import { signerCount, standbySignerCount, tokenConfig } from './settings.ts';

export interface TokenSignersDependencies {
  readonly context: Pick<
    ServerContext,
    'config' | 'env' | 'execPath' | 'clock' | 'random' | 'logger'
  >;
  readonly vault: VaultSession | undefined;
  readonly logins: LoginTurns;
  readonly issuingToken: TokenConfig;
  /** True if a standby can work without the issuing token, so that the server starts without it. */
  readonly standsBy: boolean;
}

/**
 * Signers of the issuing token, and of a configured standby token, behind one port. Owner: the
 * stack.
 *
 * @throws PkiError HSM_* of a token that the server needs for its start
 */
export async function openSigners(
  { context, vault, logins, issuingToken, standsBy }: TokenSignersDependencies,
  stack: AsyncDisposableStack,
): Promise<SignerRouter> {
  const { config, env, execPath, clock, random, logger } = context;
  const signersOf = (
    role: string,
    token: TokenConfig,
    processes: number,
  ): Promise<ManagedSigners> =>
    createSigners({
      token,
      logins,
      processes,
      mode: config.hsm.mode,
      sessionsPerProcess: config.hsm.sessionsPerSigner,
      deadlineMs: config.hsm.deadlineMs,
      execPath,
      clock,
      random,
      logger: logger.child({ part: 'hsm', token: role }),
    });
  /** Signers of a token that the server can start without. */
  const deferred = async (
    role: 'issuing' | 'standby',
    processes: number,
  ): Promise<ManagedSigners> => {
    const signers = stack.use(
      new DeferredSigners({
        open: async () =>
          signersOf(role, await tokenConfig(config, role, { env, vault, logger }), processes),
        clock,
        logger: logger.child({ part: 'hsm', token: role }),
      }),
    );
    await signers.start();
    return signers;
  };
  const byToken = new Map<string, ManagedSigners>([
    [
      'issuing',
      standsBy
        ? await deferred('issuing', signerCount(config))
        : stack.use(await signersOf('issuing', issuingToken, signerCount(config))),
    ],
  ]);
  if (config.hsm.standby !== undefined)
    byToken.set('standby', await deferred('standby', standbySignerCount(config)));
  return new SignerRouter(byToken);
}
