import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runCommand } from '../support/command.ts';
import { Guided } from './acme/guided.ts';
import { Lab } from './acme/lab.ts';
import { foreignProgram } from './foreign-programs.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const serialOf = ({ serialNumber }: X509Certificate): string => serialNumber.toLowerCase();

describe('docs/acme-clients.md, followed as it stands', { concurrency: true }, () => {
  let lab: Lab;
  before(async () => {
    const acme = foreignProgram('acme');
    const caddy = foreignProgram('caddy');
    const traefik = foreignProgram('traefik');
    lab = await Lab.open(acme, {
      ...{
        certbot: acme.certbot,
        shop: acme.goGuide,
        'acme-clients': acme.go,
        node: process.execPath,
      },
      ...{ caddy: caddy[0] ?? '', traefik: traefik[0] ?? '' },
    });
  });
  after(() => lab[Symbol.asyncDispose]());

  test('certbot issues, renews by ARI, gets a wildcard by RFC 2136, and revokes', async () => {
    const guide = await Guided.open(lab, 'certbot');
    const file = `/etc/letsencrypt/live/${guide.name}/fullchain.pem`;
    await guide.follow(0);
    const first = serialOf(await guide.certificateAt(file));
    await lab.revoke(first);
    await guide.follow(1);
    const second = serialOf(await guide.certificateAt(file));
    assert.notEqual(second, first);
    await guide.follow(2);
    await guide.certificateAt(
      `/etc/letsencrypt/live/${guide.name}-0001/fullchain.pem`,
      `*.${guide.name}`,
    );
    await guide.follow(3);
    assert.ok(await lab.isRevoked(second));
  });

  test('lego issues, renews by days, gets a wildcard by RFC 2136, and revokes', async () => {
    const guide = await Guided.open(lab, 'lego');
    const file = `/var/lib/lego/certificates/${guide.name}.crt`;
    await guide.follow(0);
    const first = serialOf(await guide.certificateAt(file));
    // its certificate lives for nine days
    await guide.follow(1);
    const second = serialOf(await guide.certificateAt(file));
    assert.notEqual(second, first);
    await guide.follow(2);
    await guide.certificateAt(`/var/lib/lego/certificates/_.${guide.name}.crt`, `*.${guide.name}`);
    await guide.follow(3);
    assert.ok(await lab.isRevoked(second));
  });

  test('a CI job exchanges its token with curl, and certbot or lego gets the certificate', async () => {
    const guide = await Guided.open(lab, 'A CI job');
    await lab.admitJobs('oidc:project_id:42', 'oidc:ref_protected:true');
    const jobToken = () => lab.issuer.token({ project_id: '42', ref_protected: 'true' });
    const directory = (await guide.machine.must('pwd')).trim();
    const exchange = `set -e\n${guide.section.commands(0)}`;
    await guide.machine.must(exchange, { MESHCA_ID_TOKEN: await jobToken() });
    await guide.follow(1);
    const { name } = guide;
    await guide.certificateAt(`${directory}/certbot/live/${name}/fullchain.pem`);
    // a job of GitHub Actions asks its platform for the next token
    const token = await jobToken();
    lab.issuer.answer = (path) =>
      path === '/token?api-version=2&audience=meshca'
        ? { status: 200, body: JSON.stringify({ count: 1, value: token }) }
        : undefined;
    const { stdout } = await promisify(execFile)(
      'bash',
      ['-c', `${guide.section.block('sh', 3)}printf %s "$MESHCA_ID_TOKEN"`],
      {
        env: {
          ...process.env,
          ACTIONS_ID_TOKEN_REQUEST_URL: `${lab.issuer.url}/token?api-version=2`,
          ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'secret',
        },
      },
    );
    assert.equal(stdout, token);
    await guide.machine.must(exchange, { MESHCA_ID_TOKEN: token });
    await guide.follow(2);
    await guide.certificateAt(`${directory}/lego/certificates/${name}.crt`);
    await assert.rejects(guide.machine.must(guide.section.commands(0), { MESHCA_ID_TOKEN: token }));
    assert.match(await guide.machine.must('cat eab.json'), /TOKEN_REPLAYED/);
  });

  test('uacme issues, renews by days, gets a wildcard by the hook, and revokes', async () => {
    const guide = await Guided.open(lab, 'uacme');
    await guide.also('A name server for dns-01');
    await guide.also('A web server for http-01');
    await using _nginx = guide.machine.start('exec nginx -g "daemon off;"');
    const file = `/etc/ssl/uacme/${guide.name}/cert.pem`;
    await guide.follow(0);
    const first = serialOf(await guide.certificateAt(file));
    await guide.machine.must(guide.section.block('sh', 0).split('\n').slice(-3).join('\n'));
    const second = serialOf(await guide.certificateAt(file));
    assert.notEqual(second, first);
    await guide.follow(2);
    assert.ok(await lab.isRevoked(second));
    await guide.follow(1);
    await guide.certificateAt(file, `*.${guide.name}`);
  });

  test('dehydrated issues, renews by days, gets a wildcard by the hook, and revokes', async () => {
    const guide = await Guided.open(lab, 'dehydrated');
    await guide.also('A name server for dns-01');
    await guide.also('A web server for http-01');
    await using _nginx = guide.machine.start('exec nginx -g "daemon off;"');
    const file = `/var/lib/dehydrated/certs/${guide.name}/fullchain.pem`;
    await guide.follow(0);
    const first = serialOf(await guide.certificateAt(file));
    // the same commands are those of its timer
    await guide.follow(0);
    const second = serialOf(await guide.certificateAt(file));
    assert.notEqual(second, first);
    await guide.follow(1);
    await guide.certificateAt(
      '/var/lib/dehydrated/certs/wildcard/fullchain.pem',
      `*.${guide.name}`,
    );
    await guide.follow(2);
    assert.ok(await lab.isRevoked(second));
  });

  test('acme-client gets a certificate', async () => {
    const guide = await Guided.open(lab, 'acme-client (npm)');
    const modules = join(dirname(foreignProgram('acme').node), 'node_modules');
    await guide.machine.must(`ln -s ${modules} /usr/local/lib/shop/node_modules`);
    await guide.follow(0);
    await guide.certificateAt('/etc/ssl/shop.pem');
  });

  test('acmez gets a certificate by the program that stands on the page', async () => {
    const guide = await Guided.open(lab, 'acmez (Go)');
    const program = join(root, 'test', 'interop', 'acme', 'go', 'guide', 'main.go');
    assert.equal(guide.section.block('go'), readFileSync(program, 'utf8'));
    await guide.follow(0);
    await guide.certificateAt('/etc/ssl/shop.pem');
  });

  test("cert-manager's types take the objects of the page, and those that the CLI prints", async () => {
    const guide = await Guided.open(lab, 'cert-manager');
    const read = (text: string): Promise<string> =>
      guide.machine.must('printf %s "$OBJECTS" | acme-clients manifest', { OBJECTS: text });
    const [directory, , ...rest] = (await read(guide.section.block('yaml'))).trim().split(/\s+/);
    const { primary, key } = lab.names;
    assert.equal(directory, 'https://ca.example.org/acme/directory');
    assert.deepEqual(rest.slice(1), [primary.address, 'HMACSHA256', key.name, key.secret]);
    const { out } = await runCommand(lab.server, [
      ...['acme', 'key', 'create', 'shop', '--dns-pattern', '*.shop.example.org'],
      ...['--for', 'cert-manager'],
    ]);
    const [printed, kid = '', hmac = ''] = (await read(out)).trim().split(' ');
    assert.equal(printed, directory);
    assert.match(kid, /^[0-9a-f-]{36}$/);
    assert.equal(Buffer.from(hmac, 'base64url').length, 32);
  });

  test('Caddy serves a certificate', async () => {
    const guide = await Guided.open(lab, 'Caddy');
    await using caddy = guide.machine.start(guide.section.daemon(0));
    await guide.serves(guide.name, caddy);
  });

  test('Traefik serves a certificate and a wildcard by RFC 2136', async () => {
    const guide = await Guided.open(lab, 'Traefik');
    await using traefik = guide.machine.start(guide.section.daemon(0));
    await guide.serves(guide.name, traefik);
    await guide.serves(`other.${guide.name}`, traefik);
  });
});
