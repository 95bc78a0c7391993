import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import {
  assembleSigned,
  buildAuthorityTbs,
  buildCrlTbs,
  newSerial,
} from '../../../../src/certs/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom, uuidv7, type Logger } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  sha256Hex,
  spkiOf,
  type ParsedCertificate,
} from '../../../../src/common/x509/index.ts';
import {
  crlId,
  type AuditEvent,
  type Authority,
  type LoggedObject,
  type StoredCrl,
} from '../../../../src/domain/index.ts';
import { CrlPublisher, ShardAllocator } from '../../../../src/issuance/index.ts';
import { CrlShards } from '../../../../src/ledger/crl-shards.ts';
import { Revoked } from '../../../../src/ledger/revoked.ts';
import type { CrlPlace } from '../../../../src/store/ports/index.ts';
import { FakeClock } from '../../../support/agent.ts';

export const day = 86_400;
const trustDomain = TrustDomain.of('mesh.test');

interface Ca {
  readonly authority: Authority;
  readonly certificate: ParsedCertificate;
  readonly key: KeyObject;
}

export function ca(
  clock: FakeClock,
  kind: 'root' | 'issuing' | 'names-issuing',
  issuer: Ca | undefined,
  over: Partial<Authority> = {},
): Ca {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const spkiDer = spkiOf(key);
  const [notBefore, notAfter] = [clock.now() - day, clock.now() + 400 * day];
  const tbsDer = buildAuthorityTbs({
    serial: newSerial(clock.nowMs(), systemRandom),
    profile: kind === 'root' ? 'root' : 'intermediate',
    issuer: issuer?.certificate,
    spkiDer,
    trustDomain,
    notBefore,
    notAfter,
  });
  const certificateDer = assembleSigned(
    tbsDer,
    'ec-p256',
    sign('sha256', tbsDer, issuer?.key ?? key),
  );
  const certificate = unwrap(parseCertificate(certificateDer));
  const authority: Authority = {
    id: uuidv7(clock.nowMs()),
    kind,
    state: 'active',
    version: 3,
    keyType: 'ec-p256',
    token: 'external',
    ckaId: sha256Hex(certificateDer),
    parentId: issuer?.authority.id ?? null,
    scope: {},
    spkiDer,
    certificateDer,
    subjectKeyId: certificate.subjectKeyId ?? null,
    notBefore,
    notAfter,
    createdAt: clock.now(),
    activatedAt: clock.now(),
    taintedAt: null,
    ...over,
  };
  return { authority, certificate, key };
}

export function crlOf(
  { certificate, key }: Ca,
  options: {
    readonly number: number;
    readonly thisUpdate: number;
    readonly nextUpdate: number;
    readonly revoked?: readonly string[];
  },
): Buffer {
  const { number, thisUpdate, nextUpdate, revoked = [] } = options;
  const tbsDer = buildCrlTbs({
    issuer: certificate,
    number: BigInt(number),
    thisUpdate,
    nextUpdate,
    revoked: revoked.map((serialHex) => ({ serialHex, revokedAt: thisUpdate })),
  });
  return assembleSigned(tbsDer, 'ec-p256', sign('sha256', tbsDer, key));
}

/** The publisher over a store in memory, below a root of others. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export function world(
  clock: FakeClock,
  all: Authority[],
  signing: Ca,
  before?: {
    readonly crls: Map<string, StoredCrl>;
    readonly revoked: Revoked;
    readonly shards: CrlShards;
  },
) {
  const crls = before?.crls ?? new Map<string, StoredCrl>();
  const events: AuditEvent[] = [];
  const lines: { readonly text: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  const line = (fields: object, text: string): void =>
    void lines.push({ text, fields: fields as Record<string, unknown> });
  const logger = {
    debug: () => {},
    info: line,
    warn: line,
    error: line,
    child: () => logger,
  } as unknown as Logger;
  const listeners = new Set<() => void>();
  const revoked = before?.revoked ?? new Revoked();
  const shards = before?.shards ?? new CrlShards();
  const said = (event: AuditEvent, { authorityId, shard }: CrlPlace, sha256: string): void => {
    events.push(event);
    const { kind: act, subject } = event;
    const detail = { number: Number(event.detail['number'] ?? 0), ...event.detail, shard };
    const record = { kind: 'crl', id: crlId(authorityId, shard), sha256, act, subject, detail };
    revoked.apply(record as LoggedObject);
    shards.applyCrl(record as LoggedObject);
  };
  const state = { held: false, clockBelieved: true };
  const shardUrl = (id: string, shard: number): string =>
    `http://ca.mesh.test/crl/${id}/${shard}.crl`;
  const allocator = new ShardAllocator({
    shards: (id) => shards.of(id),
    url: shardUrl,
    restoredMs: () => 0,
    clock,
    mostLeaves: 4,
  });
  const publisher = new CrlPublisher({
    authorities: {
      all: () => all,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    store: {
      mark: (scope) => revoked.mark(scope),
      entries: (scope, endingFrom) => revoked.entries(scope, endingFrom),
      crlCovers: (id, shard) => revoked.crlCovers(id, shard),
      shards: (id) => shards.of(id),
      compareRows: () => Promise.resolve(),
      crls: () => Promise.resolve([...crls.values()]),
      highestCrlNumber: (id, shard) => Promise.resolve(crls.get(crlId(id, shard))?.number ?? 0),
      issuerCrlNumber: (id) =>
        Promise.resolve(
          events
            .filter(({ subject }) => subject === id)
            .reduce((most, { detail }) => {
              const number = BigInt(detail['crlNumber'] as string);
              return number > most ? number : most;
            }, 0n),
        ),
      saveCrl: (crl, event) => {
        crls.set(crlId(crl.authorityId, crl.shard), crl);
        said(event, crl, '00');
        return Promise.resolve();
      },
      dropCrl: (place, event) => {
        crls.delete(crlId(place.authorityId, place.shard));
        said(event, place, '');
        return Promise.resolve();
      },
    },
    shards: allocator,
    shardUrl,
    onRevision: () => () => {},
    signers: {
      sign: (items) =>
        Promise.resolve(
          items.map(({ bytes }) => ({
            ok: true as const,
            signature: sign('sha256', bytes, signing.key),
          })),
        ),
    },
    openToken: () => Promise.reject(new Error('no token')),
    held: () => state.held,
    clockBelieved: () => state.clockBelieved,
    clock,
    logger,
    lifeSeconds: 7 * day,
    clockSkewSeconds: 300,
  });
  return {
    publisher,
    revoked,
    shards,
    allocator,
    crls,
    events,
    lines,
    logger,
    state,
    moved: () => {
      for (const listener of listeners) listener();
    },
  };
}

/** So that what timers started has happened. */
export async function settled(clock: FakeClock, seconds: number): Promise<void> {
  const step = Math.max(1, Math.ceil(seconds / 50));
  for (let at = 0; at < seconds; at += step) {
    clock.advance(step * 1000);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
}

export const setup = () => {
  const clock = new FakeClock();
  const root = ca(clock, 'root', undefined);
  const issuing = ca(clock, 'issuing', root, { token: 'issuing' });
  return { clock, root, issuing, ...world(clock, [root.authority, issuing.authority], issuing) };
};
export const stateOf = (publisher: CrlPublisher, { authority }: Ca): string =>
  publisher.standings().find(({ authorityId }) => authorityId === authority.id)?.state ?? 'none';
