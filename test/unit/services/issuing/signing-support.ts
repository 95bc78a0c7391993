import assert from 'node:assert/strict';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { serverId } from '../../../../src/common/spiffe/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type {
  DelegateCaller,
  DelegatedItem,
  SvidOutcome,
  X509SvidItem,
} from '../../../../src/services/index.ts';
import {
  id,
  local,
  newKey,
  trustDomain,
  type ServicesWorld,
} from '../../../support/services-world.ts';

export const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;
export const key = newKey();
export const csrDer = createCsr(key);
export const server = serverId(trustDomain).toString();
export const item = (entryId: string, over: Partial<X509SvidItem> = {}): X509SvidItem => ({
  requestId: uuidv7(),
  entryId,
  csrDer,
  ttlSeconds: 0,
  selectors: [],
  replacesSerial: '',
  ...over,
});
export const codes = (outcomes: readonly SvidOutcome[]): readonly string[] =>
  outcomes.map((each) => (each.ok ? each.leaf.spiffeId : each.error.code));
export const ask = (path: string, over: Partial<DelegatedItem> = {}): DelegatedItem => ({
  requestId: uuidv7(),
  spiffeId: path.startsWith('spiffe:') ? path : id(path),
  dnsNames: [],
  ips: [],
  profile: '',
  csrDer,
  ttlSeconds: 0,
  ...over,
});

export async function delegateOf(w: ServicesWorld, over: object = {}): Promise<DelegateCaller> {
  await w.services.delegations.create(local, {
    clientId: id('/control/istiod'),
    patterns: [id('/ns/*/sa/*')],
    maxTtlSeconds: 600,
    keyTypes: [],
    dnsPatterns: ['*.svc.test'],
    ipRanges: [],
    wildcards: false,
    profile: '',
    expiresAt: 0,
    ...over,
  });
  const caller = await w.mint('/control/istiod', false);
  assert.equal(caller.class, 'delegate');
  return caller as DelegateCaller;
}
