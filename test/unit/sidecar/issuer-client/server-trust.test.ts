import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { exportJWK, generateKeyPair, CompactSign, type CryptoKey } from 'jose';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { parseCertificate, setDigest, sha256Hex } from '../../../../src/common/x509/index.ts';
import {
  BundleStore,
  IssuerChains,
  parseBundleDocument,
} from '../../../../sidecar/bundle/index.ts';
import { connectCatchingUp } from '../../../../sidecar/compose/catch-up.ts';
import type { IssuerConnection } from '../../../../sidecar/issuer-client/index.ts';
import { createIntermediate, createRoot, type TestAuthority } from '../../../support/test-pki.ts';

const td = 'td.test';
const issuerKey = 'ab'.repeat(32);
const root = createRoot(td);
const other = createRoot(td);

interface Signer {
  readonly kid: string;
  readonly privateKey: CryptoKey;
  readonly jwk: object;
}
async function signer(kid: string): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
  return { kid, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, use: 'jwt-svid' } };
}
const documentOf = (
  sequence: number,
  roots: readonly TestAuthority[],
  jwks: readonly Signer[],
  issuers: readonly string[] | null = [issuerKey],
): string =>
  JSON.stringify({
    spiffe_sequence: sequence,
    ...(issuers === null ? {} : { meshca_issuers: issuers }),
    keys: [
      ...roots.map(({ certificateDer }) => ({
        kty: 'EC',
        use: 'x509-svid',
        x5c: [certificateDer.toString('base64')],
      })),
      ...jwks.map(({ jwk }) => jwk),
    ],
  });
const step = async (sequence: number, document: string, by: Signer) => ({
  sequence,
  jws: await new CompactSign(Buffer.from(document))
    .setProtectedHeader({ alg: 'ES256', kid: by.kid, typ: 'meshca-bundle+jws' })
    .sign(by.privateKey),
});

async function holding(
  sequence: number,
  roots: readonly TestAuthority[],
  by: Signer,
): Promise<BundleStore> {
  const bundles = new BundleStore(TrustDomain.of(td), silentLogger, {
    own: async () => true,
    federated: async () => true,
  });
  const document = parseBundleDocument(documentOf(sequence, roots, [by]));
  assert.ok(document.ok);
  bundles.restore(document.value);
  return bundles;
}

suite('an agent that can not verify the server', () => {
  const untrusted = new PkiError('SERVER_UNTRUSTED', 'another root');
  /** A server under `other`: it can be opened only when that root is held. */
  const attempt = (
    bundles: BundleStore,
    steps: readonly { readonly sequence: number; readonly jws: string }[],
  ) => {
    const asked: number[] = [];
    const connection = {
      fetchBundleSteps: async ({ sequence }: { sequence: number }) => {
        asked.push(sequence);
        return { steps };
      },
      close: () => {},
    } as unknown as IssuerConnection;
    const open = async (): Promise<IssuerConnection> => {
      if (bundles.roots().some((der) => der.equals(other.certificateDer))) return connection;
      throw untrusted;
    };
    const code = connectCatchingUp(
      open,
      { bundles, connectUnverified: async () => connection, logger: silentLogger },
      new AbortController().signal,
    ).then(
      () => 'connected',
      (error: PkiError) => error.code,
    );
    return { code, asked };
  };

  test('walks the steps that it missed, each signed under the one before, and connects', async () => {
    const [first, second] = [await signer('a'), await signer('b')];
    const bundles = await holding(3, [root], first);
    const { code, asked } = attempt(bundles, [
      await step(4, documentOf(4, [root, other], [first, second]), first),
      await step(5, documentOf(5, [other], [second]), second),
    ]);
    assert.equal(await code, 'connected');
    assert.deepEqual([asked, bundles.current()?.sequence], [[3], 5]);
  });

  test('believes no step that is unsigned, signed by a stranger, for another place, or from the past', async () => {
    const [first, stranger] = [await signer('a'), await signer('z')];
    for (const steps of [
      [],
      [await step(4, documentOf(4, [other], [stranger]), stranger)],
      [{ ...(await step(4, documentOf(4, [other], [first]), stranger)) }],
      [{ ...(await step(5, documentOf(5, [other], [first]), first)), sequence: 4 }],
      [await step(2, documentOf(2, [other], [first]), first)],
      [await step(5, documentOf(5, [other], [stranger]), stranger)],
    ]) {
      const bundles = await holding(3, [root], first);
      assert.equal(await attempt(bundles, steps).code, 'SERVER_UNTRUSTED');
      assert.deepEqual([bundles.current()?.sequence, bundles.roots().length], [3, 1]);
    }
  });
});

