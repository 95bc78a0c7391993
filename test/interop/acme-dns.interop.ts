import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { until } from '../support/until.ts';
import { Lab } from './acme/lab.ts';
import type { Machine, ProgramEnd } from './acme/network.ts';
import { foreignProgram } from './foreign-programs.ts';

const rounds = 5;

describe('ACME with two name servers, of which the second one gets changes by IXFR', () => {
  let lab: Lab;
  let machine: Machine;
  let lego: (how: 'dns' | 'http', name: string) => Promise<ProgramEnd>;

  before(async () => {
    lab = await Lab.open(foreignProgram('acme'));
    machine = await lab.machine(...['plain', 'account', 'methods'].map(nameOf));
    const { kid, hmac } = await lab.bind();
    const { primary, key } = lab.names;
    let count = 0;
    lego = (how, name) => {
      count += 1;
      // its own look at the name servers would hide what the CA makes of them
      const challenge = how === 'http' ? '--http' : '--dns rfc2136 --dns.disable-cp';
      return machine.run(
        `lego --path /var/home/${count} --server https://ca.example.org/acme/directory \
         --accept-tos --email ops@example.org --eab --kid ${kid} --hmac ${hmac} \
         --domains '${name}' ${challenge} run`,
        {
          LEGO_CA_CERTIFICATES: '/etc/meshca/roots.pem',
          RFC2136_NAMESERVER: primary.address,
          RFC2136_TSIG_ALGORITHM: `${key.algorithm}.`,
          RFC2136_TSIG_KEY: key.name,
          RFC2136_TSIG_SECRET: key.secret,
        },
      );
    };
  });
  after(() => lab[Symbol.asyncDispose]());

  test('a name server that gets the record a moment later is waited for', async () => {
    // a machine that stalls for seconds may take a round
    for (let round = 1; ; round += 1) {
      await lab.names.hold();
      const asked = await lab.names.textQueries();
      const issuing = lego('dns', `*.${nameOf(`late-${round}`)}`);
      await until(
        async () => (await lab.names.textQueries()) > asked,
        'the CA asks the second one',
      );
      await lab.names.letGo();
      const { code, output } = await issuing;
      await lab.names.settled();
      if (code === 0) return;
      assert.match(output, /has no TXT record at ns2\.example\.org/);
      assert.ok(round < rounds, output);
    }
  });

  test('a name server that lacks the record is named, and the next order goes through', async () => {
    const name = `*.${nameOf('lagging')}`;
    await lab.names.hold();
    const refused = await lego('dns', name);
    await lab.names.letGo();
    await lab.names.settled();
    assert.notEqual(refused.code, 0);
    assert.match(
      refused.output,
      /_acme-challenge\.lagging\.shop\.example\.org has no TXT record at ns2\.example\.org \(1 of 2/,
    );
    assert.match(refused.output, /let it wait until every name server has the record/);
    passed(await lego('dns', name));
  });

  test('a challenge is shown in another zone name, to which an alias leads', async () => {
    await lab.names.add(`_acme-challenge.${nameOf('alias')}. CNAME alias.challenges.example.org.`);
    passed(await lego('dns', `*.${nameOf('alias')}`));
  });

  test('CAA allows by wildcard, method and account, and forbids the rest', async () => {
    const ca = 'issue "ca.example.org';
    await lab.names.add(
      `${nameOf('plain')}. CAA 0 ${ca}"`,
      `${nameOf('plain')}. CAA 0 issuewild ";"`,
      `${nameOf('methods')}. CAA 0 ${ca}; validationmethods=dns-01"`,
      `${nameOf('account')}. CAA 0 ${ca}; accounturi=https://ca.example.org/acme/account/other"`,
    );
    passed(await lego('http', nameOf('plain')));
    refusedBy(await lego('dns', `*.${nameOf('plain')}`), /they allow other CAs only/);
    passed(await lego('dns', nameOf('methods')));
    refusedBy(await lego('http', nameOf('methods')), /they do not allow the method http-01/);
    refusedBy(await lego('http', nameOf('account')), /they allow another account only/);
  });

  test('a name server that does not answer is named', async () => {
    await lab.names.secondary.must('ip link set eth0 down');
    const { code, output } = await lego('dns', `*.${nameOf('silent')}`);
    await lab.names.secondary.must('ip link set eth0 up');
    assert.notEqual(code, 0);
    assert.match(output, /at ns2\.example\.org failed: no answer in time/);
    passed(await lego('dns', `*.${nameOf('silent')}`));
  });
});

const nameOf = (label: string): string => `${label}.shop.example.org`;

const passed = ({ code, output }: ProgramEnd): void => assert.equal(code, 0, output);

function refusedBy({ code, output }: ProgramEnd, why: RegExp): void {
  assert.notEqual(code, 0, output);
  assert.match(output, /acme:error:caa/);
  assert.match(output, why);
}
