import { caller, delegation, entry } from '../holder-rights.ts';
import {
  ended,
  isOver,
  type ReadProven,
  type RightEnded,
  type RightKind,
  type WantRow,
} from '../right-kind.ts';
import type { EabKeySource } from './account.ts';

/** The tenant is active. */
export interface TenantRight {
  readonly kind: 'tenant';
  readonly name: string;
}

export const tenant: RightKind<TenantRight> = {
  rows: ({ name }, want) => want('tenant', name),
  ended({ name }, read) {
    const state = read('tenant', name)?.state;
    if (state === 'active') return undefined;
    return ended(
      'TENANT_ENDED',
      state === undefined ? `there is no tenant ${name}` : `the tenant ${name} was ended`,
    );
  },
};

/**
 * The key for external account binding is neither revoked nor expired, and what it was exchanged
 * for has not ended.
 */
export interface EabKeyRight {
  readonly kind: 'eab-key';
  readonly id: string;
}

export const eabKey: RightKind<EabKeyRight> = {
  rows({ id }, want) {
    const row = want('eab-key', id);
    if (row !== undefined && row !== 'unproven') wantSource(row.source, want);
  },
  ended({ id }, read, now) {
    const row = read('eab-key', id);
    const why = (what: string): RightEnded =>
      ended('EAB_KEY_ENDED', `the key ${id} for external account binding ${what}`);
    if (row === undefined) return why('is not on record');
    if (row.revokedAt !== null) return why('was revoked');
    if (isOver(row.expiresAt, now)) return why('has expired');
    const over = sourceEnded(row.source, read, now);
    return over === undefined ? undefined : why(`ended with its source: ${over.message}`);
  },
};

function wantSource(source: EabKeySource | null, want: WantRow): void {
  if (source === null) return;
  want('delegation', source.delegationId);
  if (source.by === 'token') want('entry', source.entryId);
  else {
    want('certificate', source.serial);
    if (source.agent !== null) want('agent', source.agent);
  }
}

/** Why whoever exchanged it could have nothing signed any more. Undefined: he could. */
function sourceEnded(
  source: EabKeySource | null,
  read: ReadProven,
  now: number,
): RightEnded | undefined {
  if (source === null) return undefined;
  const { delegationId: id } = source;
  const over = delegation.ended({ kind: 'delegation', id }, read, now);
  if (over !== undefined) return over;
  if (source.by === 'token') {
    const { entryId, entryRevision: revision } = source;
    return entry.ended({ kind: 'entry', id: entryId, revision }, read, now);
  }
  return (
    agentEnded(source.agent, read) ??
    caller.ended({ kind: 'caller', serial: source.serial }, read, now)
  );
}

/** A later session of the agent ends nothing: it goes on with the SVIDs of its workloads. */
function agentEnded(spiffeId: string | null, read: ReadProven): RightEnded | undefined {
  const state = spiffeId === null ? 'active' : read('agent', spiffeId)?.state;
  if (state === 'active') return undefined;
  return ended(
    state === 'banned' ? 'AGENT_BANNED' : 'AGENT_EVICTED',
    `the agent ${spiffeId} is ${state ?? 'not on record'}`,
  );
}

/** The ACME account is valid. */
export interface AcmeAccountRight {
  readonly kind: 'acme-account';
  readonly id: string;
}

export const acmeAccount: RightKind<AcmeAccountRight> = {
  rows: ({ id }, want) => want('acme-account', id),
  ended({ id }, read) {
    const status = read('acme-account', id)?.status;
    if (status === 'valid') return undefined;
    return ended(
      'ACME_ACCOUNT_ENDED',
      status === undefined ? `there is no account ${id}` : `the account ${id} was ${status}`,
    );
  },
};

/**
 * The order is finalizing at this version, and each authorization in it is still valid. An order
 * becomes finalizing only while its authorizations have not expired; later expiry ends nothing.
 */
export interface AcmeOrderRight {
  readonly kind: 'acme-order';
  readonly id: string;
  readonly version: number;
}

export const acmeOrder: RightKind<AcmeOrderRight> = {
  rows: ({ id }, want) => want('acme-order', id),
  ended({ id, version }, read) {
    const row = read('acme-order', id);
    const why = (text: string): RightEnded => ended('ACME_ORDER_ENDED', text);
    if (row === undefined) return why(`there is no order ${id}`);
    if (row.version !== version) return why(`the order ${id} was changed`);
    if (row.stage !== 'finalizing') return why(`the order ${id} is ${row.stage}`);
    const over = row.authorizations.find(({ status }) => status !== 'valid');
    return over === undefined
      ? undefined
      : why(`the authorization of ${over.identifier.value} in order ${id} is ${over.status}`);
  },
};
