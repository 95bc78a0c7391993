import { generateKeyPairSync, X509Certificate, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { buffer } from 'node:stream/consumers';
import { connect, type TLSSocket } from 'node:tls';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../src/common/x509/index.ts';
import { linkerdContract } from '../../src/common/wire/index.ts';
import type { CertifyResponse__Output } from '../../src/common/wire/generated/io/linkerd/proxy/identity/CertifyResponse.ts';
import { statedCsr } from './csr.ts';

export interface ProxyOptions {
  readonly port: number;
  /** The trust anchors, which are fixed for the process. */
  readonly anchorsDer: readonly Buffer[];
  /** LINKERD2_PROXY_IDENTITY_SVC_NAME. */
  readonly servingName: string;
  /** Its own identity. */
  readonly name: string;
  /** Reads the token file. */
  readonly token: () => string | Promise<string>;
}

/** What differs from the request of a correct proxy. */
export interface AskedOtherwise {
  readonly identity?: string;
  readonly token?: string;
  readonly csrDer?: Buffer;
}

/** The status of a refusal, with our code in its trailers. */
export class CertifyError extends Error {
  readonly status: number;
  readonly code: string;
  readonly refusalId: string;

  constructor(trailers: Readonly<Record<string, unknown>>) {
    super(decodeURIComponent(String(trailers['grpc-message'] ?? '')));
    this.status = Number(trailers['grpc-status']);
    this.code = String(trailers['meshca-code'] ?? '');
    this.refusalId = String(trailers['meshca-refusal-id'] ?? '');
  }
}

const { Certify } = linkerdContract().packages.io.linkerd.proxy.identity.Identity.service;

/**
 * A client that does what a proxy of Linkerd does: TLS 1.3 without ALPN, HTTP/2, one P-256 key and
 * one CSR for its life, its certificate presented at renewals, each answer verified against its own
 * anchors and name.
 */
export class LinkerdProxy {
  readonly key: KeyObject = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  readonly csrDer: Buffer;
  readonly #options: ProxyOptions;
  #certified: { readonly chainDer: readonly Buffer[] } | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.csrDer = statedCsr(this.key, { commonName: options.name, dnsSans: [options.name] });
  }

  /** The certificate that it uses now. */
  get leaf(): X509Certificate | undefined {
    const der = this.#certified?.chainDer[0];
    return der === undefined ? undefined : new X509Certificate(der);
  }

  /** Obtains or renews its certificate. @throws CertifyError, or why it does not verify */
  async certify(otherwise: AskedOtherwise = {}): Promise<CertifyResponse__Output> {
    const response = await this.#call({
      identity: otherwise.identity ?? this.#options.name,
      token: Buffer.from(otherwise.token ?? (await this.#options.token())),
      certificateSigningRequest: otherwise.csrDer ?? this.csrDer,
    });
    this.#verify(response);
    this.#certified = {
      chainDer: [response.leafCertificate, ...response.intermediateCertificates],
    };
    return response;
  }

  #verify({
    leafCertificate,
    intermediateCertificates,
    validUntil,
  }: CertifyResponse__Output): void {
    const leaf = new X509Certificate(leafCertificate);
    if (leaf.checkHost(this.#options.name, { subject: 'never' }) === undefined)
      throw new Error('the certificate has another name');
    if (leaf.publicKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
      throw new Error('the certificate has no P-256 key');
    if (!leaf.checkPrivateKey(this.key)) throw new Error('the certificate is for another key');
    let at = leaf;
    for (const der of [...intermediateCertificates, ...this.#options.anchorsDer]) {
      const issuer = new X509Certificate(der);
      if (at.checkIssued(issuer) && at.verify(issuer.publicKey)) at = issuer;
    }
    if (!this.#options.anchorsDer.some((anchor) => at.raw.equals(anchor)))
      throw new Error('the chain does not end in an anchor');
    const seconds = validUntil?.seconds ?? 0;
    if (seconds <= Date.now() / 1000) throw new Error('valid_until is not in the future');
    if (seconds !== Math.floor(Date.parse(leaf.validTo) / 1000))
      throw new Error('valid_until is not the end of the certificate');
  }

  async #call(request: object): Promise<CertifyResponse__Output> {
    const socket = this.#dial();
    try {
      await once(socket, 'secureConnect');
      const session = connectHttp2(`https://${this.#options.servingName}`, {
        createConnection: () => socket,
      });
      session.on('error', () => {});
      const call = session.request({
        ':method': 'POST',
        ':path': Certify.path,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      const message = Certify.requestSerialize(request);
      const frame = Buffer.alloc(5);
      frame.writeUInt32BE(message.length, 1);
      call.end(Buffer.concat([frame, message]));
      let trailers: Record<string, unknown> = {};
      call.on('response', (headers) => (trailers = { ...trailers, ...headers }));
      call.on('trailers', (last) => (trailers = { ...trailers, ...last }));
      const body = await buffer(call);
      if (trailers['grpc-status'] !== '0') throw new CertifyError(trailers);
      return Certify.responseDeserialize(body.subarray(5)) as CertifyResponse__Output;
    } finally {
      socket.destroy();
    }
  }

  #dial(): TLSSocket {
    const { port, anchorsDer, servingName } = this.#options;
    return connect({
      host: '127.0.0.1',
      port,
      servername: servingName,
      ca: certificatesToPem(anchorsDer),
      minVersion: 'TLSv1.3',
      ...(this.#certified === undefined
        ? {}
        : {
            cert: certificatesToPem(this.#certified.chainDer),
            key: pemEncode('PRIVATE KEY', pkcs8Of(this.key)),
          }),
    });
  }
}
