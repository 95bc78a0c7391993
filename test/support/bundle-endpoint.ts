import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { certificatesToPem, pemEncode, pkcs8Of, spkiOf } from '../../src/common/x509/index.ts';
import {
  createCertificate,
  createRoot,
  createSvid,
  serverAuth,
  type CertificateOptions,
  type TestAuthority,
} from './test-pki.ts';

const days = 86_400;

/** A root of a foreign trust domain that outlives tests with a clock of their own. */
export const foreignRoot = (trustDomain: string, options: CertificateOptions = {}): TestAuthority =>
  createRoot(trustDomain, { notAfterIn: 30 * days, ...options });

export interface DocumentOptions {
  readonly roots: readonly TestAuthority[];
  readonly sequence?: number;
  readonly hintSeconds?: number;
  readonly jwtKeys?: Readonly<Record<string, KeyObject>>;
}

export const newJwtKey = (): KeyObject =>
  createPublicKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);

/** A bundle document as a foreign server writes it. */
export const bundleDocumentOf = ({
  roots,
  sequence = 1,
  hintSeconds = 60,
  jwtKeys = {},
}: DocumentOptions): string =>
  JSON.stringify({
    keys: [
      ...roots.map(({ certificateDer, privateKey }) => ({
        ...createPublicKey(privateKey).export({ format: 'jwk' }),
        use: 'x509-svid',
        x5c: [certificateDer.toString('base64')],
      })),
      ...Object.entries(jwtKeys).map(([kid, key]) => ({
        ...key.export({ format: 'jwk' }),
        use: 'jwt-svid',
        kid,
      })),
    ],
    spiffe_sequence: sequence,
    spiffe_refresh_hint: hintSeconds,
  });

interface EndpointPair {
  readonly cert: string;
  readonly key: string;
}

const keyPem = (key: KeyObject): string => pemEncode('PRIVATE KEY', pkcs8Of(key));

/** What an endpoint of the profile https_spiffe presents. */
export function svidPair(
  root: TestAuthority,
  id: string,
  options: CertificateOptions = {},
): EndpointPair {
  const { chainDer, privateKey } = createSvid(root, id, { notAfterIn: 20 * days, ...options });
  return { cert: certificatesToPem(chainDer), key: keyPem(privateKey) };
}

/** What an endpoint of the profile https_web presents. */
export function webPair(root: TestAuthority, dnsName = 'localhost'): EndpointPair {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const leaf = createCertificate(root, spkiOf(privateKey), Buffer.from('3000', 'hex'), {
    dnsSans: [dnsName],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [serverAuth],
    notAfterIn: 20 * days,
  });
  return { cert: certificatesToPem([leaf]), key: keyPem(privateKey) };
}

/** A bundle endpoint whose answers a test sets. Owner of its connections. */
export class BundleEndpoint implements AsyncDisposable {
  readonly #server: Server;
  /** The document, or what is done with a request. */
  answer: string | ((request: IncomingMessage, response: ServerResponse) => void) = '{}';
  requests = 0;

  private constructor(pair: EndpointPair) {
    this.#server = createServer(pair, (request, response) => {
      this.requests += 1;
      const { answer } = this;
      if (typeof answer === 'string') response.end(answer);
      else answer(request, response);
    });
  }

  static async start(pair: EndpointPair): Promise<BundleEndpoint> {
    const endpoint = new BundleEndpoint(pair);
    await new Promise<void>((resolve) => endpoint.#server.listen(0, '127.0.0.1', resolve));
    return endpoint;
  }

  get url(): string {
    return `https://localhost:${(this.#server.address() as AddressInfo).port}/`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
