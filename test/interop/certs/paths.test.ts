import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { certificatesToPem, derWriter as w, verifyChain } from '../../../src/common/x509/index.ts';
import {
  anyPurpose,
  clientAuth,
  codeSigning,
  made,
  newKey,
  now,
  serverAuth,
  type Made,
  type Wanted,
} from './path-support.ts';

const run = promisify(execFile);

/**
 * Path cases after the list of x509-limbo (RFC 5280 section 6 and what browsers ask for), with
 * certificates of our own making. `openssl`: what `openssl verify -x509_strict` says; where it differs
 * from us, `because` says why we do.
 */
interface Case {
  readonly name: string;
  readonly chain: readonly Made[];
  readonly roots: readonly Made[];
  readonly ours: string;
  readonly openssl?: 'accepted' | 'refused';
  readonly because?: string;
}

const root = (wanted: Wanted = {}): Made => made({ subject: 'root', ca: true, ...wanted });
const middle = (issuer: Made, wanted: Wanted = {}): Made =>
  made({ subject: 'middle', ca: true, issuer, ...wanted });
const leaf = (issuer: Made, wanted: Wanted = {}): Made => made({ issuer, ...wanted });

/** Leaf, one intermediate and root, each with what is told. */
function chainOf(told: {
  readonly root?: Wanted;
  readonly middle?: Wanted;
  readonly leaf?: Wanted;
}): Pick<Case, 'chain' | 'roots'> {
  const top = root(told.root);
  const between = middle(top, told.middle);
  return { chain: [leaf(between, told.leaf), between], roots: [top] };
}

/** Leaf below so many intermediates, the topmost first told of. */
function chainBelow(middles: readonly Wanted[]): Pick<Case, 'chain' | 'roots'> {
  const top = root();
  const made: Made[] = [];
  for (const [index, wanted] of middles.entries())
    made.unshift(middle(made[0] ?? top, { subject: `middle ${index}`, ...wanted }));
  return { chain: [leaf(made[0] ?? top), ...made], roots: [top] };
}

const constraint = w.sequence(
  w.context(0, w.sequence(w.contextPrimitive(6, Buffer.from('mesh.test')))),
);
const untrusted = 'CHAIN_UNTRUSTED';
const malformed = 'CERTIFICATE_MALFORMED';

const validity: readonly Case[] = [
  { name: 'a good path', ...chainOf({}), ours: 'accepted' },
  { name: 'an expired leaf', ...chainOf({ leaf: { to: -10 } }), ours: 'CERTIFICATE_EXPIRED' },
  {
    name: 'a leaf of the future',
    ...chainOf({ leaf: { from: 900 } }),
    ours: 'CERTIFICATE_NOT_YET_VALID',
  },
  {
    name: 'an expired intermediate',
    ...chainOf({ middle: { to: -10 } }),
    ours: 'CERTIFICATE_EXPIRED',
  },
  { name: 'an expired root', ...chainOf({ root: { to: -10 } }), ours: untrusted },
  {
    name: 'a leaf that ends before it begins',
    ...chainOf({ leaf: { from: 900, to: -900 } }),
    ours: 'CERTIFICATE_NOT_YET_VALID',
  },
];

