// Stands in for server, agent and CLI where only the demonstration itself is under test: same
// arguments and files, a real Workload API on a real socket, certificates from a software CA that
// renew every second.
import { createPrivateKey } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { argv, env, exit, pid } from 'node:process';
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { workloadContract } from '../../src/common/wire/index.ts';
import { createRoot, createSvid, type TestAuthority } from './test-pki.ts';

const args = argv.slice(2);
const option = (name: string): string => args[args.indexOf(name) + 1] as string;
const configuration = (): {
  dataDir: string;
  ops: { port: number };
  http: { plain: { port: number } };
  workloadApi: { socketPath: string };
  trustDomain: string;
  attestation: object;
} => JSON.parse(readFileSync(option('--config'), 'utf8'));
const line = (msg: string, code?: string): void =>
  console.log(JSON.stringify({ level: code === undefined ? 'info' : 'fatal', msg, code }));
process.on('SIGTERM', () => {
  line('stopped');
  exit(0);
});

const command = args.slice(0, 2).join(' ');
if (command === 'token create')
  console.log(
    JSON.stringify({
      token: 'join-me',
      agentId: 'spiffe://demo.meshca.test/meshca/agent/join-token/demo-node',
    }),
  );
else if (command === 'entry apply')
  writeFileSync(`${option('--server-socket')}.entries`, readFileSync(option('-f')));
else if (command === 'authority list')
  console.log(
    JSON.stringify([
      { kind: 'root', state: 'active', keyType: 'ec-p384', notAfter: 2_000_000_000 },
      { kind: 'issuing', state: 'active', keyType: 'ec-p256', notAfter: 1_900_000_000 },
    ]),
  );
else if (command === 'server run') serve();
else if (command === 'agent run') attend();
else exit(2);

function operations(port: number, extra: Readonly<Record<string, string>>): void {
  createServer((request, response) => {
    const text =
      request.url === '/ready' ? '{"ready":true,"reasons":[]}' : extra[request.url ?? ''];
    response.statusCode = text === undefined ? 404 : 200;
    response.end(text);
  }).listen(port, '127.0.0.1');
}

function serve(): void {
  if (env['FAKE_SERVER_FAILS'] !== undefined) {
    line('the token does not accept the PIN', 'HSM_PIN_WRONG');
    exit(1);
  }
  const { ops, http } = configuration();
  operations(http.plain.port, { '/bundle': '{"keys":[]}' });
  operations(ops.port, {
    '/metrics':
      'meshca_certificates_issued_total{kind="workload"} 5\nmeshca_certificates_issued_total{kind="agent"} 2\n',
  });
  line(`server ${pid}`);
}

function attend(): void {
  const config = configuration();
  const known = existsSync(config.dataDir);
  if (!known && !('joinToken' in config.attestation)) {
    line('no join token', 'ATTESTATION_FAILED');
    exit(1);
  }
  mkdirSync(config.dataDir, { recursive: true });
  writeFileSync(join(config.dataDir, 'svid'), 'x');
  const root = createRoot(config.trustDomain);
  const server = new Server();
  // the first stream is the greeter's, the second the caller's: who they are is not under test here
  const names = ['greeter', 'caller'];
  server.addService(workloadContract().packages.SpiffeWorkloadAPI.service, {
    fetchX509Svid: (call: ServerWritableStream<unknown, unknown>) => {
      const id = `spiffe://${config.trustDomain}/${names.shift()}`;
      const send = (): void => void call.write(message(root, id));
      const timer = setInterval(send, 1000);
      call.on('cancelled', () => clearInterval(timer));
      send();
    },
  } as never);
  rmSync(config.workloadApi.socketPath, { force: true });
  server.bindAsync(
    `unix:${config.workloadApi.socketPath}`,
    ServerCredentials.createInsecure(),
    () => {
      chmodSync(config.workloadApi.socketPath, 0o777);
      operations(config.ops.port, {});
    },
  );
  line(`agent ${pid}`);
}

function message(root: TestAuthority, id: string): unknown {
  const svid = createSvid(root, id, { notBeforeIn: -5, notAfterIn: 120 });
  const x509SvidKey = createPrivateKey({ key: svid.keyDer, format: 'der', type: 'pkcs8' }).export({
    format: 'der',
    type: 'pkcs8',
  });
  return {
    svids: [
      {
        spiffeId: id,
        x509Svid: Buffer.concat(svid.chainDer),
        x509SvidKey,
        bundle: root.certificateDer,
        hint: '',
      },
    ],
  };
}
