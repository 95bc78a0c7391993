import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { unwrap } from '../../src/common/errors/index.ts';
import { certificatesFromPem, sha256Hex } from '../../src/common/x509/index.ts';
import { freePort } from './ports.ts';
import { until } from './until.ts';

/**
 * A real OpenBao server of this test alone: TLS, storage in memory, unsealed, with a PKI engine, KV
 * version 2 and AppRole.
 */
export interface OpenBao extends AsyncDisposable {
  readonly address: string;
  readonly caFile: string;
  readonly dir: string;
  readonly rootToken: string;
  /** An API call as root; throws with status and text unless it is 2xx. */
  api(
    method: string,
    path: string,
    body?: object,
    options?: { readonly token?: string; readonly namespace?: string },
  ): Promise<any>;
  seal(): Promise<void>;
  unseal(): Promise<void>;
  /** Writes a new secret ID of the AppRole to its file. */
  newSecretId(): Promise<void>;
  readonly roleId: string;
  readonly secretIdFile: string;
  readonly rootPem: string;
}

/**
 * The binary that `npm run setup -- --for=test` installs. Throws where it is missing: a missing
 * part fails a test.
 */
export function baoPath(): string {
  const root = dirname(dirname(fileURLToPath(import.meta.resolve('#softhsm/init.mjs'))));
  const path = join(root, '.meshca-tools', 'openbao', 'bin', 'bao');
  if (!existsSync(path))
    throw new Error('OpenBao is not installed: run "npm run setup -- --for=test"');
  return path;
}

export const signingPolicy =
  'path "pki/root/sign-intermediate" { capabilities = ["update"] }\npath ' +
  '"secret/data/meshca/*" { capabilities = ["read"] }';

/** The section `authorities.upstream` of a server below this OpenBao. */
export const upstreamOf = (bao: OpenBao, over: object = {}): object => ({
  address: bao.address,
  caFile: bao.caFile,
  ttlDays: 90,
  rootSha256: [sha256Hex(unwrap(certificatesFromPem(bao.rootPem))[0] as Buffer)],
  auth: { approle: { roleId: bao.roleId, secretIdFile: bao.secretIdFile } },
  ...over,
});

// oxlint-disable-next-line test-sizes/function-lines -- the set-up of a foreign server, command by command
export async function startOpenBao(): Promise<OpenBao> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-openbao-'));
  const port = await freePort();
  const caFile = join(dir, 'tls.pem');
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      join(dir, 'tls.key'),
      '-out',
      caFile,
      '-days',
      '2',
      '-subj',
      '/CN=openbao test',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
    ],
    { stdio: 'ignore' },
  );
  await mkdir(join(dir, 'home'));
  const address = `https://127.0.0.1:${port}`;
  await writeFile(
    join(dir, 'bao.hcl'),
    `storage "inmem" {}\nlistener "tcp" {\n  address = "127.0.0.1:${port}"\n  tls_cert_file ` +
      `= "${caFile}"\n  tls_key_file = "${join(dir, 'tls.key')}"\n}\napi_addr = "${address}"\n`,
  );
  const child = spawn(baoPath(), ['server', '-config', join(dir, 'bao.hcl')], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { HOME: join(dir, 'home'), PATH: process.env['PATH'] ?? '' },
  });
  const exited = new Promise<void>((resolve) => void child.once('exit', () => resolve()));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream
      .setEncoding('utf8')
      .on('data', (text: string) => void (output = (output + text).slice(-4000)));
  const ca = await readFile(caFile, 'utf8');
  let rootToken = '';
  const call: OpenBao['api'] = (method, path, body, options = {}) =>
    new Promise((resolve, reject) => {
      const sent = request(
        `${address}/v1/${path}`,
        {
          method,
          ca,
          agent: false,
          headers: {
            'x-vault-token': options.token ?? rootToken,
            ...(options.namespace === undefined ? {} : { 'x-vault-namespace': options.namespace }),
          },
        },
        (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => void (text += chunk));
          response.on('end', () => {
            if ((response.statusCode ?? 500) >= 300)
              reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
            else resolve(text === '' ? {} : JSON.parse(text));
          });
        },
      );
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  // a KV mount answers so for a moment after it was made
  const api: OpenBao['api'] = async (...args) => {
    let answer: Awaited<ReturnType<OpenBao['api']>>;
    await until(async () => {
      try {
        answer = await call(...args);
        return true;
      } catch (thrown) {
        if (!/Upgrading from non-versioned/.test((thrown as Error).message)) throw thrown;
        return false;
      }
    }, 'the mount is upgraded');
    return answer;
  };
  const dispose = async (): Promise<void> => {
    child.kill('SIGKILL');
    await exited;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await answering(api, () => output);
    const { keys, root_token: token } = await api('PUT', 'sys/init', {
      secret_shares: 1,
      secret_threshold: 1,
    });
    rootToken = token;
    const unseal = async (): Promise<void> => {
      await api('PUT', 'sys/unseal', { key: keys[0] });
      await active(api);
    };
    await unseal();
    await api('POST', 'sys/mounts/pki', { type: 'pki', config: { max_lease_ttl: '87600h' } });
    const { data: root } = await api('POST', 'pki/root/generate/internal', {
      common_name: 'Upstream Root',
      key_type: 'ec',
      key_bits: 384,
      ttl: '80000h',
    });
    await api('POST', 'sys/mounts/secret', { type: 'kv', options: { version: '2' } });
    await api('PUT', 'sys/policies/acl/meshca', { policy: signingPolicy });
    await api('POST', 'sys/auth/approle', { type: 'approle' });
    await api('POST', 'auth/approle/role/meshca', {
      token_policies: ['meshca'],
      token_ttl: '20m',
      token_max_ttl: '1h',
    });
    const { data: role } = await api('GET', 'auth/approle/role/meshca/role-id');
    const secretIdFile = join(dir, 'secret-id');
    const newSecretId = async (): Promise<void> => {
      const { data } = await api('POST', 'auth/approle/role/meshca/secret-id');
      await writeFile(secretIdFile, data.secret_id, { mode: 0o600 });
    };
    await newSecretId();
    return {
      address,
      caFile,
      dir,
      rootToken,
      api,
      unseal,
      newSecretId,
      secretIdFile,
      roleId: role.role_id,
      rootPem: root.certificate,
      seal: async () => void (await api('PUT', 'sys/seal')),
      [Symbol.asyncDispose]: dispose,
    };
  } catch (thrown) {
    await dispose();
    throw thrown;
  }
}

async function answering(api: OpenBao['api'], output: () => string): Promise<void> {
  await until(
    () =>
      api('GET', 'sys/seal-status').then(
        () => true,
        () => false,
      ),
    'OpenBao starts',
  ).catch(() => {
    throw new Error(`OpenBao did not start:\n${output()}`);
  });
}

async function active(api: OpenBao['api']): Promise<void> {
  await until(
    () =>
      api('GET', 'sys/health').then(
        () => true,
        () => false,
      ),
    'OpenBao becomes active',
  );
}
