import { unwrap } from '../../src/common/errors/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import {
  derWriter,
  parseCertificate,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';
import {
  assembleOcsp,
  assembleSigned,
  buildAuthorityTbs,
  buildOcspSignerTbs,
  buildOcspTbs,
  ocspIssuerHashes,
  type OcspAnswer,
  type OcspHash,
  type OcspResponder,
} from '../../src/certs/index.ts';
import { makeKey, signWith, type TestKey } from './x509.ts';

const { context, derNull, integer, octetString, oid, sequence, unsignedInteger } = derWriter;

const hashOids: Readonly<Record<OcspHash, string>> = {
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
};

/** An OCSPRequest as common clients write it. `more`: what else stands in it. */
export function ocspRequest(
  issuer: Pick<ParsedCertificate, 'subjectDer' | 'spkiDer'>,
  serialHex: string,
  more: {
    readonly hash?: OcspHash;
    readonly hashOid?: string;
    readonly times?: number;
    readonly version?: number;
    readonly extensions?: Buffer;
    readonly singleExtensions?: Buffer;
    readonly signature?: Buffer;
  } = {},
): Buffer {
  const { hash = 'sha1', times = 1, version, extensions, singleExtensions, signature } = more;
  const { name, key } = ocspIssuerHashes(issuer, hash);
  const certId = sequence(
    sequence(oid(more.hashOid ?? hashOids[hash]), derNull()),
    octetString(name),
    octetString(key),
    unsignedInteger(Buffer.from(serialHex, 'hex')),
  );
  const single = sequence(
    certId,
    ...(singleExtensions === undefined ? [] : [context(0, sequence(singleExtensions))]),
  );
  const tbs = sequence(
    ...(version === undefined ? [] : [context(0, integer(version))]),
    sequence(...Array.from({ length: times }, () => single)),
    ...(extensions === undefined ? [] : [context(2, sequence(extensions))]),
  );
  return sequence(tbs, ...(signature === undefined ? [] : [context(0, sequence(signature))]));
}

/** A CA with a software key, and its signer of OCSP answers. */
export interface TestOcspCa {
  readonly trustDomain: TrustDomain;
  readonly caKey: TestKey;
  readonly signerKey: TestKey;
  readonly responder: OcspResponder;
  /** A whole OCSPResponse. */
  readonly respond: (answer: OcspAnswer, hash: OcspHash) => Buffer;
}

export function makeOcspCa(
  times: { readonly notBefore: number; readonly notAfter: number },
  caKey: TestKey = makeKey(),
): TestOcspCa {
  const trustDomain = TrustDomain.of('example.org');
  const serial = Buffer.from('4123456789ab00112233445566778899', 'hex');
  const sealed = (tbs: Buffer): ParsedCertificate =>
    unwrap(parseCertificate(assembleSigned(tbs, caKey.keyType, signWith(caKey, tbs))));
  const issuer = sealed(
    buildAuthorityTbs({
      serial,
      profile: 'root',
      issuer: undefined,
      spkiDer: caKey.spkiDer,
      trustDomain,
      ...times,
    }),
  );
  const signerKey = makeKey();
  const signer = sealed(
    buildOcspSignerTbs({
      serial: Buffer.from('4123456789ab00112233445566778800', 'hex'),
      issuer,
      spkiDer: signerKey.spkiDer,
      trustDomain,
      ...times,
    }),
  );
  const responder = { issuer, signer };
  return {
    trustDomain,
    caKey,
    signerKey,
    responder,
    respond: (answer, hash) => {
      const tbs = buildOcspTbs(responder, answer, hash);
      return assembleOcsp(responder, tbs, signWith(signerKey, tbs));
    },
  };
}
