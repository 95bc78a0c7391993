import assert from 'node:assert/strict';
import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readFile,
  realpath,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { unwrap, type Result } from '../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import { certificatesToPem, pemEncode } from '../../../../src/common/x509/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import type { SetContent, StoredSet } from '../../../../sidecar/files/certificate-set.ts';
import { fileOperations } from '../../../../sidecar/files/file-operations.ts';
import {
  checkSet,
  type SetExpectation,
  type WantedIdentity,
} from '../../../../sidecar/files/offline-check.ts';
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
  setSpiffeId,
} from '../../../support/certificate-sets.ts';
import { createIntermediate, createRoot, serverAuth } from '../../../support/test-pki.ts';

const isRoot = process.getuid?.() === 0;
const issuer = setIssuer();
const dependencies = { files: fileOperations, user: effectiveUser() };
const password = 'a password';

interface World {
  readonly sets: TargetSets;
  readonly write: (content: SetContent) => Promise<StoredSet>;
  readonly check: (
    set: StoredSet,
    content: SetContent,
    over?: Partial<SetExpectation>,
  ) => Promise<Result<void>>;
}

async function worldOf(
  context: TestContext,
  federated: Readonly<Record<string, string>> = {},
): Promise<World> {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-check-')));
  context.after(() => rm(parent, { recursive: true, force: true }));
  const directory = join(parent, 'target');
  await mkdir(directory);
  const passwordFile = join(parent, 'password');
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  const layout = {
    ...{ ...plainLayout, federated },
    pkcs12: { name: 'web.p12', passwordFile, alias: 'web' },
  };
  const target = { directory, layout, permissions: plainPermissions };
  const sets = new TargetSets(target, dependencies);
  return {
    sets,
    write: async (content) => unwrap(await sets.write(content)),
    check: (set, content, over = {}) =>
      checkSet(
        {
          target: { ...target, spiffeId: undefined, keyType: 'ec-p256' },
          set,
          wanted: wantedIdentity(),
          rootsDer: content.rootsDer,
          crlsDer: content.crlsDer,
          federatedDer: content.federatedDer,
          previous: undefined,
          // a minute after the certificate begins, whatever the clock says by then
          now: content.notBefore + 60,
          ...over,
        },
        dependencies,
      ),
  };
}

const wantedIdentity = (over: Partial<Omit<WantedIdentity, 'kind'>> = {}): WantedIdentity => ({
  ...{ kind: 'identity', spiffeId: setSpiffeId, dnsNames: [] },
  ...over,
});

const expectFault = (result: Result<void>, fault: RegExp): void => {
  assert.ok(!result.ok, `${fault} is not found`);
  assert.equal(result.error.code, 'SET_INVALID');
  assert.match(result.error.message, fault);
};

test('a set passes as it was written', async (context) => {
  const { write, check } = await worldOf(context);
  const content = setContent(issuer, { dnsSans: ['web.example.org', 'www.example.org'] });
  const set = await write(content);
  unwrap(await check(set, content, { wanted: wantedIdentity({ dnsNames: ['web.example.org'] }) }));
});

test('a set that was changed on disk is refused with each fault, and a new one passes: SET_INVALID', async (context) => {
  const { write, check } = await worldOf(context);
  const content = setContent(issuer);
  const set = await write(content);
  const other = setContent(issuer);
  const path = (name: string): string => join(set.directory, name);
  await writeFile(path('key.pem'), pemEncode('PRIVATE KEY', other.privateKeyPkcs8Der));
  await chmod(path('combined.pem'), 0o644);
  await writeFile(path('ca.pem'), '');
  const result = await check(set, content);
  assert.ok(!result.ok && result.error.code === 'SET_INVALID');
  assert.match(result.error.message, /the private key in the key file does not fit/);
  assert.match(result.error.message, /combined.pem has mode 0644, not 0600/);
  assert.match(result.error.message, /not hold exactly the roots/);
  assert.equal(result.error.detail['faults'], 3);
  unwrap(await check(await write(content), content));
});

