import type { Clock } from '../../src/common/runtime/index.ts';
import { identityKey, type Identity } from '../ports/entries.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { StoredSvid } from '../state/index.ts';
import { newRecord, type HeldRecord } from './held-record.ts';
import type { Interner } from './memory.ts';

export const toStored = (record: HeldRecord, svid: HeldX509Svid): StoredSvid => ({
  entryId: record.identity.entry.id,
  entryRevision: record.identity.entry.revision,
  spiffeId: record.identity.spiffeId.toString(),
  selectors: record.selectors,
  serial: svid.serial,
  authorityId: record.authorityId,
  chainDer: svid.chainDer,
  privateKeyPkcs8Der: svid.privateKeyPkcs8Der,
  notBefore: svid.notBefore,
  notAfter: svid.notAfter,
  lifetimeSeconds: record.lifetimeSeconds,
});

/**
 * Undefined unless the entry still gives the same identity in the same revision, and the SVID is
 * still valid.
 */
export function fromStored(
  stored: StoredSvid,
  identity: Identity | undefined,
  interner: Interner,
  clock: Clock,
): HeldRecord | undefined {
  const remainingSeconds = stored.notAfter - clock.now();
  if (
    identity === undefined ||
    identity.spiffeId.toString() !== stored.spiffeId ||
    identity.entry.revision !== stored.entryRevision ||
    remainingSeconds <= 0
  )
    return undefined;
  const record = newRecord(identityKey(identity), identity, stored.selectors);
  const { serial, notBefore, notAfter, privateKeyPkcs8Der, authorityId, lifetimeSeconds } = stored;
  record.svid = {
    identity,
    serial,
    notBefore,
    notAfter,
    privateKeyPkcs8Der,
    chainDer: stored.chainDer.map((der) => interner.intern(der)),
  };
  // the holders before the restart are unknown, so the replacement can't be proven
  return Object.assign(record, {
    authorityId,
    lifetimeSeconds,
    expiresAtMonotonicMs: clock.monotonicMs() + remainingSeconds * 1000,
    lost: true,
  });
}
