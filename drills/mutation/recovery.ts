import { createPublicKey, sign, type KeyObject } from 'node:crypto';
import { Metadata, type Client, type ServiceError } from '@grpc/grpc-js';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { attestationMessage, fromServiceError } from '../../src/common/wire/index.ts';
import { createCsr } from '../../src/common/x509/index.ts';
import { allMethods, testTrustDomain, type Credential } from '../../test/support/server.ts';
import { patienceMs } from '../../test/support/until.ts';

/** Comes back with the key of an SVID, as an agent does whose SVID expired. Returns its new leaf. */
export function recover(
  client: Client,
  { spiffeId, serial, chainDer, privateKey }: Credential,
  newKey: KeyObject,
): Promise<Buffer> {
  const method = allMethods()['/meshca.issuer.v1.NodeAttestation/Attest'];
  if (method === undefined) throw new Error('no Attest');
  const call = client.makeBidiStreamRequest(
    method.path,
    method.requestSerialize as (value: object) => Buffer,
    method.responseDeserialize as (bytes: Buffer) => any,
    new Metadata(),
    { deadline: Date.now() + patienceMs },
  );
  return new Promise((resolve, reject) => {
    call.on('error', (error: ServiceError) => reject(fromServiceError(error)));
    call.on('end', () => reject(new Error('the stream ended without an answer')));
    call.on('data', ({ challenge, svid }: any) => {
      if (svid) {
        resolve(svid.chainDer[0]);
        call.end();
        return;
      }
      const message = attestationMessage({
        nonce: challenge.nonce,
        trustDomainName: testTrustDomain,
        serverCertificateSha256: challenge.serverCertificateSha256,
        newSpkiDer: createPublicKey(newKey).export({ type: 'spki', format: 'der' }),
      });
      call.write({ answer: { payload: sign('sha256', message, privateKey) } });
    });
    call.write({
      start: {
        protocolVersion: 1,
        agentVersion: 'drill',
        requestId: uuidv7(),
        csrDer: createCsr(newKey),
        expiredSvid: { spiffeId, serial, certificateDer: chainDer[0] },
      },
    });
  });
}
