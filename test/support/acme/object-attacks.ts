import { oid, sequence, octetString } from '../../../src/common/x509/der-writer.ts';
import { sha256Hex, spkiOf } from '../../../src/common/x509/index.ts';
import { local, newKey } from '../services-world.ts';
import { csr, order, plainCsr, www, type Attack, type Scene } from './attack.ts';
import { base64url, type AcmeReply } from './wire.ts';
import type { StatedCsr } from '../csr.ts';

type Part = (orderUrl: string) => string;
const itself: Part = (url) => url;
const place: Part = (url) => `${url.replace('/order/', '/authz/')}/0`;
const challenge: Part = (url) => `${url.replace('/order/', '/chall/')}/0/http-01`;

/** Mallory posts to a part of an order of Alice. */
const ofAlice =
  (part: Part, payload: object | undefined) =>
  async ({ alice, mallory }: Scene) => {
    const url = part(await alice.order());
    return (): Promise<AcmeReply> => mallory.post(url, payload);
  };

/** Alice finalizes her order for `www.shop.test` with another CSR. */
const withCsr =
  (stated: StatedCsr, key = newKey()) =>
  async ({ alice }: Scene) => {
    const url = await alice.order();
    return (): Promise<AcmeReply> => alice.post(`${url}/finalize`, csr(stated, key));
  };

const ordered =
  (body: object) =>
  ({ world, alice }: Scene) =>
  (): Promise<AcmeReply> =>
    alice.post(world.url('new-order'), body);

const mustStaple = sequence(
  oid('1.3.6.1.5.5.7.1.24'),
  octetString(Buffer.from('3003020105', 'hex')),
);

const revocation = (certificate: Buffer, reason?: number) => ({
  certificate: base64url(certificate),
  reason,
});

