import { spawn, type ChildProcess } from 'node:child_process';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { freePorts } from '../support/ports.ts';
import { until } from '../support/until.ts';
import { foreignProgram } from './foreign-programs.ts';

/** The API server of Kubernetes with its store: no nodes, no kubelet. */
export interface KubernetesCluster extends AsyncDisposable {
  readonly apiUrl: string;
  readonly issuer: string;
  /** PEM file with the certificate of the API server. */
  readonly caFile: string;
  /** The key with which the API server signs service account tokens. */
  readonly signingKey: KeyObject;
  /** A call as an administrator of the cluster. Throws at a status of 400 and more. */
  api(method: string, path: string, body?: object): Promise<any>;
  /** A token of a service account by TokenRequest. */
  token(
    account: readonly [namespace: string, name: string],
    options: {
      readonly audiences?: readonly string[];
      readonly pod?: { readonly name: string; readonly uid: string };
    },
  ): Promise<string>;
}

const admin = 'interop-admin-token';
export const clusterIssuer = 'https://kubernetes.default.svc';

// oxlint-disable-next-line test-sizes/function-lines -- one cluster, part by part
export async function startKubernetesCluster(): Promise<KubernetesCluster> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-kubernetes-'));
  const [clientPort, peerPort, securePort] = await freePorts(3);
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const file = (name: string, content: string | Buffer): string => {
    const path = join(dir, name);
    writeFileSync(path, content, { mode: 0o600 });
    return path;
  };
  const signing = file('sa.key', privateKey.export({ type: 'pkcs1', format: 'pem' }));
  const verifying = file('sa.pub', publicKey.export({ type: 'spki', format: 'pem' }));
  const tokens = file('tokens.csv', `${admin},admin,admin,system:masters\n`);
  const apiServer = foreignProgram('apiServer');
  const etcd = foreignProgram('etcd');
  const store = `http://127.0.0.1:${clientPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const processes: ChildProcess[] = [];
  let said = '';
  const start = ([command, ...first]: readonly string[], args: readonly string[]): void => {
    const child = spawn(command as string, [...first, ...args], {
      cwd: dir,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-20_000)));
    processes.push(child);
  };
  start(etcd, [
    ...['--name', 'default', '--data-dir', join(dir, 'etcd')],
    ...['--listen-client-urls', store, '--advertise-client-urls', store],
    ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer],
    ...['--initial-cluster', `default=${peer}`],
  ]);
  start(apiServer, [
    `--etcd-servers=${store}`,
    `--secure-port=${securePort}`,
    '--bind-address=127.0.0.1',
    `--cert-dir=${join(dir, 'certs')}`,
    `--service-account-key-file=${verifying}`,
    `--service-account-signing-key-file=${signing}`,
    `--service-account-issuer=${clusterIssuer}`,
    '--service-cluster-ip-range=10.96.0.0/24',
    `--token-auth-file=${tokens}`,
    '--authorization-mode=RBAC',
  ]);
  const apiUrl = `https://127.0.0.1:${securePort}`;
  const caFile = join(dir, 'certs', 'apiserver.crt');
  const call = async (method: string, path: string, body?: object) => {
    const sent = request(`${apiUrl}${path}`, {
      method,
      agent: false,
      ca: readFileSync(caFile),
      headers: { authorization: `Bearer ${admin}`, 'content-type': 'application/json' },
    });
    sent.end(body === undefined ? undefined : JSON.stringify(body));
    const [response] = (await once(sent, 'response')) as [import('node:http').IncomingMessage];
    const content = await text(response);
    return { status: response.statusCode ?? 0, content };
  };
  const api: KubernetesCluster['api'] = async (method, path, body) => {
    const { status, content } = await call(method, path, body);
    if (status >= 400) throw new Error(`${method} ${path}: ${status} ${content}`);
    return JSON.parse(content);
  };
  const stop = async (): Promise<void> => {
    for (const child of processes.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await until(async () => {
      if (processes.some(({ exitCode }) => exitCode !== null))
        throw new Error(`the cluster ended: ${said}`);
      return call('GET', '/readyz').then(
        ({ status }) => status === 200,
        () => false,
      );
    }, 'the API server is ready');
  } catch (thrown) {
    await stop();
    throw thrown;
  }
  return {
    apiUrl,
    issuer: clusterIssuer,
    caFile,
    signingKey: privateKey,
    api,
    token: async ([namespace, name], { audiences, pod }) => {
      const { status } = await api(
        'POST',
        `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: {
            ...(audiences === undefined ? {} : { audiences }),
            expirationSeconds: 600,
            ...(pod === undefined
              ? {}
              : { boundObjectRef: { apiVersion: 'v1', kind: 'Pod', ...pod } }),
          },
        },
      );
      return status.token as string;
    },
    [Symbol.asyncDispose]: stop,
  };
}
