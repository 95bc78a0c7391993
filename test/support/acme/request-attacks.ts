import { createHmac, generateKeyPairSync, sign } from 'node:crypto';
import { order, type Attack, type Scene } from './attack.ts';
import { acmeKey, base64url, jws, signature, type AcmeReply, type FlatJws } from './wire.ts';

/** A new order of Alice, with other members in its protected header, and then altered. */
const altered =
  (header: object, alter: (right: FlatJws, at: Scene) => object | string = (right) => right) =>
  (at: Scene) =>
  async (): Promise<AcmeReply> => {
    const { world, alice } = at;
    const url = world.url('new-order');
    const full = {
      ...{ alg: 'ES256', nonce: await world.wire.nonce(), url, kid: alice.kid },
      ...header,
    };
    return world.wire.send(url, alter(jws(full, order(), alice.key), at));
  };

/** Signs the same header and payload in another way. */
const resigned = (right: FlatJws, sign: (input: string) => Buffer): FlatJws => ({
  ...right,
  signature: base64url(sign(`${right.protected}.${right.payload}`)),
});

/** A new account with this key and these members of the header. */
const withJwk =
  (jwk: object, header: object = {}) =>
  ({ world }: Scene) =>
  (): Promise<AcmeReply> =>
    world.wire.post(world.url('new-account'), {}, { key: acmeKey(), header: { jwk, ...header } });

const weakRsa = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey;
const privateJwk = acmeKey().privateKey.export({ format: 'jwk' });

