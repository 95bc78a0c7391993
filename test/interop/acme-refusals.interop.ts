import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Binding } from './acme/client.ts';
import { Lab } from './acme/lab.ts';
import type { Machine } from './acme/network.ts';
import { foreignProgram } from './foreign-programs.ts';

/** A client that is set up wrongly, and what its user is to read. */
interface Mistake {
  readonly directory: string;
  readonly binding: Binding;
  readonly name: string;
}

interface Refused {
  readonly name: string;
  /** Makes an account and orders, in a directory of its own. */
  readonly script: (mistake: Mistake, dir: string) => string;
}

const clients: readonly Refused[] = [
  {
    name: 'certbot',
    script: ({ directory, binding, name }, dir) =>
      `certbot certonly --config-dir ${dir}/c --work-dir ${dir}/w --logs-dir ${dir}/l \
       --server ${directory} --agree-tos --email ops@example.org --non-interactive --standalone \
       --eab-kid ${binding.kid} --eab-hmac-key ${binding.hmac} -d ${name}`,
  },
  {
    name: 'lego',
    script: ({ directory, binding, name }, dir) =>
      `lego --path ${dir} --server ${directory} --accept-tos --email ops@example.org --http \
       --eab --kid ${binding.kid} --hmac ${binding.hmac} --domains ${name} run`,
  },
  {
    name: 'uacme',
    script: ({ directory, binding, name }, dir) =>
      `uacme -c ${dir} -a ${directory} -y -e ${binding.kid}:${binding.hmac} new ops@example.org
       uacme -c ${dir} -a ${directory} -h /usr/share/uacme/uacme.sh issue ${name}`,
  },
  {
    name: 'dehydrated',
    script: ({ directory, binding, name }, dir) =>
      `mkdir ${dir}; cat > ${dir}/config <<END
CA=${directory}
EAB_KID=${binding.kid}
EAB_HMAC_KEY=${binding.hmac}
BASEDIR=${dir}
WELLKNOWN=/var/www/.well-known/acme-challenge
END
       dehydrated --config ${dir}/config --register --accept-terms
       dehydrated --config ${dir}/config --cron --domain ${name}`,
  },
];

describe('what a client that is set up wrongly prints to its user', { concurrency: true }, () => {
  let lab: Lab;
  let mistakes: readonly (readonly [what: string, mistake: Mistake, printed: RegExp])[];
  before(async () => {
    const acme = foreignProgram('acme');
    lab = await Lab.open(acme, { certbot: acme.certbot });
    mistakes = await mistakesIn(lab);
  });
  after(() => lab[Symbol.asyncDispose]());

  for (const client of clients)
    test(client.name, async () => {
      const machine = await lab.machine(`${client.name}.shop.example.org`);
      await trusting(machine);
      for (const [what, { name, ...mistake }, printed] of mistakes) {
        // uacme says nothing of what it was answered instead of a directory
        if (client.name === 'uacme' && what === 'wrong directory') continue;
        const named = name === '' ? `${client.name}.shop.example.org` : name;
        const dir = `/var/home/${what.replaceAll(' ', '-')}`;
        const { code, output } = await machine.run(
          client.script({ ...mistake, name: named }, dir),
          environment,
        );
        assert.notEqual(code, 0, `${what}: ${output}`);
        assert.match(output, printed, what);
      }
    });
});

const environment = {
  REQUESTS_CA_BUNDLE: '/etc/meshca/roots.pem',
  LEGO_CA_CERTIFICATES: '/etc/meshca/roots.pem',
};

async function mistakesIn(lab: Lab) {
  const directory = 'https://ca.example.org/acme/directory';
  const [good, other, revoked, single] = [
    await lab.bind(),
    await lab.bind('other'),
    await lab.bind(),
    await lab.bind('shop', { wildcards: false, dnsPatterns: ['only.shop.example.org'] }),
  ];
  await lab.server.admin('Acme/RevokeEabKey', { id: revoked.kid, reason: 'left' });
  await lab.names.add('caa.shop.example.org. CAA 0 issue "elsewhere.example"');
  return [
    [
      'wrong directory',
      { directory: 'https://ca.example.org/directory', binding: good, name: '' },
      /there is no resource \/directory\. Offered: .*\/acme\/directory/,
    ],
    [
      'revoked key',
      { directory, binding: revoked, name: '' },
      /the EAB key was revoked\. Ask the operators of this CA for another one/,
    ],
    [
      'MAC key of another key',
      { directory, binding: { kid: good.kid, hmac: other.hmac }, name: '' },
      /the MAC of the external account binding is wrong\. Give the client the key ID and the MAC key/,
    ],
    [
      'key of another tenant',
      { directory, binding: other, name: '' },
      /does not grant the name \S+\.shop\.example\.org\. Ask the operators of this CA for a key/,
    ],
    [
      'key for another name',
      { directory, binding: single, name: '' },
      /does not grant the name \S+\.shop\.example\.org\. Ask the operators of this CA for a key/,
    ],
    [
      'CAA for another CA',
      { directory, binding: good, name: 'caa.shop.example.org' },
      /they allow other CAs only, and not ca\.example\.org\. Let the owner of the zone add/,
    ],
    [
      'name without address',
      { directory, binding: good, name: 'nowhere.shop.example.org' },
      /nowhere\.shop\.example\.org has no A or AAAA record .*\. Correct the records of the name/,
    ],
  ] as const;
}

/** For the clients that know no option for it. */
async function trusting(machine: Machine): Promise<void> {
  await machine.must(
    `cp /etc/meshca/roots.pem /usr/local/share/ca-certificates/meshca.crt
     update-ca-certificates
     mkdir -p /var/www/.well-known/acme-challenge`,
  );
}
