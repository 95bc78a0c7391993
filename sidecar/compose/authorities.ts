import { errorFields, type Clock, type Logger } from '../../src/common/runtime/index.ts';
import type { AuthoritiesUpdate__Output } from '../../src/common/wire/generated/meshca/issuer/v1/AuthoritiesUpdate.ts';
import type { ReplaceSvids__Output } from '../../src/common/wire/generated/meshca/issuer/v1/ReplaceSvids.ts';
import type { TaintedAuthority__Output } from '../../src/common/wire/generated/meshca/issuer/v1/TaintedAuthority.ts';
import { parseCertificate } from '../../src/common/x509/index.ts';
import { checkCrlSet, type BundleStore, type IssuerChains } from '../bundle/index.ts';
import type { AgentIdentity } from '../node-attestation/index.ts';
import type { JwtSvids, X509Svids } from '../svid/index.ts';

export interface AuthoritiesDependencies {
  readonly bundles: BundleStore;
  readonly issuers: IssuerChains;
  readonly identity: AgentIdentity;
  readonly x509: X509Svids;
  readonly jwt: JwtSvids;
  readonly targets: { setTainted(tainted: ReadonlyMap<string, number>): void };
  readonly clock: Clock;
  readonly logger: Logger;
  /** The own SVID is to be renewed at another time than was planned. */
  readonly replan: () => void;
  /** What the agent holds has changed. */
  readonly onChange: () => void;
}

/** Acts on what the server says of its authorities. */
export class AuthoritiesFollower {
  readonly #dependencies: AuthoritiesDependencies;
  #pulledForwardSerial = '';

  constructor(dependencies: AuthoritiesDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * All authorities that are tainted now, and the certificates that were revoked: what they signed,
   * and these, are renewed inside their windows.
   */
  tainted(tainted: readonly TaintedAuthority__Output[], replaced?: ReplaceSvids__Output): void {
    const { x509, jwt, targets, identity, replan } = this.#dependencies;
    // by the ID of an authority, or by the serial of a certificate
    const windows = new Map([
      ...tainted.map(({ authorityId, windowSeconds }) => [authorityId, windowSeconds] as const),
      ...(replaced?.serials ?? []).map((serial) => [serial, replaced?.windowSeconds ?? 0] as const),
    ]);
    x509.setTainted(windows);
    targets.setTainted(windows);
    if (tainted.length > 0) jwt.clear();
    const { credential } = identity;
    const own =
      credential === undefined ? undefined : parseCertificate(credential.chainDer[0] as Buffer);
    const issuer = own?.ok === true ? own.value.authorityKeyId : undefined;
    const mine = tainted.find(({ subjectKeyId }) => issuer === subjectKeyId.toString('hex'));
    // once for each certificate: the server repeats its state, and each draw would only bring it
    // forward
    if (mine === undefined || credential?.serial === this.#pulledForwardSerial) return;
    this.#pulledForwardSerial = credential?.serial ?? '';
    identity.pullForward(mine.windowSeconds);
    replan();
  }

  /** The published issuers and their CRLs. */
  updated({ published, crls: wireCrls }: AuthoritiesUpdate__Output): void {
    const { bundles, issuers, clock, logger, onChange } = this.#dependencies;
    const before = issuers.digest();
    issuers.set(published);
    const changed = issuers.digest()?.toString('hex') !== before?.toString('hex');
    const crls = checkCrlSet(
      wireCrls.map(({ der }) => der),
      [...bundles.roots(), ...issuers.verified().flatMap(({ chainDer }) => chainDer)],
      clock.now(),
    );
    if (!crls.ok)
      logger.error({ ...errorFields(crls.error) }, 'the CRLs of the server are not handed on');
    bundles.setCrls(crls.ok ? crls.value : [], changed);
    onChange();
  }
}
