import type { Selector } from '../../src/common/spiffe/index.ts';
import type { HeldJwtSvid, SvidSubscription, SvidManager } from '../ports/svids.ts';
import type { Identity } from '../ports/entries.ts';
import type { JwtSvids } from './jwt-svids.ts';
import type { X509Svids } from './x509-svids.ts';

export { JwtSvids, type JwtSvidsDependencies } from './jwt-svids.ts';
export { csrSigner } from './csr-signing.ts';
export { KeyPool } from './key-pool.ts';
export {
  passesByItself,
  SigningQueue,
  type Signed,
  type SigningRequest,
  type Unanswered,
} from './signing-queue.ts';
export { verifySigned } from './signed.ts';
export { namesFaults, verifySignedNames } from './names-certificate.ts';
export type {
  HeldView,
  X509SvidsEvents,
  X509SvidsDependencies,
} from './x509-svids-dependencies.ts';
export { X509Svids } from './x509-svids.ts';

/** The port through which the local APIs reach the SVIDs of this agent. */
export const svidManager = (x509: X509Svids, jwt: JwtSvids): SvidManager => ({
  acquire: (identity: Identity, selectors: readonly Selector[]): SvidSubscription =>
    x509.acquire(identity, selectors),
  fetchJwt: (
    identity: Identity,
    audience: readonly string[],
    selectors: readonly Selector[],
  ): Promise<HeldJwtSvid> => jwt.fetch(identity, audience, selectors),
});