const extensions: readonly Case[] = [
  {
    name: 'an intermediate without basicConstraints',
    ...chainOf({ middle: { without: ['basicConstraints'] } }),
    ours: untrusted,
  },
  {
    name: 'an intermediate without the CA bit',
    ...chainOf({ middle: { ca: false, usage: ['keyCertSign'], purposes: [] } }),
    ours: untrusted,
  },
  {
    name: 'an intermediate whose basicConstraints are not critical',
    ...chainOf({ middle: { flipped: ['basicConstraints'] } }),
    ours: 'accepted',
    openssl: 'refused',
    because: 'RFC 5280 section 6.1 does not look at it, and it restricts nothing',
  },
  {
    name: 'an intermediate without keyCertSign',
    ...chainOf({ middle: { usage: ['cRLSign'] } }),
    ours: untrusted,
  },
  {
    name: 'an intermediate without keyUsage',
    ...chainOf({ middle: { without: ['keyUsage'] } }),
    ours: untrusted,
  },
  {
    name: 'a root without basicConstraints',
    ...chainOf({ root: { without: ['basicConstraints'] } }),
    ours: untrusted,
  },
  {
    name: 'a leaf with an unknown critical extension',
    ...chainOf({ leaf: { more: [['unknown', true, w.derNull()]] } }),
    ours: untrusted,
  },
  {
    name: 'an intermediate with an unknown critical extension',
    ...chainOf({ middle: { more: [['unknown', true, w.derNull()]] } }),
    ours: untrusted,
  },
  {
    name: 'a root with an unknown critical extension',
    ...chainOf({ root: { more: [['unknown', true, w.derNull()]] } }),
    ours: untrusted,
  },
  {
    name: 'an unknown extension that is not critical',
    ...chainOf({ leaf: { more: [['unknown', false, w.derNull()]] } }),
    ours: 'accepted',
  },
  {
    name: 'the same extension twice',
    ...chainOf({ leaf: { more: [['keyUsage', true, w.namedBits([0])]] } }),
    ours: malformed,
  },
  {
    name: 'an AuthorityKeyIdentifier that is critical',
    ...chainOf({ leaf: { flipped: ['authorityKeyId'] } }),
    ours: malformed,
  },
  {
    name: 'a SubjectKeyIdentifier that is critical',
    ...chainOf({ middle: { flipped: ['subjectKeyId'] } }),
    ours: malformed,
  },
  {
    name: 'a leaf without AuthorityKeyIdentifier',
    ...chainOf({ leaf: { without: ['authorityKeyId'] } }),
    ours: 'accepted',
    openssl: 'refused',
    because: 'identifiers help to find a path, and its signature decides',
  },
  {
    name: 'an intermediate without SubjectKeyIdentifier',
    ...chainOf({ middle: { without: ['subjectKeyId'] } }),
    ours: 'accepted',
    openssl: 'refused',
    because: 'identifiers help to find a path, and its signature decides',
  },
  {
    name: 'an AuthorityKeyIdentifier of another key',
    ...chainOf({ leaf: { authorityKey: Buffer.alloc(20, 7) } }),
    ours: untrusted,
  },
  {
    name: 'an empty subject whose names are not critical',
    ...chainOf({ leaf: { flipped: ['subjectAltName'] } }),
    ours: 'accepted',
    openssl: 'refused',
    because: 'RFC 5280 section 4.1.2.6 asks it of issuers; nothing is decided here by a subject',
  },
  {
    name: 'name constraints that the leaf keeps',
    ...chainOf({ middle: { more: [['nameConstraints', true, constraint]] } }),
    ours: untrusted,
    openssl: 'accepted',
    because: 'we do not evaluate name constraints, so that nobody below them is accepted',
  },
];

const pathLengths: readonly Case[] = [
  { name: 'no intermediate', ...chainBelow([]), ours: 'accepted' },
  { name: 'pathLen 0 with a leaf below', ...chainBelow([{ pathLength: 0 }]), ours: 'accepted' },
  {
    name: 'pathLen 0 with an intermediate below',
    ...chainBelow([{ pathLength: 0 }, {}]),
    ours: untrusted,
  },
  {
    name: 'pathLen 1 with an intermediate below',
    ...chainBelow([{ pathLength: 1 }, {}]),
    ours: 'accepted',
  },
  {
    name: 'pathLen 1 with two intermediates below',
    ...chainBelow([{ pathLength: 1 }, {}, {}]),
    ours: untrusted,
  },
  {
    name: 'a pathLen that grows downwards',
    ...chainBelow([{ pathLength: 0 }, { pathLength: 5 }]),
    ours: untrusted,
  },
  {
    name: 'pathLen 0 with a self-issued intermediate below',
    ...selfIssued(),
    ours: untrusted,
    openssl: 'accepted',
    because:
      'RFC 5280 does not count self-issued intermediates; no CA of ours makes any, and we do',
  },
  {
    name: 'a chain of nine intermediates',
    ...chainBelow(Array.from({ length: 9 }, () => ({}))),
    ours: 'accepted',
  },
  {
    name: 'a chain of ten intermediates',
    ...chainBelow(Array.from({ length: 10 }, () => ({}))),
    ours: untrusted,
    openssl: 'accepted',
    because: 'a bound on what strangers can make us work',
  },
];

