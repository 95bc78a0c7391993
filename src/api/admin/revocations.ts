import type { CertificateSelection__Output } from '../../common/wire/generated/meshca/admin/v1/CertificateSelection.ts';
import type { RevokeCertificatesRequest__Output } from '../../common/wire/generated/meshca/admin/v1/RevokeCertificatesRequest.ts';
import type { RevokeCertificatesResponse } from '../../common/wire/generated/meshca/admin/v1/RevokeCertificatesResponse.ts';
import type { CertificateSelection } from '../../domain/index.ts';
import { selectionTexts } from '../../domain/index.ts';
import type { SelectionOutcome, SelectionRequest } from '../../services/services.ts';
import { given, oneOf, serialOf } from '../messages/common.ts';
import { certificateMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

/** An act may go through millions of certificates. */
const actSeconds = 3_600;

export const revocationOperations: Pick<
  OperationsOf<'meshca.admin.v1.Certificates'>,
  'RevokeCertificate' | 'RevokeCertificates' | 'GetRevocationProgress'
> = {
  RevokeCertificate: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { serial, reason, blockKeys }) => {
      const { certificate, revocation, note } = await services.revocations.revoke(caller, {
        serial: serialOf(serial),
        reason,
        blockKeys: flagOf(blockKeys),
      });
      return { ...certificateMessage(certificate, revocation), revocationNote: note };
    },
  },
  RevokeCertificates: {
    admits: 'operators',
    dualControl: {
      when: 'it is not a dry run',
      matters: ({ dryRun }) => !dryRun,
    },
    patienceSeconds: actSeconds,
    preview: async ({ services }, caller, request) => {
      const asked = requestOf(request);
      const outcome = await services.selections.estimate(caller, asked);
      return [
        `revoke ${outcome.revoked} certificates of ${outcome.holders} holders, of the ` +
          `selection ${selectionTexts(asked.selection).join(', ')}`,
        `${outcome.unlisted} of them are on no CRL, and ${outcome.keysBlocked} keys are blocked for ever`,
        ...outcome.sample.map(({ serial, spiffeId }) => `${serial} ${spiffeId}`),
      ];
    },
    run: async ({ services }, caller, request, signal) => {
      const asked = requestOf(request);
      return outcomeMessage(
        request.dryRun
          ? await services.selections.preview(caller, asked, signal)
          : await services.selections.revoke(caller, asked, signal),
        request.dryRun,
      );
    },
  },
  GetRevocationProgress: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { actId }) => {
      const progress = await services.selections.progress(caller, actId);
      return {
        found: progress !== undefined,
        matched: progress?.matched ?? 0,
        revoked: progress?.revoked ?? 0,
      };
    },
  },
};

const flagOf = (text: string): boolean | undefined => {
  const flag = oneOf('block_keys', text, ['yes', 'no', 'by reason'], 'by reason');
  return flag === 'by reason' ? undefined : flag === 'yes';
};

const requestOf = ({
  selection,
  reason,
  blockKeys,
  actId,
}: RevokeCertificatesRequest__Output): SelectionRequest => ({
  selection: selection === null ? {} : selectionOf(selection),
  reason,
  blockKeys: flagOf(blockKeys),
  actId,
});

function selectionOf(selection: CertificateSelection__Output): CertificateSelection {
  const { issuedAfter, issuedBefore } = selection;
  return {
    ...given('spiffeId', selection.spiffeId),
    ...given('spiffeIdPrefix', selection.spiffeIdPrefix),
    ...given('dnsName', selection.dnsName),
    ...given('holder', selection.holder),
    ...given('entryId', selection.entryId),
    ...given('delegationId', selection.delegationId),
    ...given('publicKeySha256', selection.publicKeySha256),
    ...given('authorityId', selection.authorityId),
    ...given('tenant', selection.tenant),
    ...(issuedAfter === 0 ? {} : { issuedAfter }),
    ...(issuedBefore === 0 ? {} : { issuedBefore }),
  };
}

const outcomeMessage = (
  { skipped, sample, ...counts }: SelectionOutcome,
  dryRun: boolean,
): RevokeCertificatesResponse => ({
  ...counts,
  skipped: [...skipped].map(([kind, { count, next }]) => ({ kind, count, next })),
  sample: dryRun ? sample.map((record) => certificateMessage(record)) : [],
});
