import { createHash } from 'node:crypto';
import { fail, ok, PkiError, type Result } from '../../src/common/errors/index.ts';
import type { Clock, Random } from '../../src/common/runtime/index.ts';
import { selectorText, type TrustDomain } from '../../src/common/spiffe/index.ts';
import { parseCertificate, setDigest } from '../../src/common/x509/index.ts';
import type { BundleSource, TrustBundle } from '../ports/bundles.ts';
import { namesOf, type EntryCache, type Identity } from '../ports/entries.ts';
import { targetSelector } from '../ports/file-targets.ts';
import { renewAtMonotonicMs } from '../schedule/index.ts';
import {
  verifySigned,
  verifySignedNames,
  type Signed,
  type SigningQueue,
  type Unanswered,
} from '../svid/index.ts';
import type { SetContent, StoredSet } from './certificate-set.ts';
import { federatedDigest, federatedRootsOf, type FederatedRoots } from './federated-roots.ts';
import type { DeliveredSet } from './delivery-record.ts';
import type { FileTarget } from './target.ts';

/** A certificate that was obtained for a target, before it is written. */
export interface Leased {
  readonly content: SetContent;
  readonly facts: Omit<DeliveredSet, keyof StoredSet>;
}

type SetTrust = Pick<SetContent, 'forNames' | 'rootsDer' | 'authoritySetDigest' | 'crlsDer'>;

export interface DeliveryLeaseDependencies {
  readonly target: Pick<FileTarget, 'name' | 'spiffeId' | 'layout'>;
  readonly entries: EntryCache;
  readonly bundles: BundleSource;
  readonly trustDomain: TrustDomain;
  /** Makes a key of the target's type for each request. */
  readonly queue: Pick<SigningQueue, 'sign'>;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Certificates for one target, each with a new key. The identity, or the names, are what an entry
 * below this node gives to the selector of the target.
 */
export class DeliveryLease {
  readonly #dependencies: DeliveryLeaseDependencies;
  #unanswered: { readonly entry: string; readonly request: Unanswered } | undefined;

  constructor(dependencies: DeliveryLeaseDependencies) {
    this.#dependencies = dependencies;
  }

  /** Fails with NOT_SYNCED or NO_IDENTITY. */
  identity(): Result<Identity> {
    const { target, entries } = this.#dependencies;
    if (!entries.synced())
      return fail('NOT_SYNCED', 'the entries of this agent have not been received yet');
    const selector = targetSelector(target.name);
    const all = entries.ofTarget(target.name);
    const { spiffeId } = target;
    const identity =
      spiffeId === undefined ? all[0] : all.find((each) => each.spiffeId.equals(spiffeId));
    if (identity !== undefined) return ok(identity);
    const text = selectorText(selector);
    return fail(
      'NO_IDENTITY',
      spiffeId === undefined
        ? `no entry below this agent gives an identity to ${text}`
        : `no entry below this agent gives ${spiffeId.toString()} to ${text}`,
      {
        next: `Create it: "meshca entry create --spiffe-id ${spiffeId?.toString() ?? 'ID'} --parent-id AGENT --selector ${text}".`,
      },
    );
  }

