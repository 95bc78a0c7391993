import type { KeyObject } from 'node:crypto';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../src/common/x509/index.ts';
import { fromServiceError, istioContract } from '../../src/common/wire/index.ts';
import type { IstioCertificateRequest } from '../../src/common/wire/generated/istio/v1/auth/IstioCertificateRequest.ts';
import type { Credential, TestServer } from './server.ts';
import { startTokenIssuer, type TokenIssuer } from './token-issuer.ts';
import { patienceMs } from './until.ts';

export const istiod = 'istiod.istio-system.svc';
/** The grants of the tests go to this ID: the front of Istio, and the issuer `prod`. */
export const istioClientId = 'spiffe://mesh.test/meshca/control-plane/istio/prod';

/** A cluster: the issuer of its service account tokens. */
export interface TestCluster extends AsyncDisposable {
  readonly issuer: TokenIssuer;
  /** What a server needs to serve the pods of this cluster. */
  readonly config: object;
  /** A bound token of a pod. */
  token(account: string, over?: Readonly<Record<string, unknown>>): Promise<string>;
}

export async function startTestCluster(): Promise<TestCluster> {
  const issuer = await startTokenIssuer({ plain: true });
  return {
    issuer,
    config: {
      tokens: {
        issuers: [
          {
            name: 'prod',
            type: 'kubernetes',
            issuer: issuer.url,
            purposes: ['istio'],
            audiences: ['istio-ca'],
            allowHttp: true,
          },
        ],
      },
      controlPlanes: { istio: { issuers: ['prod'] } },
    },
    token: (account, over = {}) => {
      const [namespace, name] = account.split('/');
      const { uid = `uid-${name}`, ...claims } = over;
      return issuer.token({
        sub: `system:serviceaccount:${namespace}:${name}`,
        aud: ['istio-ca'],
        'kubernetes.io': {
          namespace,
          serviceaccount: { name, uid: 'account-uid' },
          pod: { name: `${name}-0`, uid },
          node: { name: 'node-a', uid: 'node-uid' },
        },
        ...claims,
      });
    },
    [Symbol.asyncDispose]: () => issuer[Symbol.asyncDispose](),
  };
}

export const csrPem = (der: Buffer): string => pemEncode('CERTIFICATE REQUEST', der);

/** What istio-agent sends beside its CSR. */
const agentMetadata = { fields: { CertSigner: { stringValue: '', kind: 'stringValue' } } } as const;

/** An answered call, or the error with its gRPC status. */
export interface CreateCertificateAnswer {
  readonly certChain: readonly string[];
  readonly code: string;
  readonly status: number;
  readonly refusalId: string;
}

interface Caller {
  readonly token?: string;
  readonly certificate?: Credential;
}

/** CreateCertificate as istio-agent calls it. */
export const createCertificate = (
  { server, rootsDer }: Pick<TestServer, 'server' | 'rootsDer'>,
  request: IstioCertificateRequest,
  caller: Caller = {},
): Promise<CreateCertificateAnswer> =>
  callCreateCertificate(
    { address: `127.0.0.1:${server.port}`, name: istiod, rootsDer },
    request,
    caller,
  );

/** The same on the socket of an agent. */
export const createCertificateLocally = (
  socketPath: string,
  rootsDer: readonly Buffer[],
  request: IstioCertificateRequest,
  caller: Caller = {},
): Promise<CreateCertificateAnswer> =>
  callCreateCertificate({ address: `unix:${socketPath}`, name: 'unix', rootsDer }, request, caller);

async function callCreateCertificate(
  target: { readonly address: string; readonly name: string; readonly rootsDer: readonly Buffer[] },
  request: IstioCertificateRequest,
  caller: Caller,
): Promise<CreateCertificateAnswer> {
  const { service } = istioContract().packages.istio.v1.auth.IstioCertificateService;
  const { path, requestSerialize, responseDeserialize } = service.CreateCertificate;
  const client = new Client(target.address, tls(target.rootsDer, caller.certificate), {
    'grpc.ssl_target_name_override': target.name,
    'grpc.default_authority': target.name,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
  });
  const metadata = new Metadata();
  metadata.set('clusterid', 'Kubernetes');
  if (caller.token !== undefined) metadata.set('authorization', `Bearer ${caller.token}`);
  try {
    return await new Promise((resolve) => {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        { validityDuration: 86_400, metadata: agentMetadata, ...request },
        metadata,
        { deadline: Date.now() + patienceMs },
        (error: ServiceError | null, response) => {
          const refused = error === null ? undefined : fromServiceError(error);
          resolve({
            certChain: response?.certChain ?? [],
            code: refused?.code ?? 'OK',
            status: error?.code ?? 0,
            refusalId: String(refused?.detail['refusalId'] ?? ''),
          });
        },
      );
    });
  } finally {
    client.close();
  }
}

function tls(rootsDer: readonly Buffer[], certificate: Credential | undefined) {
  const roots = Buffer.from(certificatesToPem(rootsDer));
  if (certificate === undefined) return credentials.createSsl(roots);
  return credentials.createSsl(
    roots,
    Buffer.from(pemEncode('PRIVATE KEY', pkcs8Of(certificate.privateKey as KeyObject))),
    Buffer.from(certificatesToPem(certificate.chainDer)),
  );
}
