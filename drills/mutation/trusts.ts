import { bundleDocumentOf, foreignRoot } from '../../test/support/bundle-endpoint.ts';
import type { TestServer } from '../../test/support/server.ts';

/** A key that nothing is issued for, and a foreign trust domain. Nobody listens at its endpoint. */
export async function createTrusts({ admin }: Pick<TestServer, 'admin'>): Promise<void> {
  await admin('Keys/BlockKey', { publicKeySha256: 'ab'.repeat(32), reason: 'drill' });
  await admin('Federation/CreateRelationship', {
    trustDomain: 'partner.test',
    endpointUrl: 'https://127.0.0.1:1/',
    endpointProfile: 'https_spiffe',
    endpointSpiffeId: 'spiffe://partner.test/server',
    bundleDocument: Buffer.from(
      bundleDocumentOf({ roots: [foreignRoot('partner.test')], sequence: 1 }),
    ),
  });
}
