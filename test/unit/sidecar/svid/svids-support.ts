import type { TestContext } from 'node:test';
import { unwrap, PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { parseSelector, TrustDomain, type Selector } from '../../../../src/common/spiffe/index.ts';
import { parseCsr } from '../../../../src/certs/index.ts';
import type { SignX509SvidsRequest } from '../../../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsRequest.ts';
import type { SignX509SvidsResponse__Output } from '../../../../src/common/wire/generated/meshca/issuer/v1/SignX509SvidsResponse.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import type { Identity } from '../../../../sidecar/ports/entries.ts';
import { KeyPool, SigningQueue, X509Svids } from '../../../../sidecar/svid/index.ts';
import type { WorkloadKeyStore } from '../../../../sidecar/state/index.ts';
import { entryOf, FakeClock } from '../../../support/agent.ts';
import {
  extensions,
  leafExtensions,
  makeAuthority,
  makeCertificate,
  type TestKey,
} from '../../../support/x509.ts';

export const trustDomain = TrustDomain.of('td');
export const selectors = (...texts: readonly string[]): Selector[] =>
  texts.map((text) => unwrap(parseSelector(text)));
export const uid = (number: number): Selector[] => selectors(`unix:uid:${number}`);

interface World {
  readonly clock: FakeClock;
  readonly cache: SyncedEntryCache;
  readonly x509: X509Svids;
  readonly calls: NonNullable<SignX509SvidsRequest['items']>[];
  readonly replaced: string[];
  readonly failures: string[];
  expired: number;
  connected: boolean;
  failWith: ErrorCode | undefined;
  refuse: Map<string, ErrorCode>;
  authorityId: string;
  ttlSeconds: number;
  readonly issued: {
    readonly entryId: string;
    readonly requestId: string;
    readonly spki: string;
  }[];
  /** undefined: answers at once. */
  gate: Promise<void> | undefined;
}

export const authority = makeAuthority('root', {
  notBefore: 1_799_000_000,
  notAfter: 1_900_000_000,
});

/** Issues like a CA would; identities come from the entries. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export function world(
  context: TestContext,
  options: {
    readonly warm?: number;
    readonly prefetch?: number;
    readonly keyStore?: WorkloadKeyStore;
    readonly entries?: number;
  } = {},
): World {
  const clock = new FakeClock();
  const cache = new SyncedEntryCache({ trustDomain, clock, logger: silentLogger });
  cache.applySnapshot(
    Array.from({ length: options.entries ?? 3 }, (_, index) =>
      entryOf(`e${index}`, [`unix:uid:${index}`]),
    ),
  );
  const self = {
    clock,
    cache,
    calls: [],
    replaced: [],
    failures: [],
    expired: 0,
    connected: true,
    failWith: undefined,
    refuse: new Map(),
    authorityId: 'a1',
    ttlSeconds: 3600,
    issued: [],
    gate: undefined,
  } as unknown as World & { x509: X509Svids };
  let serial = 0;
  const sign = async (request: SignX509SvidsRequest): Promise<SignX509SvidsResponse__Output> => {
    const items = request.items ?? [];
    self.calls.push(items);
    await self.gate;
    if (!self.connected) throw new PkiError('UNREACHABLE', 'away');
    const results = items.map((item) => {
      const entry = cache.get(item.entryId as string);
      const code =
        self.refuse.get(item.entryId as string) ??
        (entry === undefined ? 'ENTRY_NOT_AUTHORIZED' : undefined);
      if (code !== undefined)
        return {
          requestId: item.requestId as string,
          refusal: { code, message: 'refused', next: '', refusalId: '' },
        };
      serial += 1;
      const { spkiDer, keyType } = unwrap(parseCsr(item.csrDer as Buffer));
      self.issued.push({
        entryId: item.entryId as string,
        requestId: item.requestId as string,
        spki: spkiDer.toString('hex'),
      });
      const notAfter = clock.now() + self.ttlSeconds;
      const leaf = makeCertificate({
        key: { spkiDer, keyType } as TestKey,
        issuer: authority,
        notBefore: clock.now() - 30,
        notAfter,
        serial: Buffer.from([0x40, serial >> 8, serial & 0xff]),
        extensions: leafExtensions(authority, { san: extensions.san([entry?.spiffeId as string]) }),
      });
      return {
        requestId: item.requestId as string,
        svid: {
          spiffeId: entry?.spiffeId as string,
          serial: leaf.parsed.serialHex,
          chainDer: [leaf.parsed.raw],
          notBefore: clock.now() - 30,
          notAfter,
          lifetimeSeconds: self.ttlSeconds,
          serverTime: clock.now(),
          authorityId: self.authorityId,
          namesRootsDer: [],
        },
      };
    });
    // the answer is made, and lost on the way
    if (self.failWith !== undefined) throw new PkiError(self.failWith, 'lost');
    return { results };
  };
  const keys = new KeyPool('ec-p256', 2);
  let dice = 0;
  self.x509 = new X509Svids({
    trustDomain,
    cache,
    queue: new SigningQueue(sign, keys, clock),
    roots: () => [authority.parsed.raw],
    connected: () => self.connected,
    clock,
    logger: silentLogger,
    random: { uniform: () => (dice = (dice + 0.37) % 1), bytes: (length) => Buffer.alloc(length) },
    warm: options.warm ?? 2,
    prefetch: options.prefetch ?? 0,
    readyDeadlineMs: 5000,
    events: {
      renewed: () => {},
      failed: (code) => self.failures.push(code),
      expiredInUse: () => {
        self.expired += 1;
      },
      replaced: (each) => self.replaced.push(each),
    },
    ...(options.keyStore === undefined ? {} : { keyStore: options.keyStore }),
  });
  context.after(() => {
    self.x509.close();
    keys.close();
  });
  return self;
}

export const identity = (of: World, number: number): Identity =>
  of.cache.match(uid(number))[0] as Identity;
