import type { CertificateFilter__Output } from '../../common/wire/generated/meshca/admin/v1/CertificateFilter.ts';
import { canonicalIp } from '../../common/x509/index.ts';
import { certificateKinds, certificateStates, recordedProfiles } from '../../domain/index.ts';
import type { CertificateFilter } from '../../store/ports/index.ts';
import { given, oneOf, pageOf, serialOf } from '../messages/common.ts';
import { certificateMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';
import { revocationOperations } from './revocations.ts';

export const certificateOperations: OperationsOf<'meshca.admin.v1.Certificates'> = {
  ListCertificates: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { page, filter, order }, signal) => {
      const { items, next } = await services.certificates.list(
        caller,
        filterOf(filter),
        oneOf('order', order, ['created', 'newest', 'expiry'], 'created'),
        pageOf(page, signal),
      );
      return {
        certificates: items.map((record) => certificateMessage(record)),
        nextPageToken: next ?? '',
      };
    },
  },
  GetCertificate: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, { serial }) => {
      const record = await services.certificates.get(caller, serialOf(serial));
      const revocation = await services.revocations.of(record.serial);
      return {
        ...certificateMessage(record, revocation),
        owner: await services.certificates.ownerOf(record),
      };
    },
  },
  ...revocationOperations,
  MintX509Svid: {
    admits: 'operators',
    dualControl: {
      when: 'it is for an admin, or for the ID of a member of a role or of an approver',
      matters: ({ admin, spiffeId }, sights) => admin || sights.idMatters(spiffeId),
    },
    preview: async (_deps, _caller, { spiffeId, admin, ttlSeconds }) => [
      'issue a certificate for ' +
        `${spiffeId}${admin ? ', with the rights of an admin as far as roles name it' : ''}, ` +
        `for ${ttlSeconds === 0 ? 'the default time' : `${ttlSeconds} s`}`,
    ],
    run: async ({ services }, caller, request, signal) => {
      const { leaf, rootsDer } = await services.mint.mint(caller, request, signal);
      return {
        serial: leaf.serial,
        chainDer: [...leaf.chainDer],
        rootsDer: [...rootsDer],
        notAfter: leaf.notAfter,
        spiffeId: leaf.spiffeId,
      };
    },
  },

  IssueCertificate: {
    admits: 'operators',
    dualControl: 'never',
    run: async ({ services }, caller, request, signal) => {
      const { leaf, subject, profile, rootsDer } = await services.names.issue(
        caller,
        request,
        signal,
      );
      return {
        serial: leaf.serial,
        chainDer: [...leaf.chainDer],
        rootsDer: [...rootsDer],
        notBefore: leaf.notBefore,
        notAfter: leaf.notAfter,
        profile,
        dnsNames: [...subject.dnsNames],
        ips: [...subject.ips],
        authorityId: leaf.authorityId,
      };
    },
  },
};

function filterOf(
  filter: CertificateFilter__Output | null,
): CertificateFilter & { readonly tenant?: string } {
  if (filter === null) return {};
  const { kind, state, profile, expiresBefore, expiresAfter } = filter;
  return {
    ...given('spiffeId', filter.spiffeId),
    ...given('spiffeIdPrefix', filter.spiffeIdPrefix),
    ...given('holder', filter.holder),
    ...given('authorityId', filter.authorityId),
    ...given('entryId', filter.entryId),
    ...given('delegationId', filter.delegationId),
    ...given('owner', filter.owner),
    ...given('tenant', filter.tenant),
    ...given('dnsName', filter.dnsName.toLowerCase()),
    ...given('dnsSuffix', filter.dnsSuffix.toLowerCase().replace(/^\./, '')),
    ...given('ip', filter.ip === '' ? '' : (canonicalIp(filter.ip) ?? filter.ip)),
    ...(profile === ''
      ? {}
      : { profile: oneOf('profile', profile, recordedProfiles, 'short-lived') }),
    ...(kind === '' ? {} : { kind: oneOf('kind', kind, certificateKinds, 'workload') }),
    ...(state === '' ? {} : { state: oneOf('state', state, certificateStates, 'issued') }),
    ...(expiresBefore === 0 ? {} : { expiresBefore }),
    ...(expiresAfter === 0 ? {} : { expiresAfter }),
  };
}
