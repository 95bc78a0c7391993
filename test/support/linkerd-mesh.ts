import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { linkerdName, linkerdServingName } from '../../src/domain/index.ts';
import { LinkerdProxy } from './linkerd-proxy.ts';
import { startTestServer, type TestServer } from './server.ts';
import { startTokenIssuer, type TokenIssuer } from './token-issuer.ts';

export const plane = { namespace: 'linkerd', trustDomain: 'cluster.local' } as const;
export const servingName = linkerdServingName(plane);
export const nameOf = (namespace: string, serviceAccount: string): string =>
  linkerdName(plane, { namespace, serviceAccount });

/** A server that serves Linkerd's proxies, and the issuer of their cluster's tokens. */
export interface LinkerdMesh extends AsyncDisposable {
  readonly server: TestServer;
  readonly issuer: TokenIssuer;
  /** A token of this pod's service account; `claims` replace those of a correct one. */
  token(of: PodAccount, claims?: Readonly<Record<string, unknown>>): Promise<string>;
  /** A proxy of this pod, with the roots that the server has now as its anchors. */
  proxy(of: PodAccount): LinkerdProxy;
}

export interface PodAccount {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly pod: string;
}

export const web: PodAccount = { namespace: 'shop', serviceAccount: 'web', pod: 'web-0' };

/** `over`: what the configuration of the server has beside. */
export async function startLinkerdMesh(over: object = {}): Promise<LinkerdMesh> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-linkerd-'));
  const issuer = await startTokenIssuer();
  writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
  const server = await startTestServer({
    config: {
      controlPlanes: { linkerd: plane },
      tokens: {
        issuers: [
          {
            name: 'prod',
            type: 'kubernetes',
            issuer: issuer.url,
            purposes: ['linkerd'],
            audiences: ['identity.l5d.io'],
            caFile: join(dir, 'ca.pem'),
          },
        ],
      },
      ...over,
    },
  });
  const token: LinkerdMesh['token'] = ({ namespace, serviceAccount, pod }, claims = {}) =>
    issuer.token({
      sub: `system:serviceaccount:${namespace}:${serviceAccount}`,
      aud: ['identity.l5d.io'],
      'kubernetes.io': {
        namespace,
        serviceaccount: { name: serviceAccount, uid: `uid-of-${serviceAccount}` },
        pod: { name: pod, uid: `uid-of-${pod}` },
      },
      ...claims,
    });
  return {
    server,
    issuer,
    token,
    proxy: (of) =>
      new LinkerdProxy({
        port: server.server.port,
        anchorsDer: server.rootsDer,
        servingName,
        name: nameOf(of.namespace, of.serviceAccount),
        token: () => token(of),
      }),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await issuer[Symbol.asyncDispose]();
      await rm(dir, { recursive: true, force: true });
    },
  };
}