/** What belongs to another account, CSRs that differ from their order, and names that are not granted. */
export const objectAttacks: readonly Attack[] = [
  ['the order of another account', 404, 'malformed', ofAlice(itself, undefined)],
  ['finalizing it', 404, 'malformed', ofAlice((url) => `${url}/finalize`, plainCsr)],
  ['the authorization of another account', 404, 'malformed', ofAlice(place, undefined)],
  ['deactivating it', 404, 'malformed', ofAlice(place, { status: 'deactivated' })],
  ['the challenge of another account', 404, 'malformed', ofAlice(challenge, {})],
  [
    'the certificate of another account',
    404,
    'malformed',
    async ({ world, alice, mallory }) => {
      const { serial } = await alice.certificate();
      return () => mallory.post(world.url(`cert/${serial}`), undefined);
    },
  ],
  [
    'the orders of another account',
    403,
    'unauthorized',
    ({ alice, mallory }) =>
      () =>
        mallory.post(`${alice.kid}/orders`, undefined),
  ],
  [
    'the contacts of another account',
    403,
    'unauthorized',
    ({ alice, mallory }) =>
      () =>
        mallory.post(alice.kid, { contact: ['mailto:mallory@evil.test'] }),
  ],
  [
    'deactivating another account',
    403,
    'unauthorized',
    ({ alice, mallory }) =>
      () =>
        mallory.post(alice.kid, { status: 'deactivated' }),
  ],
  [
    'an order that is not there',
    404,
    'malformed',
    ({ world, alice }) =>
      () =>
        alice.post(world.url('order/00000000-0000-7000-8000-000000000000'), undefined),
  ],
  [
    'an authorization that the order has not',
    404,
    'malformed',
    async ({ alice }) => {
      const url = await alice.order();
      return () => alice.post(`${place(url).slice(0, -1)}1`, undefined);
    },
  ],
  [
    'the key of the own account in the CSR',
    400,
    'badCSR',
    (at) => withCsr(www, at.alice.key.privateKey)(at),
  ],
  [
    'the key of another account in the CSR',
    400,
    'badCSR',
    (at) => withCsr(www, at.mallory.key.privateKey)(at),
  ],
  [
    'a blocked key in the CSR',
    400,
    'badCSR',
    async (at) => {
      const key = newKey();
      const named = { publicKeySha256: sha256Hex(spkiOf(key)) };
      await at.world.services.services.keys.block(local, named, 'stolen');
      return withCsr(www, key)(at);
    },
  ],
  [
    'a CSR with one more name',
    400,
    'badCSR',
    withCsr({ dnsSans: ['www.shop.test', 'evil.shop.test'] }),
  ],
  ['a CSR with another name', 400, 'badCSR', withCsr({ dnsSans: ['evil.shop.test'] })],
  ['a CSR without the name', 400, 'badCSR', withCsr({})],
  ['a CSR with another common name', 400, 'badCSR', withCsr({ ...www, commonName: 'evil.test' })],
  ['a CSR with a SPIFFE ID', 400, 'badCSR', withCsr({ ...www, uriSans: ['spiffe://mesh.test/a'] })],
  ['a CSR with an e-mail address', 400, 'badCSR', withCsr({ ...www, emails: ['a@shop.test'] })],
  ['a CSR with an IP address', 400, 'badCSR', withCsr({ ...www, ips: ['192.0.2.7'] })],
  ['a CSR with must-staple', 400, 'badCSR', withCsr({ ...www, extensions: [mustStaple] })],
  [
    'no CSR at all',
    400,
    'badCSR',
    async ({ alice }) => {
      const url = await alice.order();
      return () => alice.post(`${url}/finalize`, { csr: base64url('csr') });
    },
  ],
  [
    'another CSR for an order that has its certificate',
    403,
    'orderNotReady',
    async ({ alice }) => {
      const { orderUrl } = await alice.certificate();
      return () => alice.post(`${orderUrl}/finalize`, csr(www));
    },
  ],
  [
    'an order whose authorization was deactivated',
    403,
    'orderNotReady',
    async ({ alice }) => {
      const url = await alice.order();
      await alice.post(place(url), { status: 'deactivated' });
      return () => alice.post(`${url}/finalize`, csr(www));
    },
  ],
  [
    'an order that has expired',
    403,
    'orderNotReady',
    async ({ world, alice }) => {
      const url = await alice.order();
      world.services.clock.advance((world.orderSeconds + 1) * 1_000);
      return () => alice.post(`${url}/finalize`, csr(www));
    },
  ],
  [
    'an order whose name was not shown',
    403,
    'orderNotReady',
    async ({ world }) => {
      const client = await world.account({ eab: await world.eabKey({ proof: 'challenge' }) });
      const url = await client.order();
      return () => client.post(`${url}/finalize`, csr(www));
    },
  ],
  ['a name of nobody', 403, 'rejectedIdentifier', ordered(order('www.other.test'))],
  ['a name that ends alike', 403, 'rejectedIdentifier', ordered(order('a.evilshop.test'))],
  ['a name deeper than granted', 403, 'rejectedIdentifier', ordered(order('a.b.shop.test'))],
  ['a wildcard without its grant', 403, 'rejectedIdentifier', ordered(order('*.shop.test'))],
  ['a wildcard of a top-level domain', 403, 'rejectedIdentifier', ordered(order('*.test'))],
  ['a wildcard in the middle', 400, 'malformed', ordered(order('a.*.shop.test'))],
  ['one good name and one bad', 403, 'rejectedIdentifier', ordered(order('a.shop.test', 'b.test'))],
  ['a name with a NUL', 400, 'malformed', ordered(order('www.shop.test\0.evil.test'))],
  ['a name with a dot at its end', 400, 'malformed', ordered(order('www.shop.test.'))],
  [
    'an address that is not granted',
    403,
    'rejectedIdentifier',
    ordered({ identifiers: [{ type: 'ip', value: '192.0.2.7' }] }),
  ],
  [
    'an identifier of another type',
    400,
    'unsupportedIdentifier',
    ordered({ identifiers: [{ type: 'email', value: 'a@shop.test' }] }),
  ],
  ['no identifier', 400, 'malformed', ordered({ identifiers: [] })],
  [
    'a life of its own',
    400,
    'malformed',
    ordered({ ...order(), notAfter: '2099-01-01T00:00:00Z' }),
  ],
  [
    'a profile that is not granted',
    400,
    'invalidProfile',
    ordered({ ...order(), profile: 'classic' }),
  ],
  [
    'a certificate to replace that is none',
    400,
    'malformed',
    ordered({ ...order(), replaces: 'a.b' }),
  ],
  [
    'the certificate of another account to replace',
    400,
    'malformed',
    async ({ world, alice, mallory }) => {
      const { ariId } = await alice.certificate();
      return () => mallory.post(world.url('new-order'), { ...order(), replaces: ariId });
    },
  ],
  [
    'a certificate to replace without a common name',
    400,
    'malformed',
    async ({ world, alice }) => {
      const { ariId } = await alice.certificate();
      return () => alice.post(world.url('new-order'), { ...order('b.shop.test'), replaces: ariId });
    },
  ],
  [
    'a certificate that is replaced already',
    409,
    'alreadyReplaced',
    async ({ world, alice }) => {
      const { ariId } = await alice.certificate();
      const body = { ...order(), replaces: ariId };
      await alice.post(world.url('new-order'), body);
      return () => alice.post(world.url('new-order'), body);
    },
  ],
  [
    'revoking the certificate of another account',
    403,
    'unauthorized',
    async ({ world, alice, mallory }) => {
      const { der } = await alice.certificate();
      return () => mallory.post(world.url('revoke-cert'), revocation(der));
    },
  ],
  [
    'revoking it as the owner of its name',
    403,
    'unauthorized',
    async ({ world, alice, mallory }) => {
      const { der } = await alice.certificate();
      await mallory.order();
      return () => mallory.post(world.url('revoke-cert'), revocation(der));
    },
  ],
  [
    'revoking it with a key that is not its own',
    403,
    'unauthorized',
    async ({ world, alice, mallory }) => {
      const { der } = await alice.certificate();
      const { key } = mallory;
      return () => world.wire.post(world.url('revoke-cert'), revocation(der), { key });
    },
  ],
  [
    'revoking altered bytes',
    403,
    'unauthorized',
    async ({ world, alice }) => {
      const { der } = await alice.certificate();
      const other = Buffer.from(der);
      other[other.length - 1] = (other.at(-1) as number) ^ 1;
      return () => alice.post(world.url('revoke-cert'), revocation(other));
    },
  ],
  [
    'revoking for a reason of authorities',
    400,
    'badRevocationReason',
    async ({ world, alice }) => {
      const { der } = await alice.certificate();
      return () => alice.post(world.url('revoke-cert'), revocation(der, 2));
    },
  ],
  [
    'revoking twice',
    400,
    'alreadyRevoked',
    async ({ world, alice }) => {
      const { der } = await alice.certificate();
      await alice.post(world.url('revoke-cert'), revocation(der));
      return () => alice.post(world.url('revoke-cert'), revocation(der));
    },
  ],
];
