import { PkiError, unwrap } from '../common/errors/index.ts';
import { certificatesToPem, pemEncode, splitDer } from '../common/x509/index.ts';
import { fetchX509 } from './commands/agent-api.ts';

/** An X.509-SVID of this process, as the Workload API gave it. */
export interface OwnSvid {
  readonly spiffeId: string;
  readonly certPem: string;
  readonly keyPem: Buffer;
  readonly bundlePem: Buffer;
  readonly issuersSha256: readonly string[];
}

/**
 * The first identity of this process, or the one that is named.
 *
 * @throws PkiError NOT_FOUND
 */
export async function ownSvid(socketPath: string, spiffeId: string | undefined): Promise<OwnSvid> {
  const { svids, meshcaIssuers } = await fetchX509(socketPath);
  // by default, a workload uses the first identity
  const svid = svids.find((candidate) => spiffeId === undefined || candidate.spiffeId === spiffeId);
  if (svid === undefined)
    throw new PkiError(
      'NOT_FOUND',
      `none of the ${svids.length} identities of this process is ${spiffeId ?? 'there'}`,
    );
  return {
    spiffeId: svid.spiffeId,
    certPem: certificatesToPem(unwrap(splitDer(svid.x509Svid))),
    keyPem: Buffer.from(pemEncode('PRIVATE KEY', svid.x509SvidKey)),
    bundlePem: Buffer.from(certificatesToPem(unwrap(splitDer(svid.bundle)))),
    issuersSha256: meshcaIssuers.map((digest) => digest.toString('hex')),
  };
}
