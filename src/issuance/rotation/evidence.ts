import { PkiError } from '../../common/errors/index.ts';
import type { ActivationEvidence } from '../../common/tlog/index.ts';
import { sha256Hex } from '../../common/x509/index.ts';
import {
  activationEvidence,
  allShares,
  isIssuingKind,
  isNamesAuthority,
  type Authority,
  type RotationAction,
  type RotationPolicy,
} from '../../domain/index.ts';
import type { RotationStore } from '../../store/ports/index.ts';
import type { HeldSets } from './held-sets.ts';
import { rootOf, type Observation } from './observer.ts';

export interface EvidenceDependencies {
  readonly store: { readonly rotations: Pick<RotationStore, 'reliedExpiry'> };
  readonly sets: HeldSets;
  readonly policy: RotationPolicy;
}

/** The consumers that the decision to activate counted. */
export async function evidenceOf(
  { authority, scope, without }: Extract<RotationAction, { type: 'activate' }>,
  observation: Observation,
  { store, sets, policy }: EvidenceDependencies,
): Promise<ActivationEvidence> {
  const { world, now } = observation;
  if (world === undefined)
    throw new PkiError(
      'INTERNAL',
      `no consumers were counted for the activation of authority ${authority.id}`,
    );
  const root = isIssuingKind(authority.kind)
    ? rootOf(
        authority,
        observation.facts.map((facts) => facts.authority),
      )
    : undefined;
  const since =
    authority.kind === 'issuing' || isNamesAuthority(authority.kind)
      ? undefined
      : sets.inBundleSince(authority.id);
  return activationEvidence({
    authority: { ...authority, publishedAt: Math.max(since ?? 0, authority.publishedAt ?? 0) },
    sha256: digestOf(authority),
    root: root === undefined ? undefined : { id: root.id, sha256: digestOf(root) },
    scope,
    without,
    shares:
      observation.operations.find(({ spec }) => spec.successorId === authority.id)?.spec.shares ??
      allShares,
    found: observation.confirmations.get(authority.id),
    world,
    membersOf: (digest) => sets.membersOf(digest),
    policy,
    now,
    relied:
      authority.kind === 'root' && since !== undefined
        ? await store.rotations.reliedExpiry(since, now - policy.retireMarginSeconds)
        : 0,
  });
}

const digestOf = ({ certificateDer, spkiDer }: Authority): string =>
  sha256Hex((certificateDer ?? spkiDer) as Buffer);
