import assert from 'node:assert/strict';
import type { X509Certificate } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { Guided } from './acme/guided.ts';
import { Lab } from './acme/lab.ts';
import { foreignPrograms } from './foreign-programs.ts';

const serialOf = ({ serialNumber }: X509Certificate): string => serialNumber.toLowerCase();

describe('docs/acme-clients.md, followed as it stands', { concurrency: true }, () => {
  let lab: Lab;
  before(async () => {
    const { acme, caddy, traefik } = foreignPrograms();
    const [certbot, caddyProgram = '', traefikProgram = ''] = [acme.certbot, ...caddy, ...traefik];
    lab = await Lab.open(acme, { certbot, caddy: caddyProgram, traefik: traefikProgram });
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