describe('a set on disk is refused where', () => {
  type Change = (set: StoredSet, content: SetContent) => Promise<void>;
  const other = setContent(issuer);
  const foreign = setContent(setIssuer());
  const replace =
    (name: string, text: (content: SetContent) => string): Change =>
    (set, content) =>
      writeFile(join(set.directory, name), text(content));
  const changes: Readonly<Record<string, readonly [Change, RegExp]>> = {
    'the combined file has the key of another': [
      replace(
        'combined.pem',
        ({ chainDer }) =>
          pemEncode('PRIVATE KEY', other.privateKeyPkcs8Der) + certificatesToPem(chainDer),
      ),
      /key in the combined file does not fit/,
    ],
    'the combined file has a blank line': [
      async ({ directory }) => {
        const path = join(directory, 'combined.pem');
        const text = await readFile(path, 'utf8');
        await writeFile(path, text.replace('-----BEGIN CERT', '\n-----BEGIN CERT'));
      },
      /blank line/,
    ],
    'the combined file has another chain than the fullchain file': [
      replace(
        'combined.pem',
        ({ privateKeyPkcs8Der }) =>
          pemEncode('PRIVATE KEY', privateKeyPkcs8Der) + certificatesToPem(other.chainDer),
      ),
      /combined and fullchain hold other certificates/,
    ],
    'a file has no key': [replace('key.pem', () => ''), /holds 0 private keys/],
    'the key lies in a certificate file too': [
      replace(
        'fullchain.pem',
        ({ chainDer, privateKeyPkcs8Der }) =>
          certificatesToPem(chainDer) + pemEncode('PRIVATE KEY', privateKeyPkcs8Der),
      ),
      /the fullchain file holds 1 private keys/,
    ],
    'the chain is that of another issuer': [
      replace('fullchain.pem', () => certificatesToPem(foreign.chainDer)),
      /does not hold: CHAIN_UNTRUSTED/,
    ],
    'the issuer is missing': [
      replace('fullchain.pem', ({ chainDer }) => certificatesToPem(chainDer.slice(0, 1))),
      /does not hold: CHAIN_UNTRUSTED/,
    ],
    'the cert file has another leaf than the chain': [
      replace('cert.pem', () => certificatesToPem(other.chainDer.slice(0, 1))),
      /holds another leaf/,
    ],
    'the whole pair is another one': [
      async (set, content) => {
        const pem = certificatesToPem(other.chainDer);
        const key = pemEncode('PRIVATE KEY', other.privateKeyPkcs8Der);
        await replace('fullchain.pem', () => pem)(set, content);
        await replace('key.pem', () => key)(set, content);
      },
      /another one than the set names/,
    ],
    'the roots are more than those of the bundle': [
      replace('ca.pem', ({ rootsDer }) => certificatesToPem([...rootsDer, ...foreign.rootsDer])),
      /not hold exactly the roots/,
    ],
    'a file is no PEM': [
      replace('chain.pem', () => '-----BEGIN CERTIFICATE-----'),
      /the chain file is no PEM/,
    ],
    'the key store is damaged': [replace('web.p12', () => 'x'), /pkcs12 file can not be opened/],
    'a file is gone': [
      ({ directory }) => rm(join(directory, 'chain.pem')),
      /chain.pem can not be read/,
    ],
    'a file is a link': [
      async ({ directory }) => {
        await rm(join(directory, 'ca.pem'));
        await symlink('fullchain.pem', join(directory, 'ca.pem'));
      },
      /ca.pem can not be read \(ELOOP\)/,
    ],
    'something else lies in it': [
      replace('notes.txt', () => ''),
      /notes.txt does not belong to the set/,
    ],
    'everybody may read the key': [
      ({ directory }) => chmod(join(directory, 'key.pem'), 0o604),
      /key.pem has mode 0604, not 0600/,
    ],
    'everybody may enter the directory': [
      ({ directory }) => chmod(directory, 0o755),
      /the directory has mode 0755, not 0750/,
    ],
    ...(isRoot
      ? {
          'the key belongs to a stranger': [
            ({ directory }: StoredSet) => chown(join(directory, 'key.pem'), 23_456, 0),
            /key.pem belongs to user 23456/,
          ] as const,
        }
      : {}),
  };
  for (const [name, [change, fault]] of Object.entries(changes))
    test(name, async (context) => {
      const { write, check } = await worldOf(context);
      const content = setContent(issuer);
      const set = await write(content);
      await change(set, content);
      expectFault(await check(set, content), fault);
    });
});

test('all CRLs must be there, and no others', async (context) => {
  const { write, check } = await worldOf(context);
  // a set does not look into them
  const crlsDer = [Buffer.from('3000', 'hex'), Buffer.from('30020500', 'hex')];
  const content = { ...setContent(issuer), crlsDer };
  const set = await write(content);
  unwrap(await check(set, content));
  const fault = /not hold the CRLs/;
  expectFault(await check(set, content, { crlsDer: crlsDer.slice(1) }), fault);
  expectFault(await check(set, content, { crlsDer: [] }), fault);
  await rm(join(set.directory, 'crl.pem'));
  expectFault(await check(set, content), /the crl file is missing/);
  unwrap(await check(set, content, { crlsDer: [] }));
});

test('the file of a foreign trust domain holds exactly its roots', async (context) => {
  const { write, check } = await worldOf(context, { 'b.test': 'partner.pem' });
  const [foreign, other] = [createRoot('b.test'), createRoot('b.test')];
  const federatedOf = (root: typeof foreign) => new Map([['b.test', [root.certificateDer]]]);
  const content = { ...setContent(issuer), federatedDer: federatedOf(foreign) };
  const set = await write(content);
  unwrap(await check(set, content));
  const fault = /the file of b\.test does not hold exactly its roots/;
  expectFault(await check(set, content, { federatedDer: federatedOf(other) }), fault);
  await rm(join(set.directory, 'partner.pem'));
  expectFault(await check(set, content), fault);
});