/** Requests that are no proper JWS, or not signed by whom they name (RFC 8555 section 6). */
export const requestAttacks: readonly Attack[] = [
  [
    'the nonce of a read again',
    400,
    'badNonce',
    async ({ world, alice }) => {
      const body = await alice.signed(alice.kid, undefined);
      await world.wire.send(alice.kid, body);
      return () => world.wire.send(alice.kid, body);
    },
  ],
  [
    'the nonce of an order again',
    400,
    'badNonce',
    async ({ world, alice }) => {
      const url = world.url('new-order');
      const body = await alice.signed(url, order());
      await world.wire.send(url, body);
      return () => world.wire.send(url, body);
    },
  ],
  [
    'the nonce of an order again, after a restart',
    400,
    'badNonce',
    async ({ world, alice }) => {
      const url = world.url('new-order');
      const body = await alice.signed(url, order());
      await world.wire.send(url, body);
      await world.restart();
      return () => world.wire.send(url, body);
    },
  ],
  [
    'a nonce that has expired',
    400,
    'badNonce',
    async ({ world, alice }) => {
      const url = world.url('new-order');
      const body = await alice.signed(url, order());
      world.services.clock.advance(world.nonceSeconds * 1_000);
      return () => world.wire.send(url, body);
    },
  ],
  ['a nonce that nobody issued', 400, 'badNonce', altered({ nonce: base64url(Buffer.alloc(34)) })],
  ['a nonce that is no text', 400, 'badNonce', altered({ nonce: 7 })],
  ['no nonce', 400, 'badNonce', altered({ nonce: undefined })],
  ['the account of somebody else', 400, 'malformed', (at) => altered({ kid: at.mallory.kid })(at)],
  [
    'an account that is not there',
    400,
    'accountDoesNotExist',
    ({ world, alice }) =>
      altered({ kid: world.url('account/00000000-0000-7000-8000-000000000000') })({
        world,
        alice,
        mallory: alice,
      }),
  ],
  [
    'an account of another server',
    400,
    'accountDoesNotExist',
    (at) => altered({ kid: at.alice.kid.replace('127.0.0.1', 'ca.evil.test') })(at),
  ],
  ['an account that is no text', 400, 'malformed', altered({ kid: 7 })],
  ['key and account in one', 400, 'malformed', altered({ jwk: acmeKey().jwk })],
  ['neither key nor account', 400, 'malformed', altered({ kid: undefined })],
  [
    'a key where an account is needed',
    400,
    'malformed',
    (at) => altered({ kid: undefined, jwk: at.alice.key.jwk })(at),
  ],
  [
    'an account where a key is needed',
    400,
    'malformed',
    ({ world, alice }) =>
      () =>
        alice.post(world.url('new-account'), {}),
  ],
  [
    'the URL of another resource',
    403,
    'unauthorized',
    (at) => altered({ url: at.world.url('new-account') })(at),
  ],
  [
    'the URL of another host, which the Host header states too',
    403,
    'unauthorized',
    ({ world, alice }) =>
      async () => {
        const url = world.url('new-order');
        const { host } = new URL(url);
        const body = await alice.signed(url.replace(host, 'ca.evil.test'), order());
        return world.wire.send(url, body, { host: 'ca.evil.test' });
      },
  ],
  ['no URL', 400, 'malformed', altered({ url: undefined })],
  [
    'a detached payload',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, payload: undefined })),
  ],
  ['a payload that is not encoded (b64)', 400, 'malformed', altered({ b64: false, crit: ['b64'] })],
  ['a critical extension', 400, 'malformed', altered({ crit: ['exp'], exp: 1 })],
  [
    'a padded payload',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, payload: `${right.payload}=` })),
  ],
  [
    'a padded signature',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, signature: `${right.signature}==` })),
  ],
  [
    'a padded header',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, protected: `${right.protected}=` })),
  ],
  [
    'base64 where base64url is needed',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, signature: `+/${right.signature.slice(2)}` })),
  ],
  [
    'more bytes than a request has',
    413,
    'malformed',
    altered({}, (right) => ({ ...right, more: 'a'.repeat(70_000) })),
  ],
  [
    'a MAC with the public key of the account',
    400,
    'badSignatureAlgorithm',
    altered({ alg: 'HS256' }, (right, { alice }) =>
      resigned(right, (input) =>
        createHmac('sha256', JSON.stringify(alice.key.jwk)).update(input).digest(),
      ),
    ),
  ],
  ['the algorithm none', 400, 'badSignatureAlgorithm', altered({ alg: 'none' })],
  [
    'the algorithm none, and no signature',
    400,
    'malformed',
    altered({ alg: 'none' }, (right) => ({ ...right, signature: '' })),
  ],
  ['an algorithm that is no text', 400, 'badSignatureAlgorithm', altered({ alg: ['ES256'] })],
  ['RS256 with the EC key of an account', 400, 'malformed', altered({ alg: 'RS256' })],
  ['ES384 with a key of P-256', 400, 'malformed', altered({ alg: 'ES384' })],
  ['RS256 with a new EC key', 400, 'badPublicKey', withJwk(acmeKey().jwk, { alg: 'RS256' })],
  ['a private key', 400, 'badPublicKey', withJwk(privateJwk)],
  ['a symmetric key', 400, 'badPublicKey', withJwk({ kty: 'oct', k: base64url(Buffer.alloc(32)) })],
  [
    'an RSA key of 1024 bits',
    400,
    'badPublicKey',
    withJwk(weakRsa.export({ format: 'jwk' }), { alg: 'RS256' }),
  ],
  [
    'a point that is not on the curve',
    400,
    'badPublicKey',
    withJwk({ ...acmeKey().jwk, y: base64url(Buffer.alloc(32, 1)) }),
  ],
  [
    'the key of somebody else, signed by another one',
    400,
    'malformed',
    (at) => withJwk(at.alice.key.jwk)(at),
  ],
  [
    'an unprotected header',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, header: { kid: 'x' } })),
  ],
  [
    'several signatures',
    400,
    'malformed',
    altered({}, ({ payload, ...one }) => ({ payload, signatures: [one, one] })),
  ],
  [
    'compact serialization',
    400,
    'malformed',
    altered({}, (right) => Object.values(right).join('.')),
  ],
  ['an empty signature', 400, 'malformed', altered({}, (right) => ({ ...right, signature: '' }))],
  [
    'a signature in DER',
    400,
    'malformed',
    altered({}, (right, { alice }) =>
      resigned(right, (input) => sign('sha256', Buffer.from(input), alice.key.privateKey)),
    ),
  ],
  [
    'the signature of another payload',
    400,
    'malformed',
    altered({}, (right) => ({ ...right, payload: base64url(order('evil.shop.test')) })),
  ],
  [
    'the signature of another key',
    400,
    'malformed',
    altered({}, (right) => ({
      ...right,
      signature: signature(`${right.protected}.${right.payload}`, acmeKey()),
    })),
  ],
  ['no JSON', 400, 'malformed', altered({}, () => '{"protected":')],
  ['an array', 400, 'malformed', altered({}, (right) => [right])],
  [
    'another media type',
    415,
    'malformed',
    ({ world, alice }) =>
      async () => {
        const url = world.url('new-order');
        const body = await alice.signed(url, order());
        return world.wire.send(url, body, { 'content-type': 'application/json' });
      },
  ],
  [
    'GET of an account',
    405,
    'malformed',
    ({ world, alice }) =>
      () =>
        world.wire.ask('GET', alice.kid),
  ],
  [
    'GET of a certificate',
    405,
    'malformed',
    async ({ world, alice }) => {
      const { serial } = await alice.certificate();
      return () => world.wire.ask('GET', world.url(`cert/${serial}`));
    },
  ],
  [
    'PUT of an order',
    405,
    'malformed',
    ({ world }) =>
      () =>
        world.wire.ask('PUT', world.url('new-order')),
  ],
  [
    'a payload where there must be none',
    400,
    'malformed',
    async ({ alice }) => {
      const made = await alice.order();
      return () => alice.post(made, {});
    },
  ],
  [
    'a payload that is no object',
    400,
    'malformed',
    ({ world, alice }) =>
      () =>
        alice.post(world.url('new-order'), '[]'),
  ],
];
