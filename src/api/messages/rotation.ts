import { PkiError } from '../../common/errors/index.ts';
import type { AuthorityProgress } from '../../common/wire/generated/meshca/admin/v1/AuthorityProgress.ts';
import type { CompromisePlan } from '../../common/wire/generated/meshca/admin/v1/CompromisePlan.ts';
import type { Confirmation as ConfirmationMessage } from '../../common/wire/generated/meshca/admin/v1/Confirmation.ts';
import type { RotateRequest__Output } from '../../common/wire/generated/meshca/admin/v1/RotateRequest.ts';
import type { RotationStatus } from '../../common/wire/generated/meshca/admin/v1/RotationStatus.ts';
import type { Confirmation } from '../../domain/index.ts';
import { rotatedKinds, type RotatedKind, type RotationSpec } from '../../domain/index.ts';
import type { CompromisePlan as Plan, CrlViews } from '../../services/services.ts';
import type { RotationState } from '../../issuance/rotation/controller.ts';
import { given, oneOf, problemOf } from './common.ts';
import { authorityMessage } from './views.ts';

/** Limits the size of a status message. The total number is always sent. */
const shownLaggards = 200;

export function rotationStatus(state: RotationState, crls: CrlViews): RotationStatus {
  const { observation } = state;
  return {
    at: state.at,
    acting: state.acting,
    jumpedSeconds: state.jumpedSeconds,
    ...(state.failure === undefined ? {} : { failure: problemOf(state.failure, true) }),
    authorities: observation.facts.map(
      ({ authority, lastExpiry, live, liveUnreported }): AuthorityProgress => {
        const confirmation = observation.confirmations.get(authority.id);
        return {
          authority: authorityMessage({ authority, liveCertificates: live }),
          lastExpiry,
          live,
          liveUnreported,
          publishedAt: authority.publishedAt ?? 0,
          ...(confirmation === undefined
            ? {}
            : { confirmation: confirmationMessage(confirmation) }),
        };
      },
    ),
    operations: observation.operations.map(
      ({ id, kind, state: at, spec, createdBy, createdAt }) => ({
        id,
        kind,
        state: at,
        successorId: spec.successorId,
        targets: [...spec.targets],
        targetsBecome: spec.targetsBecome,
        trigger: spec.trigger,
        stopAfter: spec.stopAfter ?? '',
        forced: spec.force !== undefined,
        createdBy,
        createdAt,
      }),
    ),
    notes: state.notes.map(({ code, authorityId, at, alert, agents = [] }) => ({
      code,
      authorityId,
      at,
      alert,
      agents: [...agents],
    })),
    crls: crls
      .standings()
      .map(({ unlisted, ...standing }) => ({ ...standing, unlistedIds: [...unlisted] })),
    crlsHandedOut: crls.handedOut(),
    crlReach: crls.reach(),
  };
}

export const compromisePlan = (
  { state, tainted, ...plan }: Plan,
  crls: CrlViews,
): CompromisePlan => ({ ...plan, tainted: [...tainted], status: rotationStatus(state, crls) });

const confirmationMessage = ({
  proven,
  inferred,
  unprovable,
}: Confirmation): ConfirmationMessage => ({
  provenNeeded: proven.needed,
  provenConfirmed: proven.confirmed,
  inferredNeeded: inferred.needed,
  inferredConfirmed: inferred.confirmed,
  inferredUntil: inferred.until,
  inferredHolders: inferred.holders.map((each) => ({ ...each })),
  unprovableUntil: unprovable.until,
  laggardsTotal: proven.laggards.length,
  laggards: proven.laggards
    .slice(0, shownLaggards)
    .map((laggard) => ({ ...laggard, holds: [...laggard.holds] })),
});

export const kindOf = (kind: string): RotatedKind => oneOf('kind', kind, rotatedKinds, 'issuing');
export const stopOf = (stopAfter: string): { readonly stopAfter?: 'prepared' | 'published' } =>
  stopAfter === ''
    ? {}
    : { stopAfter: oneOf('stop_after', stopAfter, ['prepared', 'published'] as const, 'prepared') };

export function canaryOf({ canary }: RotateRequest__Output): {
  readonly canary?: NonNullable<RotationSpec['canary']>;
} {
  if (canary === null) return {};
  if (!(canary.maximumFailureRate >= 0 && canary.maximumFailureRate <= 1))
    throw new PkiError('INVALID_REQUEST', 'maximum_failure_rate must be between 0 and 1');
  if (!Number.isSafeInteger(canary.holdSeconds) || canary.holdSeconds < 0)
    throw new PkiError('INVALID_REQUEST', 'hold_seconds must be a whole number');
  const steps = canary.steps.map(({ share, selectors }) => ({
    ...(share > 0 ? { share } : {}),
    ...(selectors.length > 0 ? { selectors } : {}),
  }));
  return {
    canary: {
      steps,
      holdSeconds: canary.holdSeconds,
      maximumFailureRate: canary.maximumFailureRate,
    },
  };
}

/** The place where an issuing authority signs; without both: everywhere. */
export function placeOf({
  replica,
  region,
}: {
  readonly replica: string;
  readonly region: string;
}): { readonly scope?: NonNullable<RotationSpec['scope']> } {
  for (const name of [replica, region]) {
    if (name !== '' && !/^[A-Za-z0-9._-]{1,64}$/.test(name))
      throw new PkiError(
        'INVALID_REQUEST',
        `${JSON.stringify(name.slice(0, 80))} is not a valid name of a replica or region: ` +
          'at most 64 characters of [A-Za-z0-9._-]',
      );
  }
  return replica === '' && region === ''
    ? {}
    : { scope: { ...given('replica', replica), ...given('region', region) } };
}
