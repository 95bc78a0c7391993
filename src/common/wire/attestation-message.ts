/**
 * The bytes that a node signs to prove a key during attestation (proto/meshca/issuer/v1,
 * AttestAnswer): bound to the challenge, the trust domain, the server's certificate on this very
 * connection, and the new key, so that an answer can be neither replayed nor relayed.
 */
export function attestationMessage(parts: {
  readonly nonce: Buffer;
  readonly trustDomainName: string;
  readonly serverCertificateSha256: Buffer;
  readonly newSpkiDer: Buffer;
}): Buffer {
  const fields = [
    parts.nonce,
    Buffer.from(parts.trustDomainName, 'utf8'),
    parts.serverCertificateSha256,
    parts.newSpkiDer,
  ];
  return Buffer.concat([
    Buffer.from('meshca-node-attestation-v1\0', 'latin1'),
    ...fields.flatMap((field) => [uint32(field.length), field]),
  ]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
