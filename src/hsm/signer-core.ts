import type graphene from 'graphene-pk11';

import { PkiError } from '../common/errors/index.ts';
import { ckrMeaning } from './ckr.ts';
import type { MacKeyHandle } from './mac-port.ts';
import type { SignItem, SignOutcome } from './signing-port.ts';
import { login, openToken, type OpenToken } from './module.ts';
import { checkProof } from './proof.ts';
import {
  checkedMac,
  loadMacKey,
  macCheckInput,
  requireCheckValue,
  type MacKey,
} from './mac-key.ts';
import { isMacKey, type EngineMode, type TokenAccess, type UsableKey } from './protocol.ts';
import { SessionPool } from './session-pool.ts';
import {
  asyncEngine,
  chooseEngine,
  syncEngine,
  type EngineMeasure,
  type SigningEngine,
} from './signing-engine.ts';
import { loadSigningKey, tokenInput, verifiedSignature, type SigningKey } from './signing-key.ts';

export interface SignerCoreOptions extends EngineMeasure {
  readonly mode: EngineMode;
  readonly sessions: number;
}

/** Thrown when this process must be replaced. Afterwards nothing in it may be used. */
export class SignerLost extends Error {
  override readonly name = 'SignerLost';
  readonly error: PkiError;
  constructor(error: PkiError) {
    super(error.message);
    this.error = error;
  }
}

const unavailable = (error: PkiError): SignOutcome => ({
  ok: false,
  kind: 'failed',
  code: error.code,
  message: error.message,
});

/**
 * The work of one signer process, without its channel. Owner of the module, the login, the sessions
 * and the keys of this process.
 */
export class SignerCore {
  readonly #token: OpenToken;
  readonly #anchor: graphene.Session;
  readonly #pool: SessionPool;
  readonly #options: SignerCoreOptions;
  readonly #handles = new Map<string, UsableKey>();
  readonly #keys = new Map<string, SigningKey>();
  readonly #macKeys = new Map<string, MacKey>();
  #engine: SigningEngine;
  /** `auto` is decided at the first key. */
  #decided: boolean;
  #recoveries = 0;
  #probed = 0;

  /**
   * Loads the module and logs in, once.
   *
   * @throws the errors of `openToken` and `login`
   */
  constructor(access: TokenAccess, options: SignerCoreOptions) {
    this.#options = options;
    this.#token = openToken(access.modulePath, access.tokenLabel);
    this.#anchor = login(this.#token, access.pin, 'read');
    this.#pool = new SessionPool(
      this.#token,
      this.#anchor,
      options.mode === 'sync' ? 1 : options.sessions,
    );
    const { lib } = this.#token.module;
    this.#engine =
      options.mode === 'async' ? asyncEngine(lib, this.#pool) : syncEngine(lib, this.#pool);
    this.#decided = options.mode !== 'auto';
  }

  get mode(): EngineMode {
    return this.#decided ? this.#engine.mode : 'auto';
  }

  get sessions(): number {
    return this.#pool.size;
  }

