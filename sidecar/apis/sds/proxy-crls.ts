import type { Clock, Logger } from '../../../src/common/runtime/index.ts';
import {
  isCrlOf,
  parseCertificate,
  parseCrl,
  type ParsedCertificate,
  type ParsedCrl,
} from '../../../src/common/x509/index.ts';
import type { BundleSource, TrustBundle } from '../../ports/bundles.ts';

/** So long before a CRL ends the set is no longer sent, so that proxies have dropped it in time. */
const marginSeconds = 120;
const longestTimerMs = 3_600_000;

export interface ProxyCrlsDependencies {
  readonly bundles: Pick<BundleSource, 'crls'>;
  /** The chains of the published issuing authorities, each from the issuer up, without the root. */
  readonly issuers: () => readonly (readonly Buffer[])[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** True while proxies should have CRLs, and get none or old ones. */
  readonly onWithheld: (withheld: boolean) => void;
  readonly policy: 'none' | 'fail open' | 'fail closed';
}

/** What a verdict rests on. Each part is the same object while it does not change. */
interface Evidence {
  readonly crls: readonly Buffer[];
  readonly roots: readonly Buffer[];
  readonly chains: readonly (readonly Buffer[])[];
}

interface Verdict {
  /** Unix seconds: from here on the set is not sent. Undefined: there is no set. */
  readonly ends: number | undefined;
  /** What the set lacks while it lasts. */
  readonly problem: string | undefined;
}

/**
 * The CRLs that proxies get beside the own roots: for every level and valid for a while, or none. A
 * proxy that has a CRL demands one for each certificate of a chain, and refuses everybody when one
 * has ended. Owner of the last good set, and of the last verdict.
 *
 * - `fail open`: a set that is incomplete or about to end is left out, with an alert.
 * - `fail closed`: the last good set stays, also when it has ended. Before there is one, no bundle is
 *   sent.
 */
export class ProxyCrls {
  readonly #dependencies: ProxyCrlsDependencies;
  readonly #listeners = new Set<() => void>();
  #good: readonly Buffer[] | undefined;
  #problem: string | undefined;
  #verdict: (Verdict & { readonly evidence: Evidence }) | undefined;
  #cancelTimer = (): void => {};
  #plannedFor = 0;

  constructor(dependencies: ProxyCrlsDependencies) {
    this.#dependencies = dependencies;
  }

  /** Called when a set is about to end. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size > 0) return;
      this.#cancelTimer();
      this.#plannedFor = 0;
      // without a proxy nothing is withheld; the set is judged again for the next one
      if (this.#problem !== undefined) this.#dependencies.onWithheld(false);
      this.#problem = undefined;
    };
  }

  /** Undefined: the bundle must not be sent. */
  current(own: TrustBundle): readonly Buffer[] | undefined {
    const { bundles, policy } = this.#dependencies;
    if (policy === 'none') return [];
    const crls = bundles.crls();
    const problem = this.#judge(crls, own);
    this.#tell(problem);
    if (problem === undefined) this.#good = crls;
    if (problem === undefined || policy === 'fail closed') return this.#good;
    return [];
  }

  #judge(crls: readonly Buffer[], own: TrustBundle): string | undefined {
    const { clock, issuers } = this.#dependencies;
    const { ends, problem } = this.#verdictOn({ crls, roots: own.rootsDer, chains: issuers() });
    if (ends === undefined) return problem;
    const now = clock.now();
    if (ends <= now) return `a CRL ends in less than ${marginSeconds} s`;
    this.#plan(ends, now);
    return problem;
  }

  /** CRLs may be large, and each stream looks at them for each name. */
  #verdictOn(evidence: Evidence): Verdict {
    if (this.#verdict === undefined || !isSame(this.#verdict.evidence, evidence))
      this.#verdict = { evidence, ...verdictOn(evidence) };
    return this.#verdict;
  }

  #tell(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    const { logger, onWithheld, policy } = this.#dependencies;
    onWithheld(problem !== undefined);
    if (problem === undefined) logger.info({}, 'proxies get CRLs');
    else
      logger.error(
        { problem, policy },
        policy === 'fail open'
          ? 'proxies get no CRLs, so that revoked certificates pass'
          : 'proxies keep the CRLs that they have, and refuse everybody when these have ended',
      );
  }

  #plan(ends: number, now: number): void {
    if (this.#plannedFor === ends || this.#listeners.size === 0) return;
    this.#plannedFor = ends;
    this.#cancelTimer();
    this.#cancelTimer = this.#dependencies.clock.after(
      Math.min((ends - now) * 1000, longestTimerMs),
      () => {
        this.#plannedFor = 0;
        for (const listener of [...this.#listeners]) listener();
      },
    );
  }
}

const isSame = (one: Evidence, other: Evidence): boolean =>
  one.crls === other.crls &&
  one.roots === other.roots &&
  one.chains.length === other.chains.length &&
  one.chains.every((chain, index) => chain === other.chains[index]);

function verdictOn({ crls, roots, chains }: Evidence): Verdict {
  const parsed = crls.flatMap((der) => {
    const crl = parseCrl(der);
    return crl.ok ? [crl.value] : [];
  });
  if (parsed.length === 0)
    return { ends: undefined, problem: 'the server has handed out no complete set' };
  const ends = Math.min(...parsed.map(({ nextUpdate }) => nextUpdate)) - marginSeconds;
  return { ends, problem: lackOf(parsed, roots.flatMap(certificateOf), chains) };
}

/** The level for which there is no CRL, or why that can not be told. */
function lackOf(
  crls: readonly ParsedCrl[],
  roots: readonly ParsedCertificate[],
  chains: Evidence['chains'],
): string | undefined {
  if (chains.length === 0) return 'no issuing authority is known, so that none can be checked';
  for (const chain of chains) {
    const path = chain.flatMap(certificateOf);
    if (path.length === 0 || path.length < chain.length)
      return 'the chain of an issuing authority can not be read';
    const top = path.at(-1);
    const signers = [...path, ...roots.filter((root) => root.subjectKeyId === top?.authorityKeyId)];
    const missing = signers.find((each) => !crls.some((crl) => isCrlOf(crl, each)));
    if (missing !== undefined)
      return `there is none of the authority with the key ${missing.subjectKeyId ?? 'without ID'}`;
  }
  return undefined;
}

const certificateOf = (der: Buffer) => {
  const parsed = parseCertificate(der);
  return parsed.ok ? [parsed.value] : [];
};
