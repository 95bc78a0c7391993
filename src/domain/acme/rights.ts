import { ended, isOver, type RightEnded, type RightKind } from '../right-kind.ts';

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

/** The key for external account binding is neither revoked nor expired. */
export interface EabKeyRight {
  readonly kind: 'eab-key';
  readonly id: string;
}

export const eabKey: RightKind<EabKeyRight> = {
  rows: ({ id }, want) => want('eab-key', id),
  ended({ id }, read, now) {
    const row = read('eab-key', id);
    const why = (what: string): RightEnded =>
      ended('EAB_KEY_ENDED', `the key ${id} for external account binding ${what}`);
    if (row === undefined) return why('is not on record');
    if (row.revokedAt !== null) return why('was revoked');
    return isOver(row.expiresAt, now) ? why('has expired') : undefined;
  },
};

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