  /**
   * Finds the key, checks it and uses it once.
   *
   * @throws PkiError HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT, HSM_SIGNATURE_INVALID (fatal),
   *   HSM_UNAVAILABLE, HSM_FAILED
   */
  async useKey(handle: UsableKey): Promise<void> {
    if (isMacKey(handle)) return this.#useMacKey(handle);
    const key = loadSigningKey(this.#token, this.#anchor, handle);
    if (!this.#decided) await this.#decide(key);
    await this.#selfTest(key);
    this.#handles.set(handle.ckaId, handle);
    this.#keys.set(handle.ckaId, key);
  }

  forgetKey(ckaId: string): void {
    this.#handles.delete(ckaId);
    this.#keys.delete(ckaId);
    this.#macKeys.delete(ckaId);
  }

  /**
   * HMAC-SHA256 by a key in use.
   *
   * @throws SignerLost; PkiError HSM_KEY_NOT_FOUND, HSM_FAILED
   */
  async mac(ckaId: string, input: Buffer): Promise<Buffer> {
    return this.#recovering(async () => {
      const key = this.#macKeys.get(ckaId);
      if (key === undefined)
        throw new PkiError(
          'HSM_KEY_NOT_FOUND',
          `the signer has no secret key with the CKA_ID ${ckaId}`,
        );
      return checkedMac(key, await this.#engine.sign(key, input));
    });
  }

  /**
   * Signs the items. Outcomes are in their order. `afterEach` is called after each item.
   *
   * @throws SignerLost if this process has lost the token, or the token returned an invalid
   *   signature; then no outcome of the call counts
   */
  async sign(items: readonly SignItem[], afterEach: () => void = () => {}): Promise<SignOutcome[]> {
    const outcomes = new Array<SignOutcome>(items.length);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < items.length) {
        const index = next++;
        outcomes[index] = await this.#signOne(items[index] as SignItem);
        afterEach();
      }
    };
    await Promise.all(
      Array.from({ length: Math.min(this.#engine.concurrency, items.length) }, work),
    );
    return outcomes;
  }

  /**
   * Keeps the sessions alive and uses the next key in turn. A signer is healthy if its key is
   * found and signs.
   *
   * @throws SignerLost
   */
  async probe(): Promise<void> {
    await this.#recovering(async () => {
      this.#pool.keepAlive();
      const keys = [...this.#handles.keys()];
      const ckaId = keys[this.#probed++ % Math.max(keys.length, 1)] ?? '';
      const key = this.#keys.get(ckaId);
      if (key !== undefined) await this.#selfTest(key);
      const macKey = this.#macKeys.get(ckaId);
      if (macKey !== undefined) await this.#macTest(macKey);
    });
  }

  /** For drills: does to our sessions what a restart of the token does. */
  invalidateSessions(): void {
    this.#token.module.lib.C_CloseAllSessions(this.#token.slot.handle);
  }

  /** Ends the login and the sessions in the token. No call may be in flight. */
  close(): void {
    this.#token.module.finalize();
  }

  async #signOne(item: SignItem): Promise<SignOutcome> {
    if (item.proof !== undefined) {
      const proof = checkProof(item.proof);
      if (!proof.ok)
        return { ok: false, kind: 'refused', code: proof.error.code, message: proof.error.message };
    }
    if (!this.#keys.has(item.ckaId)) {
      return unavailable(
        new PkiError('HSM_KEY_NOT_FOUND', `the signer has no key with the CKA_ID ${item.ckaId}`),
      );
    }
    try {
      return await this.#recovering(async () => {
        const key = this.#keys.get(item.ckaId);
        if (key === undefined)
          throw new PkiError('HSM_KEY_NOT_FOUND', `the key ${item.ckaId} was taken out of use`);
        const raw = this.#engine.sign(key, tokenInput(key, item.bytes));
        return {
          ok: true,
          signature: verifiedSignature(
            key,
            item.bytes,
            raw instanceof Promise ? await raw : raw,
            item.format,
          ),
        };
      });
    } catch (thrown) {
      if (thrown instanceof SignerLost) throw thrown;
      return unavailable(PkiError.from(thrown, 'HSM_FAILED'));
    }
  }

  /**
   * Runs `work`. If sessions or handles are stale, opens and finds them again and runs `work` once
   * more. The same bytes are then signed twice, which is harmless: it is the same certificate.
   *
   * @throws SignerLost if the second run fails as well
   */
  async #recovering<T>(work: () => Promise<T>): Promise<T> {
    const recoveries = this.#recoveries;
    try {
      return await work();
    } catch (thrown) {
      const error = this.#orLost(thrown);
      if (cureOf(error) !== 'reopen') throw error;
      // Of several operations in flight only the first failure reopens the sessions.
      if (recoveries === this.#recoveries) this.#reopen();
    }
    try {
      return await work();
    } catch (thrown) {
      const error = this.#orLost(thrown);
      if (cureOf(error) !== 'none') throw new SignerLost(error);
      throw error;
    }
  }

  #orLost(thrown: unknown): PkiError {
    if (thrown instanceof SignerLost) throw thrown;
    const error = PkiError.from(thrown, 'HSM_FAILED');
    if (error.code === 'HSM_SIGNATURE_INVALID' || cureOf(error) === 'respawn')
      throw new SignerLost(error);
    return error;
  }

  #reopen(): void {
    this.#recoveries++;
    try {
      this.#pool.renew();
      for (const handle of this.#handles.values())
        if (isMacKey(handle)) this.#macKeys.set(handle.ckaId, loadMacKey(this.#anchor, handle));
        else this.#keys.set(handle.ckaId, loadSigningKey(this.#token, this.#anchor, handle));
    } catch (thrown) {
      // A key that existed before and is not found now. SoftHSM shows this after its directory was
      // away, until the process ends.
      const error = PkiError.from(thrown, 'HSM_FAILED');
      throw new SignerLost(
        new PkiError('HSM_UNAVAILABLE', `sessions could not be opened again: ${error.message}`, {
          cause: error,
        }),
      );
    }
  }

  /** Never the key that decides on the engine: what signs decides. */
  async #useMacKey(handle: MacKeyHandle): Promise<void> {
    const key = loadMacKey(this.#anchor, handle);
    await this.#macTest(key);
    this.#handles.set(handle.ckaId, handle);
    this.#macKeys.set(handle.ckaId, key);
  }

  async #macTest(key: MacKey): Promise<void> {
    requireCheckValue(key, await this.#engine.sign(key, Buffer.from(macCheckInput)));
  }

  async #decide(key: SigningKey): Promise<void> {
    const { lib } = this.#token.module;
    this.#engine = await chooseEngine(
      { sync: syncEngine(lib, this.#pool), async: asyncEngine(lib, this.#pool) },
      key,
      tokenInput(key, selfTestBytes),
      this.#options,
    );
    this.#decided = true;
    if (this.#engine.mode === 'sync') this.#pool.shrink(1);
  }

  async #selfTest(key: SigningKey): Promise<void> {
    const raw = await this.#engine.sign(key, tokenInput(key, selfTestBytes));
    verifiedSignature(key, selfTestBytes, raw, 'x509');
  }
}

/**
 * Every self-test signs these bytes. They can not be a certificate, a CRL or a token: the first
 * octet is not that of a SEQUENCE, and they are not base64url.
 */
const selfTestBytes = Buffer.from('\u0000meshca signer self-test', 'utf8');

function cureOf(error: PkiError): 'none' | 'reopen' | 'respawn' {
  const ckr = error.detail['ckr'];
  if (typeof ckr === 'string') return ckrMeaning(ckr).cure;
  return error.code === 'HSM_UNAVAILABLE' ? 'respawn' : 'none';
}