  /** @param replacesSerial the serial that is served now; empty: none */
  async obtain(replacesSerial: string): Promise<Result<Leased>> {
    const { target, bundles, queue } = this.#dependencies;
    const found = this.identity();
    if (!found.ok) return found;
    const { entry, spiffeId } = found.value;
    const key = `${entry.id} ${entry.revision}`;
    // what was asked under another revision is not asked again
    if (this.#unanswered?.entry !== key) this.#unanswered = { entry: key, request: {} };
    try {
      const signed = await queue.sign(
        {
          entryId: entry.id,
          selectors: [targetSelector(target.name)],
          replacesSerial,
          unanswered: this.#unanswered.request,
        },
        replacesSerial === '',
      );
      const bundle = bundles.current();
      if (bundle === undefined)
        return fail('NOT_SYNCED', 'the trust bundle has not been received yet');
      const { svid, key: pair } = signed;
      const trust = this.#verified(signed, found.value, bundle);
      const federatedDer = federatedRootsOf(target.layout, found.value, bundles);
      return ok({
        content: {
          ...{ spiffeId, federatedDer, ...trust },
          serial: svid.serial,
          chainDer: svid.chainDer,
          privateKeyPkcs8Der: pair.privateKeyPkcs8Der,
          notBefore: svid.notBefore,
          notAfter: svid.notAfter,
        },
        facts: this.#facts(found.value, svid, { ...trust, federatedDer }),
      });
    } catch (thrown) {
      return { ok: false, error: PkiError.from(thrown) };
    }
  }

  /**
   * What a set trusts: the mesh, or the roots of names, which came with the certificate. Throws
   * SVID_INVALID.
   */
  #verified(signed: Signed, { entry, spiffeId }: Identity, bundle: TrustBundle): SetTrust {
    const { trustDomain, bundles } = this.#dependencies;
    const { svid, key } = signed;
    const names = namesOf(entry);
    if (names === undefined) {
      verifySigned(signed, spiffeId, trustDomain, bundle.rootsDer);
      const { rootsDer, authoritySetDigest } = bundle;
      return { forNames: undefined, rootsDer, authoritySetDigest, crlsDer: bundles.crls() };
    }
    const { spkiDer } = key;
    verifySignedNames(svid, { names, spkiDer, meshRootsDer: bundle.rootsDer });
    const rootsDer = svid.namesRootsDer;
    return {
      forNames: {
        names: [...names.dnsNames, ...names.ips],
        roots: rootsDer.map((root) => root.toString('base64')),
      },
      rootsDer,
      authoritySetDigest: setDigest(rootsDer),
      crlsDer: [],
    };
  }

  /** Whether a certificate that was obtained before is still what is wanted. */
  fits({ content, facts }: Leased): boolean {
    const { target, bundles, clock } = this.#dependencies;
    const found = this.identity();
    const trustsTheSame =
      content.forNames !== undefined ||
      (bundles.current()?.authoritySetDigest.equals(content.authoritySetDigest) === true &&
        crlsDigest(bundles.crls()) === facts.crlsDigest);
    return (
      trustsTheSame &&
      found.ok &&
      found.value.entry.id === facts.entryId &&
      found.value.entry.revision === facts.entryRevision &&
      federatedDigest(federatedRootsOf(target.layout, found.value, bundles)) ===
        facts.federatedDigest &&
      clock.now() < facts.renewAt
    );
  }

  /** By the clock of this node from the receipt on, so that a clock that is off does not matter. */
  #facts(
    { entry, spiffeId }: Identity,
    svid: {
      readonly notAfter: number;
      readonly serverTime: number;
      readonly authorityId: string;
    },
    {
      forNames,
      rootsDer,
      crlsDer,
      federatedDer,
    }: SetTrust & { readonly federatedDer: FederatedRoots },
  ): Leased['facts'] {
    const { clock, random } = this.#dependencies;
    const now = clock.now();
    const lifeSeconds = svid.notAfter - svid.serverTime;
    return {
      rootNames: forNames === undefined ? rootsDer.map(subjectOf) : [],
      crlsDigest: crlsDigest(crlsDer),
      federatedDigest: federatedDigest(federatedDer),
      spiffeId: spiffeId.toString(),
      entryId: entry.id,
      entryRevision: entry.revision,
      authorityId: svid.authorityId,
      renewAt: now + Math.round(renewAtMonotonicMs(lifeSeconds, 0, random.uniform()) / 1000),
      endsAt: now + lifeSeconds,
    };
  }
}

/** Of CRLs in DER, hex. Empty: there are none. */
export function crlsDigest(crlsDer: readonly Buffer[]): string {
  if (crlsDer.length === 0) return '';
  const hash = createHash('sha256');
  for (const der of crlsDer) hash.update(createHash('sha256').update(der).digest());
  return hash.digest('hex');
}

function subjectOf(rootDer: Buffer): string {
  const parsed = parseCertificate(rootDer);
  if (!parsed.ok) throw parsed.error;
  return parsed.value.subjectDer.toString('hex');
}
