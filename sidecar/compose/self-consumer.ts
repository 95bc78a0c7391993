import type { BundleStore, IssuerChains } from '../bundle/index.ts';
import type { AgentIdentity } from '../node-attestation/index.ts';
import type { AgentState } from '../state/index.ts';
import type { Consumers } from '../sync/index.ts';

export interface SelfConsumerDependencies {
  readonly consumers: Consumers;
  readonly bundles: BundleStore;
  readonly state: Pick<AgentState, 'bundleKept'>;
  readonly issuers: IssuerChains;
  readonly identity: AgentIdentity;
  readonly version: string;
}

/** The agent as a consumer of its own bundle. Owner of its line among the consumers. */
export class SelfConsumer {
  readonly #dependencies: SelfConsumerDependencies;
  #line: ReturnType<Consumers['registerAgent']> | undefined;

  constructor(dependencies: SelfConsumerDependencies) {
    this.#dependencies = dependencies;
  }

  /** From the first session on, when the agent has a name. */
  register(): void {
    const { consumers, identity, version } = this.#dependencies;
    this.#line ??= consumers.registerAgent(
      identity.spiffeId?.toString() ?? '',
      `meshca agent ${version}`,
    );
    this.confirm();
  }

  /**
   * Tells what the agent holds now. A bundle that a restart would lose proves nothing: what was
   * confirmed before it stays, as pending.
   */
  confirm(): void {
    const { bundles, state, issuers } = this.#dependencies;
    if (!state.bundleKept()) {
      this.#line?.pending('the newest bundle is not kept: the state directory can not be written');
      return;
    }
    const bundle = bundles.current();
    const issuing = issuers.digest();
    if (bundle === undefined) return;
    this.#line?.hold(bundle.authoritySetDigest, {
      jwt: bundle.jwtSetDigest,
      ...(issuing === undefined ? {} : { issuers: issuing }),
    });
  }
}
