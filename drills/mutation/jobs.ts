import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createCsr } from '../../src/common/x509/index.ts';
import { unaryCall, type Credential, type TestServer } from '../../test/support/server.ts';
import {
  startTokenIssuer,
  tokenAudience,
  type TokenIssuer,
} from '../../test/support/token-issuer.ts';

/** Jobs of a pipeline, which come with a token of their platform. */
export interface Jobs {
  /** A token that nobody used yet. */
  readonly newToken: () => Promise<string>;
  /** The token of a job that has its certificate. */
  readonly used: string;
  /** The token of a job that gave its certificate back, with its key. */
  readonly ended: { readonly token: string; readonly key: KeyObject };
}

/** Where the jobs run: it issues their tokens. */
export class JobPlatform implements AsyncDisposable {
  /** One item of `tokens.issuers` in the server's configuration. */
  readonly settings: object;
  readonly #issuer: TokenIssuer;

  private constructor(issuer: TokenIssuer, caFile: string) {
    this.#issuer = issuer;
    this.settings = {
      name: 'ci',
      type: 'oidc',
      issuer: issuer.url,
      audiences: [tokenAudience],
      caFile,
    };
  }

  static async start(dir: string): Promise<JobPlatform> {
    const issuer = await startTokenIssuer();
    const caFile = join(dir, 'token-issuer.pem');
    await writeFile(caFile, issuer.caPem);
    return new JobPlatform(issuer, caFile);
  }

  /** `step` is called before a certificate is given back. */
  async jobs(server: TestServer, lifeSeconds: number, step: () => void): Promise<Jobs> {
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          id: 'job',
          spiffeId: 'spiffe://mesh.test/job',
          parentId: 'spiffe://mesh.test/meshca/token-issuer/ci',
          selectors: ['oidc:repository:example/app'],
        },
      ],
    });
    const newToken = (): Promise<string> =>
      this.#issuer.token({
        repository: 'example/app',
        exp: Math.floor(Date.now() / 1000) + lifeSeconds,
      });
    const [used, ended] = [await newToken(), await newToken()];
    await issue(server, used);
    const back = await issue(server, ended);
    step();
    const path = '/meshca.issuer.v1.TokenCertificates/EndTokenCertificate';
    await unaryCall(server.client(back), path, {});
    return { newToken, used, ended: { token: ended, key: back.privateKey } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#issuer[Symbol.asyncDispose]();
  }
}

async function issue(server: TestServer, token: string): Promise<Credential> {
  const privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const { spiffeId, serial, chainDer } = await unaryCall(
    server.client(),
    '/meshca.issuer.v1.Pipelines/IssueWithToken',
    { token, csrDer: createCsr(privateKey), spiffeId: '', ttlSeconds: 0 },
  );
  return { spiffeId, serial, chainDer, privateKey };
}
