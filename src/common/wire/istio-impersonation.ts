import { PkiError } from '../errors/index.ts';
import type { IstioCertificateRequest__Output } from './generated/istio/v1/auth/IstioCertificateRequest.ts';

/**
 * Only a node's proxy asks in the name of another pod. Whether that pod runs on its node is known to
 * who watches pods, and neither server nor agent does.
 *
 * @throws PkiError IMPERSONATION_REFUSED
 */
export function refuseImpersonation({
  metadata,
}: Pick<IstioCertificateRequest__Output, 'metadata'>): void {
  const value = metadata?.fields?.['ImpersonatedIdentity'];
  if (value === undefined || value.kind === 'nullValue' || value.stringValue === '') return;
  const asked = JSON.stringify((value.stringValue ?? '').slice(0, 300));
  throw new PkiError(
    'IMPERSONATION_REFUSED',
    `the request asks for the identity ${asked} of another pod`,
  );
}