const purposes: readonly Case[] = [
  {
    name: 'a leaf without extendedKeyUsage',
    ...chainOf({ leaf: { without: ['extendedKeyUsage'] } }),
    ours: 'accepted',
  },
  {
    name: 'a leaf for servers alone',
    ...chainOf({ leaf: { purposes: [serverAuth] } }),
    ours: 'accepted',
  },
  {
    name: 'a leaf for clients alone, as a server',
    ...chainOf({ leaf: { purposes: [clientAuth] } }),
    ours: untrusted,
  },
  {
    name: 'a leaf for code, as a server',
    ...chainOf({ leaf: { purposes: [codeSigning] } }),
    ours: untrusted,
  },
  {
    name: 'a leaf for any purpose',
    ...chainOf({ leaf: { purposes: [anyPurpose] } }),
    ours: 'accepted',
    openssl: 'refused',
    because: 'RFC 5280 section 4.2.1.12 names it; OpenSSL leaves it to its caller',
  },
  {
    name: 'an intermediate for code, with a server below',
    ...chainOf({ middle: { purposes: [codeSigning] } }),
    ours: untrusted,
  },
  {
    name: 'an intermediate for servers',
    ...chainOf({ middle: { purposes: [serverAuth] } }),
    ours: 'accepted',
  },
];

const forms: readonly Case[] = [
  { name: 'version 1 with extensions', ...chainOf({ leaf: { version: 0 } }), ours: malformed },
  {
    name: 'a serial of 21 octets',
    ...chainOf({ leaf: { serial: Buffer.alloc(21, 0x41) } }),
    ours: malformed,
    openssl: 'accepted',
    because: 'RFC 5280 section 4.1.2.2: at most 20 octets',
  },
  {
    name: 'a serial of zero',
    ...chainOf({ leaf: { serial: Buffer.alloc(1) } }),
    ours: 'accepted',
  },
  {
    name: 'a negative serial',
    ...chainOf({ leaf: { serial: Buffer.from('80ff', 'hex') } }),
    ours: malformed,
    openssl: 'accepted',
    because: 'RFC 5280 section 4.1.2.2: a positive number',
  },
  {
    name: 'two signature algorithms',
    ...chainOf({ leaf: { outerAlgorithm: '1.2.840.10045.4.3.3' } }),
    ours: malformed,
  },
  { name: 'an empty issuer', ...chainOf({ leaf: { issuerName: '' } }), ours: malformed },
];

/** Where several certificates could stand above one. */
const building: readonly Case[] = [
  another(),
  {
    name: 'a signature by another key',
    ...chainOf({ leaf: { signedBy: newKey() } }),
    ours: untrusted,
  },
  {
    name: 'another issuer name',
    ...chainOf({ leaf: { issuerName: 'somebody' } }),
    ours: untrusted,
  },
  missing(),
  ...crossed(),
  cycle(),
  leafAsIssuer(),
  twice(),
];

function selfIssued(): Pick<Case, 'chain' | 'roots'> {
  const top = root();
  const upper = middle(top, { pathLength: 0 });
  const again = middle(upper, { subject: upper.subject });
  return { chain: [leaf(again), again, upper], roots: [top] };
}

function another(): Case {
  const { chain } = chainOf({});
  return { name: 'a root of the same name', chain, roots: [root()], ours: untrusted };
}