test('a set that another one stands in the place of is refused by its serial', async (context) => {
  const { write, check } = await worldOf(context);
  const content = setContent(issuer);
  const set = await write(content);
  const serial = 'aa'.repeat(16);
  expectFault(await check({ ...set, serial }, content), /the certificate has serial/);
});

test('a set for names has exactly these names and the roots of names, and keeps both beside its files', async (context) => {
  const { sets, write, check } = await worldOf(context);
  const root = createRoot('td', { uriSans: [], subject: 'names root' });
  const ofNames = createIntermediate(root, 'td', { uriSans: [], subject: 'names issuer' });
  const forNames = { names: ['www.shop.test'], roots: [root.certificateDer.toString('base64')] };
  const leaf = { uriSans: [], dnsSans: ['www.shop.test'], extendedKeyUsage: [serverAuth] };
  const content = { ...setContent({ root, issuer: ofNames }, leaf), forNames };
  const set = await write(content);
  const wanted = (...dnsNames: readonly string[]): Partial<SetExpectation> => ({
    wanted: { kind: 'names', dnsNames, ips: [] },
  });
  unwrap(await check(set, content, wanted('www.shop.test')));
  assert.deepEqual((await sets.list())[0]?.forNames, forNames);
  expectFault(await check(set, content, wanted()), /has the name www\.shop\.test/);
  expectFault(await check(set, content, wanted('www.shop.test', 'a.test')), /lacks the name a/);
  expectFault(await check(set, content), /is not for spiffe:/);
  const mesh = { ...wanted('www.shop.test'), rootsDer: [issuer.root.certificateDer] };
  expectFault(await check(set, content, mesh), /does not hold exactly the roots of names/);
  const identity = await write(setContent(issuer));
  expectFault(await check(identity, setContent(issuer), wanted('www.shop.test')), /has the URI/);
});

describe('a set is refused by what it is', () => {
  const cases: Readonly<
    Record<string, readonly [Partial<SetExpectation>, Parameters<typeof setContent>[1], RegExp]>
  > = {
    'for another SPIFFE ID': [
      { wanted: wantedIdentity({ spiffeId: SpiffeId.of('spiffe://td/other') }) },
      {},
      /is not for spiffe:\/\/td\/other/,
    ],
    'without a DNS name of the entry': [
      { wanted: wantedIdentity({ dnsNames: ['web.example.org'] }) },
      { dnsSans: ['www.example.org'] },
      /lacks the name web.example.org/,
    ],
    'that has expired': [{}, { notBeforeIn: -100, notAfterIn: -50 }, /CERTIFICATE_EXPIRED/],
    'for clients alone': [{}, { extendedKeyUsage: ['1.3.6.1.5.5.7.3.2'] }, /serverAuth/],
    'that is a CA': [{}, { isCa: true }, /is a CA/],
  };
  for (const [name, [over, options, fault]] of Object.entries(cases))
    test(name, async (context) => {
      const { write, check } = await worldOf(context);
      const content = setContent(issuer, options);
      expectFault(await check(await write(content), content, over), fault);
    });

  test('that is not valid yet', async (context) => {
    const { write, check } = await worldOf(context);
    const content = setContent(issuer);
    const result = await check(await write(content), content, { now: content.notBefore - 1 });
    expectFault(result, /CERTIFICATE_NOT_YET_VALID/);
  });

  test('with another type of key than the target wants', async (context) => {
    const { write, check } = await worldOf(context);
    const content = setContent(issuer);
    const target = {
      spiffeId: undefined,
      keyType: 'rsa-2048' as const,
      layout: plainLayout,
      permissions: plainPermissions,
    };
    const result = await check(await write(content), content, { target });
    expectFault(result, /the key is ec-p256, the target wants rsa-2048/);
  });

  test('that ends no later than what is served, unless an operator wants it', async (context) => {
    const { write, check } = await worldOf(context);
    const [long, short] = [
      setContent(issuer, { notAfterIn: 900 }),
      setContent(issuer, { notAfterIn: 300 }),
    ];
    const previous = await write(long);
    const set = await write(short);
    const fault = /ends at .* not after that of 1-/;
    expectFault(await check(set, short, { previous }), fault);
    const { notAfter } = set;
    expectFault(await check(set, short, { previous: { ...previous, notAfter } }), fault);
    unwrap(await check(set, short, { previous: { ...previous, notAfter: notAfter - 1 } }));
    unwrap(await check(set, short));
    unwrap(await check(previous, long, { previous: set }));
  });
});
