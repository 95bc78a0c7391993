import assert from 'node:assert/strict';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { request } from 'node:https';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { PkiError } from '../../src/common/errors/index.ts';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { authorizeId, httpsAgent, JwtSource, X509Source } from '../../src/workload/index.ts';
import { agentSeat, type AgentSeat } from '../support/agent-seat.ts';
import { webPair, foreignRoot } from '../support/bundle-endpoint.ts';
import { entryFor } from '../support/federated-pair.ts';
import { freePorts } from '../support/ports.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { patienceMs, until } from '../support/until.ts';
import { foreignPrograms } from './foreign-programs.ts';

const [program = ''] = foreignPrograms().spire;
const [goSpiffe = ''] = foreignPrograms().federation;
const execute = promisify(execFile);

const ours = 'mesh.test';
const theirs = 'partner.test';
const theirEndpointId = `spiffe://${theirs}/spire/server`;
const webRoot = foreignRoot('web', { uriSans: [] });

let dir: string;
let t: TestServer;
let seat: AgentSeat;
let certificates: X509Source;
let tokens: JwtSource;
let spire: ChildProcess | undefined;
let port = 0;
let endpointPort = 0;
const file = (name: string): string => join(dir, name);

/** The configuration of a real SPIRE server that federates with ours by one profile. */
const configuration = (profile: 'https_spiffe' | 'https_web'): string => {
  const { web, spiffe } = t.server.federationPorts;
  const isWeb = profile === 'https_web';
  const own = isWeb
    ? `profile "https_web" { serving_cert_file {
         cert_file_path = "${file('web.pem')}"
         key_file_path = "${file('web.key')}"
         file_sync_interval = "1h"
       } }`
    : 'profile "https_spiffe" {}';
  const other = isWeb
    ? 'bundle_endpoint_profile "https_web" {}'
    : `bundle_endpoint_profile "https_spiffe" {
         endpoint_spiffe_id = "spiffe://${ours}/meshca/server"
       }`;
  return `
server {
  bind_address = "127.0.0.1"
  bind_port = "${port}"
  socket_path = "${file('spire.sock')}"
  trust_domain = "${theirs}"
  data_dir = "${file('spire')}"
  log_level = "WARN"
  ca_key_type = "ec-p256"
  federation {
    bundle_endpoint { address = "127.0.0.1" port = ${endpointPort} refresh_hint = "1s" ${own} }
    federates_with "${ours}" {
      bundle_endpoint_url = "https://localhost:${isWeb ? web : spiffe}/"
      ${other}
    }
  }
}
plugins {
  DataStore "sql" { plugin_data {
    database_type = "sqlite3"
    connection_string = "${file('spire/data.sqlite3')}"
  } }
  KeyManager "disk" { plugin_data { keys_path = "${file('spire/keys.json')}" } }
  NodeAttestor "join_token" { plugin_data {} }
}
`;
};

async function cli(...args: readonly string[]): Promise<string> {
  const { stdout } = await execute(program, [...args, '-socketPath', file('spire.sock')], {
    timeout: patienceMs,
  });
  return stdout;
}

async function startSpire(profile: 'https_spiffe' | 'https_web'): Promise<void> {
  await writeFile(file('spire.conf'), configuration(profile));
  spire = spawn(program, ['run', '-config', file('spire.conf')], {
    stdio: ['ignore', 'inherit', 'inherit'],
    // the CAs of the web, for this process alone
    env: { ...process.env, SSL_CERT_FILE: file('ca.pem'), SSL_CERT_DIR: file('none') },
  });
  await until(
    () =>
      cli('healthcheck').then(
        () => true,
        () => false,
      ),
    'SPIRE is healthy',
  );
}

