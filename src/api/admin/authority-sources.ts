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
    run: async ({ services }, caller, { id, kind, keyType, replica, region }, signal) => {
      oneOf('kind', kind, ['issuing'], 'issuing');
      const input = {
        ...placeOf({ replica, region }),
        ...given('id', id),
        ...(keyType === '' ? {} : { keyType: oneOf('key_type', keyType, keyTypes, 'ec-p256') }),
      };
      const { authority, csrDer } = await services.authoritySources.request(caller, input, signal);
      return { authority: authorityMessage({ authority, liveCertificates: 0 }), csrDer };
    },
  },
  ImportAuthority: {
    admits: 'operators',
    dualControl: { when: 'it is no dry run', matters: ({ dryRun }) => !dryRun },
    run: async ({ services }, caller, { id, certificatesDer, rootSha256, dryRun }, signal) => {
      tooMany('certificates', certificatesDer.length, maximumCertificates);
      const input = {
        id,
        certificatesDer,
        dryRun,
        ...given('rootSha256', sha256Of(rootSha256)),
      };
      return importMessage(await services.authoritySources.importChain(caller, input, signal));
    },
  },
  RequestAuthority: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, _request, signal) =>
      importMessage(await services.authoritySources.prepareUpstream(caller, signal)),
  },
  SignDownstream: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { csrDer, issuerId, ttlSeconds, requestId }, signal) => {
      const input = {
        csrDer,
        lifeSeconds: ttlSeconds,
        requestId,
        ...given('issuerId', issuerId),
      };
      const { serial, chainDer, rootDer, notAfter } =
        await services.authoritySources.signDownstream(caller, input, signal);
      return { serial, chainDer: [...chainDer], rootDer, notAfter };
    },
  },
  CrossSign: {
    admits: 'operators',
    dualControl: 'always',
    run: async ({ services }, caller, { fromId, toId }, signal) => {
      const roots = { fromId, toId };
      const { authority, inChains } = await services.authoritySources.crossSign(
        caller,
        roots,
        signal,
      );
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