function missing(): Case {
  const { chain, roots } = chainOf({});
  return { name: 'no intermediate at hand', chain: chain.slice(0, 1), roots, ours: untrusted };
}

/** One key below two roots: by the one the path is good, by the other it is not. */
function crossed(): readonly Case[] {
  const [good, gone] = [root({ subject: 'good' }), root({ subject: 'gone', to: -10 })];
  const key = newKey();
  const byGood = middle(good, { key });
  const byGone = middle(gone, { key });
  const expired = middle(good, { key, to: -10 });
  const below = leaf(byGood);
  const common = { roots: [good, gone], ours: 'accepted' };
  return [
    {
      name: 'the good one of two paths last',
      chain: [below, byGone, byGood],
      ...common,
      openssl: 'refused' as const,
      because: 'OpenSSL follows one path to its end; we try each',
    },
    { name: 'the good one of two paths first', chain: [below, byGood, byGone], ...common },
    {
      name: 'an expired intermediate beside a valid one',
      chain: [below, expired, byGood],
      ...common,
    },
    {
      name: 'what belongs to no path beside one',
      chain: [below, root({ subject: 'junk' }), byGood],
      ...common,
    },
  ];
}

function cycle(): Case {
  const [one, two] = [newKey(), newKey()];
  const first = made({ subject: 'one', ca: true, key: one });
  const second = made({ subject: 'two', ca: true, key: two, issuer: first });
  const back = made({ subject: 'one', ca: true, key: one, issuer: second });
  return {
    name: 'intermediates in a circle',
    chain: [leaf(back), back, second],
    roots: [root()],
    ours: untrusted,
  };
}

function leafAsIssuer(): Case {
  const top = root();
  const other = leaf(top, { subject: 'other' });
  return {
    name: 'a leaf below a leaf',
    chain: [leaf(other), other],
    roots: [top],
    ours: untrusted,
  };
}

function twice(): Case {
  const { chain, roots } = chainOf({});
  return {
    name: 'the same intermediate twice',
    chain: [...chain, chain[1] as Made],
    roots,
    ours: 'accepted',
  };
}

let folder = '';
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-paths-'));
});
after(() => rm(folder, { recursive: true, force: true }));

let files = 0;
async function openssl({ chain, roots }: Case): Promise<'accepted' | 'refused'> {
  const pem = async (certificates: readonly Made[]): Promise<string> => {
    files += 1;
    const path = join(folder, `${files}.pem`);
    await writeFile(path, certificatesToPem(certificates.map(({ der }) => der)));
    return path;
  };
  const [target, ...others] = chain;
  const untrustedOnes = others.length === 0 ? [] : ['-untrusted', await pem(others)];
  const options = ['-x509_strict', '-purpose', 'sslserver', '-auth_level', '1'];
  try {
    await run('openssl', [
      ...['verify', ...options, '-CAfile', await pem(roots), ...untrustedOnes],
      await pem([target as Made]),
    ]);
    return 'accepted';
  } catch {
    return 'refused';
  }
}

const groups = { validity, extensions, pathLengths, purposes, forms, building };
for (const [group, cases] of Object.entries(groups))
  test(`paths, ${group}: our verifier and OpenSSL agree, or it is said why not`, async () => {
    const found = await Promise.all(
      cases.map(async (one) => {
        const verdict = verifyChain({
          chainDer: one.chain.map(({ der }) => der),
          roots: one.roots.map(({ der }) => der),
          ...{ now, purpose: 'server' as const },
        });
        const ours = verdict.ok ? 'accepted' : verdict.error.code;
        return [one.name, ours, await openssl(one)].join(': ');
      }),
    );
    assert.deepEqual(
      found,
      cases.map(({ name, ours, openssl: theirs }) =>
        [name, ours, theirs ?? (ours === 'accepted' ? 'accepted' : 'refused')].join(': '),
      ),
    );
    for (const { name, openssl: theirs, because } of cases)
      assert.equal(theirs !== undefined, because !== undefined, name);
  });
