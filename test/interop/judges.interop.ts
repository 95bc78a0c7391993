import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { certificatesToPem, keyTypes, type KeyType } from '../../src/common/x509/index.ts';
import type { LeafProfile } from '../../src/certs/index.ts';
import { authority, leaf, type Issued, type Times } from './certs/support.ts';
import { foreignProgram } from './foreign-programs.ts';
import { ask, purposes, vfychain, type Case } from './judge.ts';

const run = promisify(execFile);
const now = Math.floor(Date.now() / 1000);
const day = 86_400;
const hour: Times = { notBefore: now - 60, notAfter: now + 3_600 };
const past: Times = { notBefore: now - 7_200, notAfter: now - 3_600 };
const year: Times = { notBefore: now - 8_000, notAfter: now + 365 * day };
const profiles: readonly LeafProfile[] = ['short-lived', 'revocable', 'server'];
const namesProfiles: readonly LeafProfile[] = ['short', 'classic', 'hours'];

const chainsOf = (keyType: KeyType): { readonly root: Issued; readonly intermediate: Issued } => {
  const root = authority('root', keyType, undefined, year);
  return { root, intermediate: authority('intermediate', keyType, root, year) };
};

/** Every profile below authorities of every key type, with a key of every type, for both purposes. */
function goodCases(): readonly Case[] {
  return keyTypes.flatMap((issuerType) => {
    const { root, intermediate } = chainsOf(issuerType);
    return profiles.flatMap((profile) =>
      keyTypes.flatMap((leafType) => {
        const issued = leaf(profile, leafType, intermediate, hour);
        return purposes.map((purpose) => ({
          name: `${profile} ${leafType} below ${issuerType}, as ${purpose}`,
          purpose,
          chain: [issued.parsed.raw, intermediate.parsed.raw],
          root: root.parsed.raw,
        }));
      }),
    );
  });
}

const namesChainsOf = (keyType: KeyType): ReturnType<typeof chainsOf> => {
  const root = authority('root', keyType, undefined, { ...year, names: true });
  return { root, intermediate: authority('intermediate', keyType, root, { ...year, names: true }) };
};

/** Every profile of names below authorities of names, for servers alone. */
function namesCases(): readonly Case[] {
  return keyTypes.flatMap((issuerType) => {
    const { root, intermediate } = namesChainsOf(issuerType);
    return namesProfiles.flatMap((profile) =>
      keyTypes.map((leafType) => ({
        name: `${profile} ${leafType} below ${issuerType} of names, as server`,
        purpose: 'server' as const,
        chain: [leaf(profile, leafType, intermediate, hour).parsed.raw, intermediate.parsed.raw],
        root: root.parsed.raw,
      })),
    );
  });
}

/** What no judge may accept, so that a judge that accepts everything fails. */
function badCases(): readonly Case[] {
  const { root, intermediate } = chainsOf('ec-p256');
  const good = leaf('short-lived', 'ec-p256', intermediate, hour).parsed.raw;
  const chain = [good, intermediate.parsed.raw];
  const changed = Buffer.from(good);
  changed[changed.length - 1] = (changed[changed.length - 1] as number) ^ 1;
  const common = { purpose: 'server', chain, root: root.parsed.raw } as const;
  const names = namesChainsOf('ec-p256');
  const ofNames = namesProfiles.map((profile) => [
    leaf(profile, 'ec-p256', names.intermediate, hour).parsed.raw,
    names.intermediate.parsed.raw,
  ]);
  return [
    ...ofNames.map((namesChain, index) => ({
      name: `a client with ${namesProfiles[index]}`,
      purpose: 'client' as const,
      chain: namesChain,
      root: names.root.parsed.raw,
    })),
    ...ofNames.map((namesChain, index) => ({
      ...common,
      name: `${namesProfiles[index]} below the root of the mesh`,
      chain: namesChain,
    })),
    { ...common, name: 'an X.509-SVID below the root of names', root: names.root.parsed.raw },
    { ...common, name: 'another root', root: chainsOf('ec-p384').root.parsed.raw },
    { ...common, name: 'no intermediate', chain: [good] },
    { ...common, name: 'a changed signature', chain: [changed, intermediate.parsed.raw] },
    {
      ...common,
      name: 'an expired leaf',
      chain: [
        leaf('short-lived', 'ec-p256', intermediate, past).parsed.raw,
        intermediate.parsed.raw,
      ],
    },
  ];
}

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-judges-'));
});
after(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function file(content: string | Buffer): Promise<string> {
  files += 1;
  const path = join(folder, `${files}`);
  await writeFile(path, content);
  return path;
}

describe('verifiers of other languages', () => {
  const [good, bad] = [[...goodCases(), ...namesCases()], badCases()];

  for (const judge of ['go', 'rust', 'java'] as const) {
    test(`${judge} accepts every certificate that is good`, async () => {
      const refused = [...(await ask(judge, good)).values()].filter(({ accepted }) => !accepted);
      assert.deepEqual(refused, []);
    });

    test(`${judge} refuses every certificate that is not`, async () => {
      const accepted = [...(await ask(judge, bad)).values()].filter((verdict) => verdict.accepted);
      assert.deepEqual(accepted, []);
    });
  }

  test("zlint's rules of the RFCs find nothing", async () => {
    const found = [...(await ask('go', good)).values()].flatMap(({ name, lints = [] }) =>
      lints.map((each) => `${name}: ${each}`),
    );
    assert.deepEqual(found, []);
  });
});

describe('NSS', () => {
  test('accepts leaves of every key type and profile', async () => {
    const cases = [...goodCases(), ...namesCases()];
    for (const each of cases.filter(({ name }) => name.includes('below ec-p256')))
      assert.match(await vfychain(folder, each), /Chain is good/, each.name);
  });

  test('refuses what no verifier may accept', async () => {
    for (const each of badCases())
      assert.doesNotMatch(await vfychain(folder, each), /Chain is good/, each.name);
  });
});

/** pkilint finds the syntax of every URI of the scheme spiffe invalid, which it does not know. */
const spiffeUriFinding =
  /GeneralNameUriSyntaxValidator @ .*\n.*Invalid URI syntax: "spiffe:\/\/[^"]*"\n?/;

/** Nor does it know wildcards, about which RFC 5280 section 4.2.1.6 says nothing. */
const wildcardFinding =
  /GeneralNameDnsNameSyntaxValidator @ .*\n.*Invalid domain name syntax: "\*\.[^"]*"\n?/;

test('pkilint finds no error in certificates of any profile', async () => {
  const { root, intermediate } = chainsOf('ec-p256');
  const names = namesChainsOf('ec-p256');
  const [program = ''] = foreignProgram('pkilint');
  for (const issued of [
    root,
    intermediate,
    names.root,
    names.intermediate,
    ...namesProfiles.map((profile) => leaf(profile, 'ec-p256', names.intermediate, hour)),
    leaf('classic', 'rsa-2048', names.intermediate, hour),
    ...profiles.map((profile) => leaf(profile, 'ec-p256', intermediate, hour)),
    leaf('revocable', 'rsa-2048', intermediate, hour),
  ]) {
    const path = await file(certificatesToPem([issued.parsed.raw]));
    const { stdout } = await run(program, ['lint', '-s', 'ERROR', path]).catch(
      (error: { stdout: string }) => error,
    );
    assert.equal(stdout.replace(spiffeUriFinding, '').replace(wildcardFinding, '').trim(), '');
  }
});
