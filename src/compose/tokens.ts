import { PkiError } from '../common/errors/index.ts';
import { usesRootToken, type ServerConfig } from '../config/index.ts';
import { LoginTurns, openTokenAdmin, type SignerRouter } from '../hsm/index.ts';
import type { VaultSession } from '../issuance/index.ts';
import type { ServerContext } from './context.ts';
import { tokenConfig, upstreamCas, vaultSession, type PinSources } from './settings.ts';
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
  /**
   * Reads the CAs of Vault again, and the PINs. The returned function tries each new PIN once, and
   * resolves to what the tokens answered.
   *
   * @throws PkiError CONFIG_INVALID, HSM_PIN_MISSING, HSM_PIN_FILE_OPEN, UPSTREAM_*, before any is tried
   */
  readPins(): Promise<() => Promise<readonly PinChange[]>>;
  /** Whether the token answers now. */
  answers(role: 'issuing' | 'standby'): boolean;
}

/** The outcome for one token whose PIN differs from the one in use. */
export interface PinChange {
  readonly token: 'issuing' | 'standby';
  /** Undefined: the token took the PIN. Otherwise why not; the present sessions go on. */
  readonly refusal: PkiError | undefined;
}

/** @throws PkiError HSM_PIN_MISSING, HSM_PIN_FILE_OPEN, UPSTREAM_*, before anything is made */
export async function openTokens(context: ServerContext): Promise<TokenStage> {
  const { config, env, execPath, clock, logger } = context;
  await using stack = new AsyncDisposableStack();
  const vault = await vaultSession(config, clock, logger.child({ part: 'upstream' }));
  stack.defer(() => vault?.close());
  const sources = { env, vault, logger };
  const issuingToken = await tokenConfig(config, 'issuing', sources);
  if (usesRootToken(config)) await tokenConfig(config, 'root', sources);
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
  let router: SignerRouter | undefined;
  const owned = stack.move();
  return {
    vault,
    gate,
    async startSigners({ standsBy }) {
      await using signersStack = new AsyncDisposableStack();
      router = await openSigners({ context, vault, logins, issuingToken, standsBy }, signersStack);
      gate.enclose(router);
      return signersStack.move();
    },
    readPins: async () => {
      const before = vault?.caPem;
      vault?.trust(upstreamCas(config));
      try {
        const pins = await presentPins(config, sources);
        return () => changePins(router, pins);
      } catch (thrown) {
        vault?.trust(before);
        throw thrown;
      }
    },
    issuingTokenUsable: () =>
      ['ready', 'degraded', 'starting'].includes(gate.signers.stateOf('issuing').status),
    answers: (role) => ['ready', 'degraded'].includes(gate.signers.stateOf(role).status),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

type Pins = ReadonlyMap<'issuing' | 'standby', string>;

/** The PINs of the tokens that stay open. The root's is read too, so that a fault shows now. */
async function presentPins(config: ServerConfig, sources: PinSources): Promise<Pins> {
  if (usesRootToken(config)) await tokenConfig(config, 'root', sources);
  const pins = new Map([['issuing' as const, (await tokenConfig(config, 'issuing', sources)).pin]]);
  return config.hsm.standby === undefined
    ? pins
    : new Map([...pins, ['standby', (await tokenConfig(config, 'standby', sources)).pin]]);
}

async function changePins(
  router: SignerRouter | undefined,
  pins: Pins,
): Promise<readonly PinChange[]> {
  const changes: PinChange[] = [];
  for (const [token, pin] of pins) {
    try {
      if ((await router?.changePinOf(token, pin)) === true)
        changes.push({ token, refusal: undefined });
    } catch (thrown) {
      changes.push({ token, refusal: PkiError.from(thrown, 'HSM_UNAVAILABLE') });
    }
  }
  return changes;
}
