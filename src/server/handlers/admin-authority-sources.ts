import type { AuthoritySourcesHandlers } from '../../common/wire/generated/meshca/admin/v1/AuthoritySources.ts';
import type { ImportAuthorityResponse } from '../../common/wire/generated/meshca/admin/v1/ImportAuthorityResponse.ts';
import { keyTypes } from '../../common/x509/index.ts';
import { PkiError } from '../../common/errors/index.ts';
import type { ImportedAuthority } from '../../issuance/index.ts';
import type { Services } from '../../services/contract.ts';
import { given, oneOf, tooMany } from '../convert/common.ts';
import { placeOf } from '../convert/rotation.ts';
import { authorityMessage } from '../convert/views.ts';
import type { Guard } from '../guard.ts';
import { operatorOf, unary } from './unary.ts';

const maximumCertificates = 10;

export function authoritySourcesHandlers(
  guard: Guard,
  { authoritySources }: Pick<Services, 'authoritySources'>,
): AuthoritySourcesHandlers {
  return {
    CreateAuthorityCsr: unary(guard, async (context, { id, kind, keyType, replica, region }) => {
      oneOf('kind', kind, ['issuing'], 'issuing');
      const { authority, csrDer } = await authoritySources.request(operatorOf(context), {
        ...placeOf({ replica, region }),
        ...given('id', id),
        ...(keyType === '' ? {} : { keyType: oneOf('key_type', keyType, keyTypes, 'ec-p256') }),
      });
      return { authority: authorityMessage({ authority, liveCertificates: 0 }), csrDer };
    }),
    ImportAuthority: unary(guard, async (context, { id, certificatesDer, rootSha256, dryRun }) => {
      tooMany('certificates', certificatesDer.length, maximumCertificates);
      const pin = rootSha256.toLowerCase().replaceAll(':', '');
      if (pin !== '' && !/^[0-9a-f]{64}$/.test(pin))
        throw new PkiError('INVALID_REQUEST', 'root_sha256 is not a SHA-256 in hex');
      return importMessage(
        await authoritySources.importChain(operatorOf(context), {
          id,
          certificatesDer,
          dryRun,
          ...given('rootSha256', pin),
        }),
      );
    }),
    SignDownstream: unary(guard, async (context, { csrDer, issuerId, ttlSeconds, requestId }) => {
      const { serial, chainDer, rootDer, notAfter } = await authoritySources.signDownstream(
        operatorOf(context),
        { csrDer, lifeSeconds: ttlSeconds, requestId, ...given('issuerId', issuerId) },
      );
      return { serial, chainDer: [...chainDer], rootDer, notAfter };
    }),
    CrossSign: unary(guard, async (context, { fromId, toId }) => {
      const { authority, inChains } = await authoritySources.crossSign(operatorOf(context), {
        fromId,
        toId,
      });
      return {
        authority: authorityMessage({ authority, liveCertificates: 0 }),
        certificateDer: authority.certificateDer as Buffer,
        inChains,
      };
    }),
    ImportCrl: unary(guard, async (context, { crlDer, dryRun }) => {
      const { authorityIds, handedOut, warnings, ...rest } = await authoritySources.importCrl(
        operatorOf(context),
        { crlDer, dryRun },
      );
      return {
        ...rest,
        authorityIds: [...authorityIds],
        warnings: [...warnings],
        crlsHandedOut: handedOut,
      };
    }),
    RequestAuthority: unary(guard, async (context) =>
      importMessage(await authoritySources.prepareUpstream(operatorOf(context))),
    ),
  };
}

function importMessage(
  imported: ImportedAuthority | { readonly warnings: readonly string[] },
): ImportAuthorityResponse {
  if (!('authority' in imported)) return { warnings: [...imported.warnings] };
  const message = (authority: ImportedAuthority['authority']) =>
    authorityMessage({ authority, liveCertificates: 0 });
  return {
    authority: message(imported.authority),
    root: message(imported.root),
    above: imported.above.map(message),
    warnings: [...imported.warnings],
    activated: imported.activated,
  };
}
