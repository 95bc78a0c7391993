import { LoginTurns, openTokenAdmin } from '../hsm/index.ts';
import type { VaultSession } from '../issuance/index.ts';
import type { ServerContext } from './context.ts';
import { tokenConfig, vaultSession } from './settings.ts';
import { openSigners } from './signers.ts';
import { SigningGate } from './signing-gate.ts';

/** The first stage: access to the tokens. All higher stages use them through the gate. */
export interface TokenStage extends AsyncDisposable {
  readonly vault: VaultSession | undefined;
  readonly gate: SigningGate;
  /**
   * Starts the signer processes and puts them behind the gate. The returned object ends them.
   * `standsBy`: a standby can work, so that the server starts without the issuing token.
   *
   * @throws PkiError HSM_* of a token that the server needs for its start
   */
  startSigners(options: { readonly standsBy: boolean }): Promise<AsyncDisposable>;
  /** Whether the issuing token answers, or may answer soon. */
  issuingTokenUsable(): boolean;
  /** Whether the token answers now. */
  answers(role: 'issuing' | 'standby'): boolean;
}

/** @throws PkiError HSM_PIN_MISSING, HSM_PIN_FILE_OPEN, UPSTREAM_*, before anything is made */
export async function openTokens(context: ServerContext): Promise<TokenStage> {
  const { config, env, execPath, clock, logger } = context;
  await using stack = new AsyncDisposableStack();
  const vault = vaultSession(config, clock, logger.child({ part: 'upstream' }));
  stack.defer(() => vault?.close());
  const sources = { env, vault, logger };
  const issuingToken = await tokenConfig(config, 'issuing', sources);
  if (config.authorities.source === 'hsm') await tokenConfig(config, 'root', sources);
  const logins = new LoginTurns();
  // the PIN is read for each session, so that it is in memory no longer than needed
  const gate = new SigningGate(async (role) =>
    openTokenAdmin(await tokenConfig(config, role, sources), {
      logins,
      execPath,
      clock,
      logger: logger.child({ part: 'hsm', token: role }),
    }),
  );
  const owned = stack.move();
  return {
    vault,
    gate,
    async startSigners({ standsBy }) {
      await using signersStack = new AsyncDisposableStack();
      gate.enclose(
        await openSigners({ context, vault, logins, issuingToken, standsBy }, signersStack),
      );
      return signersStack.move();
    },
    issuingTokenUsable: () =>
      ['ready', 'degraded', 'starting'].includes(gate.signers.stateOf('issuing').status),
    answers: (role) => ['ready', 'degraded'].includes(gate.signers.stateOf(role).status),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
