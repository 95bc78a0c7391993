import { PkiError } from '../../common/errors/index.ts';
import type { BlockedKey, CertificateRecord, Verb } from '../../domain/index.ts';
import type { LedgerBlockedKeys } from '../../ledger/index.ts';
import type { CertificateStore, Page, PageRequest } from '../../store/ports/index.ts';
import type { OperatorRights } from '../callers/access.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import { refusing } from '../callers/refusal-log.ts';
import type { InspectionDependencies } from '../inspection/inspection-dependencies.ts';
import { coversRecord } from '../inspection/record-target.ts';
import { checkPage, checkText } from '../requests.ts';
import { blockKey } from './key-blocks.ts';
import type { KeyDetail, Keys, NamedKey } from './keys.ts';
import { isProven, requireProven, type RevocationProof } from './proof.ts';
import { Pulls, type PulledHolders } from './pulls.ts';
import { selected } from './selected.ts';

export interface KeyDependencies extends InspectionDependencies, RevocationProof {
  readonly certificates: Pick<CertificateStore, 'bySerial' | 'scan'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'block' | 'get' | 'list'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  /** Whether an authority that has not ended has this key. */
  readonly isLivingAuthorityKey: (publicKeySha256: string) => boolean;
  readonly pulls: PulledHolders;
}

const sampleSize = 20;
const rowsAStep = 500;

interface Affected {
  readonly count: number;
  readonly sample: readonly CertificateRecord[];
  /** Whether the verb covers every one of them. */
  readonly isCovered: boolean;
  readonly pulls: Pulls;
}

/** Blocks keys, and shows who is affected. */
export class KeyService implements Keys {
  readonly #dependencies: KeyDependencies;

  constructor(dependencies: KeyDependencies) {
    this.#dependencies = dependencies;
  }

  block(caller: OperatorCaller, key: NamedKey, reason: string): Promise<KeyDetail> {
    return this.#refusing(caller, 'BlockKey', key, async () => {
      const { access, callers, blockedKeys } = this.#dependencies;
      const rights = await access.of(caller);
      rights.require('key.block', { kind: 'none' });
      checkText('reason', reason, 500);
      const publicKeySha256 = await this.#digestOf(rights, 'key.block', key);
      this.#refuseAuthority(publicKeySha256);
      const affected = await this.#affected(rights, 'key.block', publicKeySha256);
      if (!affected.isCovered) rights.require('key.block', access.all);
      await blockKey(this.#dependencies, { publicKeySha256, reason, actor: actorOf(caller) });
      callers.announce({ kind: 'recheck' });
      affected.pulls.tell(this.#dependencies.pulls);
      return detailOf(publicKeySha256, blockedKeys.get(publicKeySha256), affected);
    });
  }

  get(caller: OperatorCaller, key: NamedKey): Promise<KeyDetail> {
    return this.#refusing(caller, 'GetKey', key, async () => {
      const { access, blockedKeys } = this.#dependencies;
      const rights = await access.of(caller);
      rights.require('key.read', { kind: 'none' });
      const publicKeySha256 = await this.#digestOf(rights, 'certificate.read', key);
      const affected = await this.#affected(rights, 'certificate.read', publicKeySha256);
      return detailOf(publicKeySha256, blockedKeys.get(publicKeySha256), affected);
    });
  }

  list(caller: OperatorCaller, page: PageRequest): Promise<Page<BlockedKey>> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListBlockedKeys' },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('key.read', { kind: 'none' });
        return this.#dependencies.blockedKeys.list(checkPage(page));
      },
    );
  }

  #refusing<T>(
    caller: OperatorCaller,
    operation: 'BlockKey' | 'GetKey',
    key: NamedKey,
    act: () => Promise<T>,
  ): Promise<T> {
    const subject = ('serial' in key ? key.serial : key.publicKeySha256).slice(0, 64);
    return refusing(this.#dependencies.refusals, { caller, operation, subject }, act);
  }

  async #digestOf(rights: OperatorRights, verb: Verb, key: NamedKey): Promise<string> {
    if ('publicKeySha256' in key) {
      if (!/^[0-9a-f]{64}$/.test(key.publicKeySha256))
        throw new PkiError(
          'INVALID_REQUEST',
          'the digest of a public key has 64 digits of lower-case hex',
        );
      return key.publicKeySha256;
    }
    const record = await this.#dependencies.certificates.bySerial(key.serial);
    if (record !== undefined && this.#covers(rights, verb, record)) {
      await requireProven(record, this.#dependencies);
      return record.publicKeySha256;
    }
    // same text for a certificate that does not exist and one of another team
    throw new PkiError(
      'NOT_FOUND',
      `there is no certificate with the serial ${JSON.stringify(key.serial.slice(0, 64))} under ` +
        'a prefix of your roles',
    );
  }

  #refuseAuthority(publicKeySha256: string): void {
    if (!this.#dependencies.isLivingAuthorityKey(publicKeySha256)) return;
    throw new PkiError(
      'KEY_RESERVED',
      'the key is that of an authority that has not ended: no leaf may have it in any case',
      { next: 'Where it is stolen, use "meshca authority compromise".' },
    );
  }

  #covers(rights: OperatorRights, verb: Verb, record: CertificateRecord): boolean {
    return coversRecord(rights, this.#dependencies.access, { verb, record });
  }

  /** Rights may rest on the row, unless they cover everything. An altered one is announced. */
  async #coversProven(
    rights: OperatorRights,
    verb: Verb,
    record: CertificateRecord,
  ): Promise<boolean> {
    const { access } = this.#dependencies;
    if (rights.permits(verb, access.all)) return true;
    return this.#covers(rights, verb, record) && (await isProven(record, this.#dependencies));
  }

  async #affected(rights: OperatorRights, verb: Verb, publicKeySha256: string): Promise<Affected> {
    const { certificates, clock } = this.#dependencies;
    let count = 0;
    let isCovered = true;
    const sample: CertificateRecord[] = [];
    const pulls = new Pulls();
    const step = { now: clock.now(), limit: rowsAStep };
    for await (const records of selected(certificates, { publicKeySha256 }, step))
      for (const record of records) {
        count += 1;
        pulls.add(record);
        // shown or decisive
        const matters = isCovered || sample.length < sampleSize;
        if (!matters) continue;
        if (!(await this.#coversProven(rights, verb, record))) isCovered = false;
        else if (sample.length < sampleSize) sample.push(record);
      }
    return { count, sample, isCovered: isCovered && count > 0, pulls };
  }
}

const detailOf = (
  publicKeySha256: string,
  blocked: BlockedKey | undefined,
  { count, sample }: Affected,
): KeyDetail => ({ publicKeySha256, blocked, certificates: count, sample });