async function stopSpire(): Promise<void> {
  if (spire === undefined || spire.exitCode !== null) return;
  const exit = once(spire, 'exit');
  spire.kill('SIGTERM');
  await exit;
}

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-spire-'));
  await mkdir(file('spire'));
  const pair = webPair(webRoot);
  await writeFile(file('web.pem'), pair.cert);
  await writeFile(file('web.key'), pair.key, { mode: 0o600 });
  await writeFile(file('ca.pem'), certificatesToPem([webRoot.certificateDer]));
  [port, endpointPort] = (await freePorts(2)) as [number, number];
  t = await startTestServer({
    config: {
      issuance: { bundleRefreshHintSeconds: 10 },
      federation: {
        pollMinimumSeconds: 1,
        web: { port: 0, certFile: file('web.pem'), keyFile: file('web.key') },
        spiffe: { port: 0 },
      },
    },
  });
  const { token, agentId } = await t.admin('Tokens/CreateJoinToken', { agentName: 'node' });
  seat = await agentSeat(t, { joinToken: { token } });
  await seat.start();
  await seat.connected();
  await entryFor({ trustDomain: ours, server: t, seat, agentId }, 'web', [theirs]);
  const { socketPath } = seat;
  certificates = await X509Source.connect({ socketPath, waitMs: patienceMs });
  tokens = await JwtSource.connect({ socketPath, waitMs: patienceMs });
});
after(async () => {
  await stopSpire();
  await certificates?.close();
  await tokens?.close();
  await seat?.[Symbol.asyncDispose]();
  await t?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** Our bundle, as SPIRE holds it. */
const heldBySpire = (): Promise<string> =>
  cli('bundle', 'list', '-id', `spiffe://${ours}`, '-format', 'spiffe');

const ourBundle = () => t.admin('Authorities/GetBundle');
const relationship = () => t.admin('Federation/GetRelationship', { trustDomain: theirs });

async function create(profile: 'https_spiffe' | 'https_web'): Promise<void> {
  const spiffe = profile === 'https_spiffe';
  await t.admin('Federation/CreateRelationship', {
    trustDomain: theirs,
    endpointUrl: `https://localhost:${endpointPort}/`,
    endpointProfile: profile,
    endpointSpiffeId: spiffe ? theirEndpointId : '',
    webRootsDer: spiffe ? [] : [webRoot.certificateDer],
    bundleDocument: Buffer.from(spiffe ? await cli('bundle', 'show', '-format', 'spiffe') : ''),
  });
  await until(async () => {
    const { bundle, polls } = await relationship();
    return bundle !== null && polls !== null && polls.attemptedAt > 0 && polls.failure === null;
  });
}

/** What tells a bundle from another one: its roots and the IDs of its JWT keys. */
const contentOf = (document: string): string =>
  (JSON.parse(document) as { readonly keys: readonly { x5c?: string[]; kid?: string }[] }).keys
    .map(({ x5c, kid }) => x5c?.[0] ?? kid ?? '')
    .sort()
    .join();

/** SPIRE asks our endpoint now, and has what we serve; its workloads get this file. */
async function spireFollows(): Promise<void> {
  await until(async () => {
    await cli('federation', 'refresh', '-id', `spiffe://${ours}`);
    const held = await heldBySpire();
    await writeFile(file('held.json'), held);
    return contentOf(held) === contentOf((await ourBundle()).bundleJson);
  }, 'SPIRE holds our bundle');
}

/** Our next poll has their bundle, and so have our workloads. */
async function weFollow(roots: number): Promise<void> {
  await until(async () => {
    const { bundle } = await relationship();
    return bundle?.rootsDer.length === roots && certificates.bundles.get(theirs)?.length === roots;
  }, `${roots} roots of SPIRE`);
}

/** A server of go-spiffe with an SVID that SPIRE mints now. */
async function greeter(): Promise<{ readonly port: number; end(): Promise<void> }> {
  await cli(...['x509', 'mint', '-spiffeID', `spiffe://${theirs}/web`, '-write', dir]);
  const args = ['greet', ours, file('held.json'), file('svid.pem'), file('key.pem')];
  const child = spawn(goSpiffe, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    port: Number(line.toString()),
    async end() {
      const exit = once(child, 'exit');
      child.stdin.end();
      await exit;
    },
  };
}

/** What it says to a workload of ours, which takes it for nobody else. */
async function greeting(at: number): Promise<string> {
  const agent = httpsAgent(certificates, { expect: authorizeId(`spiffe://${theirs}/web`) });
  try {
    const asked = request({ agent, host: '127.0.0.1', port: at }).end();
    const [response] = (await once(asked, 'response')) as [AsyncIterable<Buffer>];
    let text = '';
    for await (const bytes of response) text += String(bytes);
    return text;
  } finally {
    agent.destroy();
  }
}

async function workloadsTalk(): Promise<void> {
  const { port: at, end } = await greeter();
  try {
    assert.equal(await greeting(at), `hello spiffe://${ours}/web`);
  } finally {
    await end();
  }
}

const theirToken = async (): Promise<string> =>
  (await cli('jwt', 'mint', '-spiffeID', `spiffe://${theirs}/web`, '-audience', 'us')).trim();

/** A JWT-SVID of each is valid to a workload of the other. */
async function tokensVerify(): Promise<void> {
  const { id } = await tokens.validate(await theirToken(), 'us');
  assert.equal(String(id), `spiffe://${theirs}/web`);
  const { token } = await tokens.fetch('them');
  const { stdout } = await execute(goSpiffe, ['validate', ours, file('held.json'), 'them', token]);
  assert.equal(stdout.trim(), `spiffe://${ours}/web`);
}

interface Authorities {
  readonly prepared_authority: { readonly authority_id: string };
}

async function authority(verb: string, id?: string): Promise<Authorities> {
  const args = id === undefined ? [] : ['-authorityID', id];
  return JSON.parse(await cli('localauthority', 'x509', verb, ...args, '-output', 'json'));
}

/** They prepare a root, sign by it, and withdraw the old one. */
async function theirRootIsReplaced(): Promise<void> {
  const old = await greeter();
  try {
    const { prepared_authority: prepared } = await authority('prepare');
    await weFollow(2);
    const { active } = (await authority('show')) as unknown as {
      readonly active: { readonly authority_id: string };
    };
    await authority('activate', prepared.authority_id);
    await workloadsTalk();
    assert.equal(await greeting(old.port), `hello spiffe://${ours}/web`);
    await authority('taint', active.authority_id);
    await authority('revoke', active.authority_id);
    await weFollow(1);
    await workloadsTalk();
    await assert.rejects(greeting(old.port));
  } finally {
    await old.end();
  }
}

test('with a real SPIRE server, by SVIDs, in both directions, over rotations of both sides', async () => {
  await startSpire('https_spiffe');
  await writeFile(file('mesh.json'), (await ourBundle()).bundleJson);
  const set = ['bundle', 'set', '-format', 'spiffe', '-id', `spiffe://${ours}`];
  await cli(...set, '-path', file('mesh.json'));
  await create('https_spiffe');
  await spireFollows();
  await weFollow(1);
  await workloadsTalk();
  await tokensVerify();
  await theirRootIsReplaced();
  const before = (await ourBundle()).sequence;
  await t.admin('Authorities/RotateAuthorities', { kind: 'jwt', reason: 'test', force: true });
  await until(async () => (await ourBundle()).sequence > before);
  await spireFollows();
  await tokensVerify();
  const last = await theirToken();
  const { port: at, end } = await greeter();
  try {
    await t.admin('Federation/DeleteRelationship', { trustDomain: theirs, reason: 'over' });
    await assert.rejects(relationship(), (thrown: PkiError) => thrown.code === 'NOT_FOUND');
    await until(() => !certificates.bundles.has(theirs) && !tokens.trustDomains.includes(theirs));
    await assert.rejects(greeting(at));
    await assert.rejects(tokens.validate(last, 'us'));
  } finally {
    await end();
  }
  await stopSpire();
});

test('with a real SPIRE server, by certificates of the web, in both directions', async () => {
  await startSpire('https_web');
  await create('https_web');
  await spireFollows();
  await weFollow(1);
  await workloadsTalk();
  await tokensVerify();
});
