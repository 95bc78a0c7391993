import { csr, order, www, type Attack, type Scene } from './attack.ts';
import { acmeKey, binding, jws, type AcmeKey, type AcmeReply } from './wire.ts';

interface Stated {
  /** Members of the protected header of the binding. */
  readonly header?: object;
  readonly digest?: string;
  readonly mac?: Buffer;
  readonly id?: string;
  /** Alters the binding at last. */
  readonly alter?: (right: object) => object;
}

/** A new account with a binding that is altered. */
const bound =
  ({ header = {}, digest = 'sha256', mac, id, alter = (right) => right }: Stated) =>
  async ({ world }: Scene) => {
    const eab = await world.eabKey();
    const key = acmeKey();
    const url = world.url('new-account');
    return (): Promise<AcmeReply> => {
      const stated = { id: id ?? eab.id, mac: mac ?? eab.mac };
      const externalAccountBinding = alter(binding(stated, { url, jwk: key.jwk, header, digest }));
      return world.wire.post(url, { externalAccountBinding }, { key });
    };
  };

interface Change {
  readonly newKey?: (at: Scene) => AcmeKey;
  /** Signs the inner JWS. */
  readonly by?: (at: Scene) => AcmeKey;
  readonly header?: (at: Scene) => object;
  readonly payload?: (at: Scene) => object;
}

/** Alice changes her key, with a request that is altered. */
const changed =
  ({ newKey = () => acmeKey(), by, header = () => ({}), payload = () => ({}) }: Change) =>
  (at: Scene) =>
  (): Promise<AcmeReply> => {
    const { world, alice } = at;
    const url = world.url('key-change');
    const key = newKey(at);
    const inner = jws(
      { alg: key.alg, jwk: key.jwk, url, ...header(at) },
      { account: alice.kid, oldKey: alice.key.jwk, ...payload(at) },
      by?.(at) ?? key,
    );
    return alice.post(url, inner);
  };