suite('the issuing authorities of the server', () => {
  test('are known from a signed step on, which must name them', async () => {
    const by = await signer('a');
    const bundles = await holding(3, [root], by);
    assert.deepEqual([...(bundles.issuersSha256() ?? [])], [issuerKey]);
    await assert.rejects(bundles.advance([await step(4, documentOf(4, [root], [by], null), by)]), {
      code: 'BUNDLE_INVALID',
    });
    const next = 'cd'.repeat(32);
    await bundles.advance([await step(4, documentOf(4, [root], [by], [next]), by)]);
    assert.deepEqual([...(bundles.issuersSha256() ?? [])], [next]);
    await bundles.advance([await step(5, documentOf(5, [root], [by], []), by)]);
    assert.equal(bundles.issuersSha256()?.size, 0);
  });

  test('are taken from the step of the same sequence when the bundle came from a file', async () => {
    const by = await signer('a');
    const bundles = new BundleStore(TrustDomain.of(td), silentLogger, {
      own: async () => true,
      federated: async () => true,
    });
    const file = parseBundleDocument(documentOf(3, [root], [by], null));
    assert.ok(file.ok);
    bundles.restore(file.value);
    assert.deepEqual([bundles.issuersSha256(), bundles.stepSequence()], [undefined, 2]);
    await bundles.advance([await step(3, documentOf(3, [root], [by]), by)]);
    assert.deepEqual([bundles.issuersSha256()?.size, bundles.stepSequence()], [1, 3]);
    await bundles.advance([await step(3, documentOf(3, [root], [by], []), by)]);
    assert.equal(bundles.issuersSha256()?.size, 1);
  });
});

suite('published issuing authorities', () => {
  const chains = (
    roots: { der: readonly Buffer[] },
    named: (chainDer: readonly Buffer[]) => boolean = () => true,
  ): IssuerChains => {
    const keys = new Set<string>();
    const made = new IssuerChains(
      { roots: () => roots.der, issuersSha256: () => keys },
      systemClock,
      silentLogger,
    );
    const set = made.set.bind(made);
    made.set = (chainsSet) => {
      for (const { chainDer } of chainsSet) {
        const issuing = chainDer[0] === undefined ? undefined : parseCertificate(chainDer[0]);
        if (issuing?.ok === true && named(chainDer)) keys.add(sha256Hex(issuing.value.spkiDer));
      }
      set(chainsSet);
    };
    return made;
  };
  const good = createIntermediate(root, td);
  const published = (authorityId: string, ...chainDer: Buffer[]) => ({ authorityId, chainDer });

  test('count when they verify under the roots that are held, and again when those change', () => {
    const roots = { der: [root.certificateDer] };
    const held = chains(roots);
    const foreign = createIntermediate(other, td);
    held.set([published('1', good.certificateDer), published('2', foreign.certificateDer)]);
    assert.deepEqual(
      held.verified().map(({ authorityId }) => authorityId),
      ['1'],
    );
    assert.deepEqual(held.digest(), setDigest([good.certificateDer]));
    roots.der = [root.certificateDer, other.certificateDer];
    held.recheck();
    assert.deepEqual(held.digest(), setDigest([foreign.certificateDer, good.certificateDer]));
    held.set([]);
    assert.equal(held.digest(), undefined);
  });

  test('do not count while the signed step does not name their key', () => {
    const held = chains({ der: [root.certificateDer] }, () => false);
    held.set([published('1', good.certificateDer)]);
    assert.equal(held.digest(), undefined);
  });

  test('do not count when a leaf below them would not verify', () => {
    const held = chains({ der: [root.certificateDer] });
    const narrow = createRoot(td, { pathLength: 0 });
    const below = createIntermediate(createIntermediate(root, td, { pathLength: 0 }), td);
    held.set([
      published('no CA', createIntermediate(root, td, { isCa: false }).certificateDer),
      published(
        'may not sign',
        createIntermediate(root, td, { keyUsage: ['cRLSign'] }).certificateDer,
      ),
      published('expired', createIntermediate(root, td, { notAfterIn: -1 }).certificateDer),
      published('too deep', ...below.chainDer),
      published('junk', Buffer.from('junk')),
      published('empty'),
    ]);
    assert.deepEqual(held.verified(), []);
    const strict = chains({ der: [narrow.certificateDer] });
    strict.set([published('root allows none', createIntermediate(narrow, td).certificateDer)]);
    assert.deepEqual(strict.verified(), []);
  });
});
