import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { test } from 'node:test';
import { assembleSigned, buildAuthorityTbs, newSerial } from '../../../../src/certs/index.ts';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom, uuidv7 } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  createCsr,
  parseCertificate,
  sha256Hex,
  spkiOf,
  type ParsedCertificate,
} from '../../../../src/common/x509/index.ts';
import type { Authority, Intent } from '../../../../src/domain/index.ts';
import type { TokenAdmin } from '../../../../src/hsm/contract.ts';
import {
  signDownstream,
  type DownstreamGrant,
  type DownstreamRequest,
} from '../../../../src/issuance/index.ts';
import type { FinishItem } from '../../../../src/store/ports/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const day = 86_400;
const trustDomain = TrustDomain.of('mesh.test');
const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

function authority(
  clock: FakeClock,
  kind: 'root' | 'issuing',
  key: KeyObject,
  issuer?: {
    readonly certificate: ParsedCertificate;
    readonly key: KeyObject;
    readonly id: string;
  },
): { readonly record: Authority; readonly certificate: ParsedCertificate } {
  const spkiDer = spkiOf(key);
  const [notBefore, notAfter] = [clock.now() - day, clock.now() + 40 * day];
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
  return {
    certificate,
    record: {
      id: uuidv7(clock.nowMs()),
      kind,
      state: 'active',
      version: 3,
      keyType: 'ec-p256',
      token: kind === 'root' ? 'root' : 'issuing',
      ckaId: 'ab'.repeat(16),
      parentId: issuer?.id ?? null,
      scope: {},
      spkiDer,
      certificateDer,
      subjectKeyId: certificate.subjectKeyId ?? null,
      notBefore,
      notAfter,
      createdAt: clock.now(),
      activatedAt: clock.now(),
      taintedAt: null,
    },
  };
}

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function world() {
  const clock = new FakeClock();
  const keys = { root: newKey(), issuing: newKey() };
  const root = authority(clock, 'root', keys.root);
  const issuing = authority(clock, 'issuing', keys.issuing, {
    certificate: root.certificate,
    key: keys.root,
    id: root.record.id,
  });
  const intents: Intent[] = [];
  const finished: FinishItem[] = [];
  const token = { failing: false, opened: 0, closed: 0 };
  const ending: { code?: 'ENTRY_CHANGED' } = {};
  const dependencies = {
    authorities: { list: () => Promise.resolve([root.record, issuing.record]) },
    issuance: {
      recordIntents: (items: readonly Intent[]) => {
        intents.push(...items);
        return Promise.resolve();
      },
      finish: (items: readonly FinishItem[]) => {
        finished.push(...items);
        return Promise.resolve(
          items.map(() =>
            ending.code === undefined
              ? { state: 'issued' as const }
              : { state: 'withheld' as const, code: ending.code, message: 'changed' },
          ),
        );
      },
      findRequest: () => Promise.resolve(undefined),
    },
    openToken: () => {
      token.opened += 1;
      return Promise.resolve({
        sign: (_: object, bytes: Buffer) =>
          token.failing
            ? Promise.reject(new PkiError('HSM_UNAVAILABLE', 'away'))
            : Promise.resolve(sign('sha256', bytes, keys.root)),
        close: () => {
          token.closed += 1;
          return Promise.resolve();
        },
      } as unknown as TokenAdmin);
    },
    trustDomain,
    clockSkewSeconds: 300,
    clock,
    random: systemRandom,
  };
  const grant: DownstreamGrant = {
    entryId: 'e1',
    holder: 'spiffe://mesh.test/meshca/agent/n1',
    rights: { entry: { id: 'e1', revision: 4 } },
    maximumLifeSeconds: 7 * day,
    ownKeySha256: 'cd'.repeat(32),
    repeatable: () => true,
    reason: { entry: 'e1' },
  };
  const ask = (csrKey: KeyObject, over: Partial<DownstreamRequest> = {}) =>
    signDownstream(
      {
        actor: 'spiffe://mesh.test/nested',
        requestId: uuidv7(clock.nowMs()),
        csrDer: createCsr(csrKey),
        grant,
        ...over,
      },
      dependencies,
    );
  return { clock, keys, intents, finished, token, ending, grant, ask };
}

test('the key of any authority here certifies nobody, and no token is opened for it', async () => {
  const { keys, ask, intents, token } = world();
  for (const key of [keys.root, keys.issuing])
    await assert.rejects(ask(key), { code: 'KEY_RESERVED' });
  assert.deepEqual([intents.length, token.opened], [0, 0]);
});

test('neither does the key of the SVID that asks', async () => {
  const { grant, ask } = world();
  const key = newKey();
  await assert.rejects(ask(key, { grant: { ...grant, ownKeySha256: sha256Hex(spkiOf(key)) } }), {
    code: 'KEY_RESERVED',
  });
});

test('the rights of the grant go into the transaction that releases, together with who signed', async () => {
  const { ask, finished, intents, grant } = world();
  const made = await ask(newKey());
  const [item] = finished;
  assert.ok(item?.kind === 'signed');
  assert.deepEqual(item.rights, { ...grant.rights, authorityId: made.authorityId });
  assert.deepEqual(
    [intents[0]?.entryId, intents[0]?.holder, intents[0]?.kind],
    ['e1', grant.holder, 'authority'],
  );
});

test('a right that ended while the token signed keeps the certificate back, with the code that says which', async () => {
  const { ask, finished, ending } = world();
  ending.code = 'ENTRY_CHANGED';
  await assert.rejects(ask(newKey()), { code: 'ENTRY_CHANGED' });
  assert.equal(finished.length, 1);
});

test('what the token did not sign ends as abandoned at once, and the token is closed', async () => {
  const { ask, finished, intents, token } = world();
  token.failing = true;
  await assert.rejects(ask(newKey()), { code: 'HSM_UNAVAILABLE' });
  assert.deepEqual(
    finished.map((item) => [item.kind, item.serial]),
    [['abandoned', intents[0]?.serial]],
  );
  assert.equal(token.closed, token.opened);
});

test('without a wish it lives as long as allowed, and never longer than what is above it; a wish beyond is refused and never cut', async () => {
  const { clock, ask, grant } = world();
  assert.equal((await ask(newKey())).notAfter, clock.now() + 7 * day);
  assert.equal(
    (await ask(newKey(), { grant: { ...grant, maximumLifeSeconds: 80 * day } })).notAfter,
    clock.now() + 40 * day,
  );
  await assert.rejects(ask(newKey(), { lifeSeconds: 7 * day + 1 }), { code: 'TTL_OUT_OF_RANGE' });
  await assert.rejects(
    ask(newKey(), { grant: { ...grant, maximumLifeSeconds: 80 * day }, lifeSeconds: 41 * day }),
    { code: 'ISSUER_LIFETIME' },
  );
});
