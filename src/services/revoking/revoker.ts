import { PkiError } from '../../common/errors/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  raisesReason,
  type AuditEvent,
  type CertificateRecord,
  type Revocation,
  type RevocationReason,
} from '../../domain/index.ts';
import type { LedgerBlockedKeys, LedgerRevocations } from '../../ledger/index.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import { blockKey } from './key-blocks.ts';
import { Pulls, type PulledHolders } from './pulls.ts';
import type { Revocability } from './revocability.ts';

export interface RevokerDependencies {
  readonly revocations: Pick<LedgerRevocations, 'revokeMany' | 'revocation'>;
  readonly blockedKeys: Pick<LedgerBlockedKeys, 'block' | 'get'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  readonly pulls: PulledHolders;
  readonly clock: Clock;
}

/** A certificate that may be revoked. */
export interface Revocable {
  readonly record: CertificateRecord;
  readonly how: Revocability;
}

export interface RevocationAct {
  readonly actor: string;
  readonly reason: RevocationReason;
  readonly blockKeys: boolean;
  /** Of each record, beside what a revocation states. */
  readonly detail?: AuditEvent['detail'];
}

export interface Revoked {
  /** In the order of the certificates; undefined: its row is gone. */
  readonly revocations: readonly (Revocation | undefined)[];
  /** Those that were revoked before, by serial. */
  readonly before: ReadonlySet<string>;
  /** Of these: the reason is keyCompromise from now on. */
  readonly raised: number;
  readonly keysBlocked: number;
}

const announcementMs = 1_000;

/**
 * Revokes certificates, whoever decided it: first their keys are blocked, so that nothing is issued
 * for them meanwhile; callers with them are checked again; their holders replace them. Safe to
 * repeat. Owner of the time of the next announcement.
 */
export class Revoker {
  readonly #dependencies: RevokerDependencies;
  #nextAnnouncementMs = 0;
  #isAnnouncing = false;

  constructor(dependencies: RevokerDependencies) {
    this.#dependencies = dependencies;
  }

  /** At most `revokedAtOnce` certificates: they share a transaction. */
  async revoke(certificates: readonly Revocable[], act: RevocationAct): Promise<Revoked> {
    const { revocations, pulls } = this.#dependencies;
    const known = new Map(
      certificates.flatMap(({ record: { serial } }) => {
        const revocation = revocations.revocation(serial);
        return revocation === undefined ? [] : [[serial, revocation.reason] as const];
      }),
    );
    const raised = [...known.values()].filter((reason) => raisesReason(reason, act.reason)).length;
    const keysBlocked = act.blockKeys ? await this.#blockKeys(certificates, act) : 0;
    const made = await revocations.revokeMany(
      certificates.map((certificate) => this.#orderOf(certificate, act)),
    );
    this.#announce();
    const pulled = new Pulls();
    for (const { record } of certificates) pulled.add(record);
    pulled.tell(pulls);
    return { revocations: made, before: new Set(known.keys()), raised, keysBlocked };
  }

  /** @throws PkiError NOT_FOUND if its row is gone */
  async revokeOne(certificate: Revocable, act: RevocationAct): Promise<Revocation> {
    const [revocation] = (await this.revoke([certificate], act)).revocations;
    if (revocation !== undefined) return revocation;
    throw new PkiError(
      'NOT_FOUND',
      `there is no certificate with the serial ${certificate.record.serial}`,
    );
  }

  /** Every connection is checked again, at most once a second. */
  #announce(): void {
    if (this.#isAnnouncing) return;
    const { callers, clock } = this.#dependencies;
    const now = clock.monotonicMs();
    const announce = (): void => {
      this.#isAnnouncing = false;
      this.#nextAnnouncementMs = clock.monotonicMs() + announcementMs;
      callers.announce({ kind: 'recheck' });
    };
    if (now >= this.#nextAnnouncementMs) {
      announce();
      return;
    }
    this.#isAnnouncing = true;
    clock.after(this.#nextAnnouncementMs - now, announce);
  }

  async #blockKeys(
    certificates: readonly Revocable[],
    { actor, reason }: RevocationAct,
  ): Promise<number> {
    const keys = [...new Set(certificates.map(({ record }) => record.publicKeySha256))];
    const blocks = await Promise.all(
      keys.map((publicKeySha256) =>
        blockKey(this.#dependencies, { publicKeySha256, reason, actor }),
      ),
    );
    return blocks.filter(({ isNew }) => isNew).length;
  }

  #orderOf({ record, how }: Revocable, { actor, reason, detail }: RevocationAct): Order {
    const { clock } = this.#dependencies;
    const unlisted = how === 'unlisted';
    const { authorityId, notAfter, shard } = record;
    return {
      revocation: {
        serial: record.serial,
        reason,
        revokedAt: clock.now(),
        revokedBy: actor,
        unlisted,
        place: { authorityId, notAfter, shard },
      },
      event: {
        timeMs: clock.nowMs(),
        actor,
        kind: 'certificate.revoked',
        subject: record.spiffeId,
        detail: {
          ...detail,
          serial: record.serial,
          reason,
          notAfter,
          holder: record.holder,
          ...(unlisted ? { relyingParties: 'learn nothing: noRevAvail' } : {}),
        },
      },
    };
  }
}

type Order = Parameters<LedgerRevocations['revokeMany']>[0][number];