/** External account bindings, changes of keys, and rights that have ended. */
export const accountAttacks: readonly Attack[] = [
  [
    'an account without a binding',
    403,
    'externalAccountRequired',
    ({ world }) =>
      () =>
        world.wire.post(world.url('new-account'), {}, { key: acmeKey() }),
  ],
  [
    'a stolen binding with another account key',
    400,
    'malformed',
    async ({ world }) => {
      const eab = await world.eabKey();
      const url = world.url('new-account');
      const stolen = binding(eab, { url, jwk: acmeKey().jwk });
      return () => world.wire.post(url, { externalAccountBinding: stolen }, { key: acmeKey() });
    },
  ],
  [
    'a second account with an EAB key for one',
    403,
    'unauthorized',
    async ({ world }) => {
      const eab = await world.eabKey({ accounts: 'single' });
      await world.account({ eab });
      const key = acmeKey();
      const url = world.url('new-account');
      const externalAccountBinding = binding(eab, { url, jwk: key.jwk });
      return () => world.wire.post(url, { externalAccountBinding }, { key });
    },
  ],
  ['a MAC of another algorithm than stated', 403, 'unauthorized', bound({ digest: 'sha512' })],
  ['a MAC with another key', 403, 'unauthorized', bound({ mac: Buffer.alloc(32) })],
  ['a MAC with an empty key', 403, 'unauthorized', bound({ mac: Buffer.alloc(0) })],
  ['an empty MAC', 403, 'unauthorized', bound({ alter: (right) => ({ ...right, signature: '' }) })],
  [
    'half of a MAC',
    403,
    'unauthorized',
    bound({
      alter: (right) => ({
        ...right,
        signature: Buffer.from((right as { signature: string }).signature, 'base64url')
          .subarray(0, 16)
          .toString('base64url'),
      }),
    }),
  ],
  ['a binding with no algorithm', 400, 'badSignatureAlgorithm', bound({ header: { alg: 'none' } })],
  ['a binding with a signature', 400, 'badSignatureAlgorithm', bound({ header: { alg: 'ES256' } })],
  ['a binding with a nonce', 400, 'malformed', bound({ header: { nonce: 'a' } })],
  ['a binding for another URL', 400, 'malformed', bound({ header: { url: 'https://a.test' } })],
  [
    'an EAB key that is not there',
    403,
    'unauthorized',
    bound({ id: '00000000-0000-7000-8000-000000000000' }),
  ],
  ['an EAB key ID that is none', 403, 'unauthorized', bound({ id: "' or 1=1" })],
  [
    'an account with a key that is blocked',
    400,
    'badPublicKey',
    async ({ world }) => {
      const [eab, key] = [await world.eabKey(), acmeKey()];
      await world.blockKey(key);
      const url = world.url('new-account');
      const externalAccountBinding = binding(eab, { url, jwk: key.jwk });
      return () => world.wire.post(url, { externalAccountBinding }, { key });
    },
  ],
  [
    'a change to a key that is blocked',
    400,
    'badPublicKey',
    async (at) => {
      const key = acmeKey();
      await at.world.blockKey(key);
      return changed({ newKey: () => key })(at);
    },
  ],
  [
    'a change to the key of a certificate of the account',
    400,
    'badPublicKey',
    async (at) => {
      const key = acmeKey();
      await at.alice.certificate(key.privateKey);
      return changed({ newKey: () => key })(at);
    },
  ],
  ...(
    [
      ['an order', ({ world, alice }) => alice.post(world.url('new-order'), order())],
      ['a read', ({ alice }) => alice.post(alice.kid, undefined)],
      ['the end', ({ alice }) => alice.post(alice.kid, { status: 'deactivated' })],
      ['a change of the key', (at) => changed({})(at)()],
      [
        'another look at the account',
        ({ world, alice }) =>
          world.wire.post(world.url('new-account'), { onlyReturnExisting: true }, alice),
      ],
    ] as const satisfies readonly (readonly [string, (at: Scene) => Promise<AcmeReply>])[]
  ).map(
    ([what, ask]): Attack => [
      `${what} with the key of an account that was blocked`,
      400,
      'badPublicKey',
      async (at) => {
        await at.world.blockKey(at.alice.key);
        return () => ask(at);
      },
    ],
  ),
  [
    'an EAB key that was revoked',
    403,
    'unauthorized',
    async (at) => {
      const eab = await at.world.eabKey();
      await at.world.revokeEabKey(eab.id);
      return bound({ id: eab.id, mac: eab.mac })(at);
    },
  ],
  [
    'an EAB key that has expired',
    403,
    'unauthorized',
    async (at) => {
      const eab = await at.world.eabKey({ expiresAt: at.world.services.clock.now() + 10 });
      at.world.services.clock.advance(10_000);
      return bound({ id: eab.id, mac: eab.mac })(at);
    },
  ],
  [
    'an order after the EAB key was revoked',
    403,
    'unauthorized',
    async ({ world, alice }) => {
      await world.revokeEabKey(alice.eab.id);
      return () => alice.post(world.url('new-order'), order());
    },
  ],
  [
    'finalizing after the EAB key was revoked',
    403,
    'unauthorized',
    async ({ world, alice }) => {
      const url = await alice.order();
      await world.revokeEabKey(alice.eab.id);
      return () => alice.post(`${url}/finalize`, csr(www));
    },
  ],
  [
    'an order after the tenant has ended',
    403,
    'unauthorized',
    async ({ world, alice }) => {
      await world.endTenant();
      return () => alice.post(world.url('new-order'), order());
    },
  ],
  [
    'finalizing after the tenant has ended',
    403,
    'unauthorized',
    async ({ world, alice }) => {
      const url = await alice.order();
      await world.endTenant();
      return () => alice.post(`${url}/finalize`, csr(www));
    },
  ],
  [
    'a request of a deactivated account',
    401,
    'unauthorized',
    async ({ alice }) => {
      const url = await alice.order();
      await alice.post(alice.kid, { status: 'deactivated' });
      return () => alice.post(`${url}/finalize`, csr(www));
    },
  ],
  [
    'activating it again',
    401,
    'unauthorized',
    async ({ alice }) => {
      await alice.post(alice.kid, { status: 'deactivated' });
      return () => alice.post(alice.kid, { status: 'valid' });
    },
  ],
  [
    'another account with its key',
    401,
    'unauthorized',
    async ({ world, alice }) => {
      await alice.post(alice.kid, { status: 'deactivated' });
      const { key } = alice;
      return () => world.wire.post(world.url('new-account'), {}, { key });
    },
  ],
  [
    'the key of an account before it changed',
    400,
    'malformed',
    async (at) => {
      assertOk(await changed({})(at)());
      return () => at.alice.post(at.alice.kid, undefined);
    },
  ],
  [
    'a change to the key of another account',
    409,
    'malformed',
    changed({ newKey: ({ mallory }) => mallory.key }),
  ],
  ['a change to the same key', 400, 'malformed', changed({ newKey: ({ alice }) => alice.key })],
  [
    'a change that the new key has not signed',
    400,
    'malformed',
    changed({ by: ({ alice }) => alice.key }),
  ],
  [
    'a change with another inner URL',
    400,
    'malformed',
    changed({ header: ({ world }) => ({ url: world.url('new-order') }) }),
  ],
  ['a change with an inner nonce', 400, 'malformed', changed({ header: () => ({ nonce: 'a' }) })],
  [
    'a change with an inner account',
    400,
    'malformed',
    changed({ header: ({ alice }) => ({ kid: alice.kid }) }),
  ],
  [
    'a change of the key of another account',
    400,
    'malformed',
    changed({ payload: ({ mallory }) => ({ account: mallory.kid }) }),
  ],
  [
    'a change with another old key',
    400,
    'malformed',
    changed({ payload: ({ mallory }) => ({ oldKey: mallory.key.jwk }) }),
  ],
  ['a change without an old key', 400, 'malformed', changed({ payload: () => ({ oldKey: {} }) })],
];

function assertOk({ status, text }: AcmeReply): void {
  if (status !== 200) throw new Error(`${status} ${text}`);
}
