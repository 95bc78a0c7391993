import { PkiError } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Logger, type Random } from '../../common/runtime/index.ts';
import { readCanonical, type AuditEvent, type TokenRole } from '../../domain/index.ts';
import { keyLabelPrefix, type TokenAdmin } from '../../hsm/token-port.ts';
import type { MacKeyHandle, MacKeys, TokenMac } from '../../hsm/mac-port.ts';
import type { AuditStore, LeaseStore } from '../../store/ports/index.ts';
import { newestRecord } from '../../store/newest-record.ts';

export interface AcmeMacKeyDependencies {
  readonly trustDomain: string;
  readonly store: {
    readonly audit: Pick<AuditStore, 'append' | 'list'>;
    readonly leases: LeaseStore;
  };
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly signers: MacKeys;
  readonly clock: Pick<Clock, 'now' | 'nowMs'>;
  readonly random: Pick<Random, 'bytes'>;
  readonly logger: Logger;
}

/** Kinds of the records of its CKA_ID: before the key is made, and after. */
const acts = { requested: 'mac-key.requested', made: 'mac-key.made' } as const;
const subject = 'acme';
const leaseName = 'acme-mac-key';
const leaseMs = 60_000;

/**
 * The secret key from which ACME derives its own: that of nonces, and those of external account
 * bindings. It is made once in the issuing token, at its first use, and the log has its CKA_ID and
 * check value. It is never made again: other bindings and nonces would be the result. While the
 * token lacks it, every use is refused. Owner of whether the signers have it.
 */
export class AcmeMacKey implements TokenMac {
  readonly #dependencies: AcmeMacKeyDependencies;
  #inUse: Promise<MacKeyHandle> | undefined;

  constructor(dependencies: AcmeMacKeyDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * A failure to find the key is tried again at the next call.
   *
   * @throws PkiError as `TokenMac`; HSM_KEY_UNFIT; the refusal of the signing gate
   */
  async mac(input: Buffer): Promise<Buffer> {
    this.#inUse ??= this.#use().catch((thrown: unknown) => {
      this.#inUse = undefined;
      throw thrown;
    });
    const { ckaId } = await this.#inUse;
    return this.#dependencies.signers.mac(ckaId, input);
  }

  async #use(): Promise<MacKeyHandle> {
    const { signers } = this.#dependencies;
    const key = (await this.#recorded()) ?? (await this.#make());
    try {
      await signers.useMacKey(key);
    } catch (thrown) {
      throw withAdvice(thrown, key);
    }
    return key;
  }

  async #recorded(): Promise<MacKeyHandle | undefined> {
    const made = await this.#newest(acts.made);
    if (made === undefined) return undefined;
    return { ...made, token: 'issuing', checkValue: Buffer.from(made.checkValue, 'hex') };
  }

  async #newest(
    kind: string,
  ): Promise<{ readonly ckaId: string; readonly checkValue: string } | undefined> {
    const record = await newestRecord(this.#dependencies.store.audit, { kind, subject });
    const detail = record && readCanonical(record.canonical)?.detail;
    if (detail === undefined) return undefined;
    const { ckaId, checkValue } = detail;
    if (typeof ckaId !== 'string' || typeof checkValue !== 'string')
      throw new PkiError('INTERNAL', `the newest record ${kind} lacks its values`);
    return { ckaId, checkValue };
  }

  /** One process makes the key. The record of its CKA_ID is durable before the key exists. */
  async #make(): Promise<MacKeyHandle> {
    const { store, clock, logger } = this.#dependencies;
    const holder = uuidv7(clock.nowMs());
    const lease = await store.leases.acquire(leaseName, holder, clock.nowMs(), leaseMs);
    if (lease === undefined)
      throw new PkiError('HSM_UNAVAILABLE', 'another process makes the key of ACME now');
    try {
      const other = await this.#recorded();
      if (other !== undefined) return other;
      const ckaId = await this.#request();
      const checkValue = await this.#inToken(ckaId);
      await this.#append(acts.made, ckaId, checkValue.toString('hex'));
      logger.info({ ckaId }, 'the secret key of ACME was made');
      return { ckaId, checkValue, token: 'issuing' };
    } finally {
      await store.leases.release(lease);
    }
  }

  /** After a crash the key is made with the CKA_ID that is on record. */
  async #request(): Promise<string> {
    const requested = await this.#newest(acts.requested);
    if (requested !== undefined) return requested.ckaId;
    const ckaId = this.#dependencies.random.bytes(16).toString('hex');
    await this.#append(acts.requested, ckaId, '');
    return ckaId;
  }

  async #inToken(ckaId: string): Promise<Buffer> {
    const { openToken, trustDomain } = this.#dependencies;
    const token = await openToken('issuing');
    try {
      const label = `${keyLabelPrefix}${trustDomain}/acme/mac`;
      const key = (await token.findMacKey(ckaId)) ?? (await token.generateMacKey({ ckaId, label }));
      return key.checkValue;
    } finally {
      await token.close();
    }
  }

  #append(kind: string, ckaId: string, checkValue: string): Promise<void> {
    const event: AuditEvent = {
      timeMs: this.#dependencies.clock.nowMs(),
      actor: 'server',
      kind,
      subject,
      detail: { ckaId, checkValue, token: 'issuing' },
    };
    return this.#dependencies.store.audit.append([event]);
  }
}

function withAdvice(thrown: unknown, { ckaId }: MacKeyHandle): PkiError {
  const error = PkiError.from(thrown, 'HSM_FAILED');
  if (error.code !== 'HSM_KEY_NOT_FOUND' && error.code !== 'HSM_KEY_UNFIT') return error;
  return new PkiError(
    error.code,
    `ACME stays closed: its secret key ${ckaId} is on record, and the issuing token lacks it (${error.message})`,
    {
      cause: error,
      next:
        'Connect the issuing token that belongs to this database, or restore it from its backup. ' +
        'Another key is not made by itself, because every EAB key would change with it.',
    },
  );
}
