import { PkiError } from '../../common/errors/index.ts';
import type { ImportAuthorityResponse } from '../../common/wire/generated/meshca/admin/v1/ImportAuthorityResponse.ts';
import { keyTypes } from '../../common/x509/index.ts';
import type { ImportedAuthority } from '../../issuance/index.ts';
import { given, oneOf, tooMany } from '../messages/common.ts';
import { placeOf } from '../messages/rotation.ts';
import { authorityMessage } from '../messages/views.ts';
import type { OperationsOf } from '../operation.ts';

const maximumCertificates = 10;

export const authoritySourceOperations: OperationsOf<'meshca.admin.v1.AuthoritySources'> = {
  CreateAuthorityCsr: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { id, kind, keyType, replica, region }) => {
      oneOf('kind', kind, ['issuing'], 'issuing');
      const { authority, csrDer } = await services.authoritySources.request(caller, {
        ...placeOf({ replica, region }),
        ...given('id', id),
        ...(keyType === '' ? {} : { keyType: oneOf('key_type', keyType, keyTypes, 'ec-p256') }),
      });
      return { authority: authorityMessage({ authority, liveCertificates: 0 }), csrDer };
    },
  },
  ImportAuthority: {
    admits: 'operators',
    dualControl: { when: 'it is no dry run', matters: ({ dryRun }) => !dryRun },
    run: async ({ services }, caller, { id, certificatesDer, rootSha256, dryRun }) => {
      tooMany('certificates', certificatesDer.length, maximumCertificates);
      return importMessage(
        await services.authoritySources.importChain(caller, {
          id,
          certificatesDer,
          dryRun,
          ...given('rootSha256', sha256Of(rootSha256)),
        }),
      );
    },
  },
  RequestAuthority: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller) =>
      importMessage(await services.authoritySources.prepareUpstream(caller)),
  },
  SignDownstream: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { csrDer, issuerId, ttlSeconds, requestId }) => {
      const { serial, chainDer, rootDer, notAfter } =
        await services.authoritySources.signDownstream(caller, {
          csrDer,
          lifeSeconds: ttlSeconds,
          requestId,
          ...given('issuerId', issuerId),
        });
      return { serial, chainDer: [...chainDer], rootDer, notAfter };
    },
  },
  CrossSign: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { fromId, toId }) => {
      const { authority, inChains } = await services.authoritySources.crossSign(caller, {
        fromId,
        toId,
      });
      return {
        authority: authorityMessage({ authority, liveCertificates: 0 }),
        certificateDer: authority.certificateDer as Buffer,
        inChains,
      };
    },
  },
  ImportCrl: {
    admits: 'operators',
    dualControl: { when: 'it is no dry run', matters: ({ dryRun }) => !dryRun },
    run: async ({ services }, caller, { crlDer, dryRun }) => {
      const { authorityIds, handedOut, warnings, ...rest } =
        await services.authoritySources.importCrl(caller, { crlDer, dryRun });
      return {
        ...rest,
        authorityIds: [...authorityIds],
        warnings: [...warnings],
        crlsHandedOut: handedOut,
      };
    },
  },
};

/** Lower-case hex without colons; empty for any root. */
function sha256Of(text: string): string {
  const sha256 = text.toLowerCase().replaceAll(':', '');
  if (sha256 !== '' && !/^[0-9a-f]{64}$/.test(sha256))
    throw new PkiError('INVALID_REQUEST', 'root_sha256 is not a SHA-256 in hex');
  return sha256;
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
