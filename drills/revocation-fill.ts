import { newSerial } from '../src/certs/index.ts';
import { systemClock, systemRandom, uuidv7 } from '../src/common/runtime/index.ts';
import type { AuditEvent, Revocation } from '../src/domain/index.ts';
import type { Ledger } from '../src/ledger/index.ts';
import type { RevocationFill } from './server-messages.ts';

const leavesAtATime = 2_000;

/**
 * Records of leaves and of their revocations, and the rows of these, as a server with this history
 * has them; the inventory has no row of the leaves. A million take about two minutes and 1.5 GB.
 */
export async function fillRevocations(store: Ledger, fill: RevocationFill): Promise<void> {
  for (const { shard, leaves } of fill.shards) {
    for (let made = 0; made < leaves; made += leavesAtATime) {
      const count = Math.min(leavesAtATime, leaves - made);
      const some = Array.from({ length: count }, () => revoked(fill, shard));
      const url = made === 0 ? `${fill.baseUrl}/${shard}.crl` : undefined;
      await Promise.all([
        store.audit.append(some.map((each) => issued(each, url))),
        ...some.map((each) => store.revocations.revokeAgain(each, revokedEvent(each))),
      ]);
    }
  }
}

const revoked = ({ authorityId, notAfter }: RevocationFill, shard: number): Revocation => ({
  serial: newSerial(systemClock.nowMs(), systemRandom).toString('hex'),
  authorityId,
  reason: 'superseded',
  revokedAt: systemClock.now(),
  revokedBy: 'uid:0',
  notAfter,
  shard,
});

function issued(
  { serial, authorityId, notAfter, shard }: Revocation,
  crlUrl: string | undefined,
): AuditEvent {
  return {
    timeMs: systemClock.nowMs(),
    actor: 'uid:0',
    kind: 'certificate.issued',
    subject: 'dns:www.drill.example',
    detail: {
      ...{ serial, authority: authorityId, notAfter, shard },
      ...{ certificateKind: 'endpoint', profile: 'classic', holder: 'uid:0' },
      ...{ requestId: uuidv7(), notBefore: systemClock.now() },
      ...(crlUrl === undefined ? {} : { crlUrl }),
    },
  };
}

const revokedEvent = ({ serial }: Revocation): AuditEvent => ({
  timeMs: systemClock.nowMs(),
  actor: 'uid:0',
  kind: 'certificate.revoked',
  subject: 'dns:www.drill.example',
  detail: { serial },
});
