import { createPrivateKey, createPublicKey } from 'node:crypto';
import { constants } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { fail, ok, type Result } from '../../src/common/errors/index.ts';
import type { SpiffeId } from '../../src/common/spiffe/index.ts';
import {
  keyTypeOfSpki,
  parseCertificate,
  pemDecode,
  sha256Hex,
  spkiOf,
  verifyChain,
  verifyX509Svid,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';
import type { EffectiveUser } from '../../src/common/unix/effective-user.ts';
import type { Names } from '../ports/entries.ts';
import { namesFaults } from '../svid/index.ts';
import type { StoredSet } from './certificate-set.ts';
import type { FileOperations } from './file-operations.ts';
import type { FederatedRoots } from './federated-roots.ts';
import { federatedKind, filesOf, secretKinds, type FileKind } from './set-files.ts';
import { manifestName } from './set-manifest.ts';
import type { FileTarget } from './target.ts';
import { readPassword } from './key-stores.ts';
import { readPkcs12 } from './pkcs12.ts';

export interface SetExpectation {
  readonly target: Pick<FileTarget, 'spiffeId' | 'keyType' | 'layout' | 'permissions'>;
  readonly set: StoredSet;
  /** What the certificate is to be for. */
  readonly wanted: WantedIdentity | WantedNames;
  /** What `ca` is to hold: the roots of the trust bundle, or those of names. */
  readonly rootsDer: readonly Buffer[];
  /** DER, in their order. */
  readonly crlsDer: readonly Buffer[];
  readonly federatedDer: FederatedRoots;
  /** What is served now. Undefined: nothing, or an operator wants the set although it ends earlier. */
  readonly previous: StoredSet | undefined;
  /** Unix seconds. */
  readonly now: number;
}

export interface WantedIdentity {
  readonly kind: 'identity';
  readonly spiffeId: SpiffeId;
  /** Names that the certificate must have; it may have more. */
  readonly dnsNames: readonly string[];
}

/** Exactly these names, and no identity. */
export interface WantedNames extends Names {
  readonly kind: 'names';
}

export interface OfflineCheckDependencies {
  readonly files: FileOperations;
  readonly user: EffectiveUser;
}

/**
 * Reads a set back from disk and judges what a server would read there: key and leaf, chain and
 * roots, names, validity, key type, owners and modes. Nothing of what was meant to be written is
 * believed. Fails with SET_INVALID, which has each fault in words.
 */
export async function checkSet(
  expectation: SetExpectation,
  dependencies: OfflineCheckDependencies,
): Promise<Result<void>> {
  const faults: string[] = [];
  const contents = await readSet(expectation, dependencies, faults);
  if (contents !== undefined) {
    const forms = formsOf(contents, faults);
    const store = await openStore(expectation, contents, dependencies, faults);
    faults.push(...contentFaults(expectation, store === undefined ? forms : [...forms, store]));
  }
  return faults.length === 0
    ? ok(undefined)
    : fail('SET_INVALID', `the set ${expectation.set.name}: ${faults.join('; ')}`, {
        detail: { faults: faults.length },
      });
}

type Contents = ReadonlyMap<FileKind, Buffer>;

/** Content, owner and mode of each file, from one open file. */
async function readSet(
  { target, set }: SetExpectation,
  { files, user }: OfflineCheckDependencies,
  faults: string[],
): Promise<Contents | undefined> {
  const contents = new Map<FileKind, Buffer>();
  const { uid = user.uid, gid = user.gid, mode, keyMode, directoryMode } = target.permissions;
  const names = filesOf(target.layout);
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants;
  const look = async (
    path: string,
    flags: number,
    wanted: Ids,
    use: (handle: FileHandle) => Promise<void>,
  ): Promise<void> => {
    const what = path.slice(set.directory.length + 1) || 'the directory';
    try {
      const handle = await files.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | flags);
      try {
        faults.push(...ownershipFaults(what, await handle.stat(), wanted));
        await use(handle);
      } finally {
        await handle.close();
      }
    } catch (thrown) {
      faults.push(`${what} can not be read (${(thrown as NodeJS.ErrnoException).code})`);
    }
  };
  const directory: Ids = { uid: user.uid, gid, mode: directoryMode };
  await look(set.directory, O_DIRECTORY, directory, () => Promise.resolve());
  if (faults.some((fault) => fault.startsWith('the directory can not'))) return undefined;
  for (const [kind, name] of Object.entries(names) as [FileKind, string][]) {
    const wanted: Ids = { uid, gid, mode: secretKinds.has(kind) ? keyMode : mode };
    if (kind === 'crl' && !(await isThere(files, join(set.directory, name)))) continue;
    await look(join(set.directory, name), 0, wanted, async (handle) => {
      contents.set(kind, await handle.readFile());
    });
  }
  const known = new Set([...Object.values(names), manifestName]);
  for (const name of await files.readdir(set.directory))
    if (!known.has(name)) faults.push(`${name} does not belong to the set`);
  return contents;
}

const isThere = async (files: FileOperations, path: string): Promise<boolean> =>
  (await files.lstat(path).catch(() => undefined)) !== undefined;

interface Ids {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

function ownershipFaults(what: string, found: Ids, wanted: Ids): readonly string[] {
  const faults: string[] = [];
  if (found.uid !== wanted.uid)
    faults.push(`${what} belongs to user ${found.uid}, not ${wanted.uid}`);
  if (found.gid !== wanted.gid)
    faults.push(`${what} belongs to group ${found.gid}, not ${wanted.gid}`);
  const octal = (mode: number): string => (mode & 0o7777).toString(8).padStart(4, '0');
  if ((found.mode & 0o7777) !== wanted.mode)
    faults.push(`${what} has mode ${octal(found.mode)}, not ${octal(wanted.mode)}`);
  return faults;
}

/** What one file says. */
interface Form {
  readonly kind: FileKind;
  readonly certificates: readonly Buffer[];
  readonly keys: readonly Buffer[];
  readonly crls: readonly Buffer[];
}

/** The first bytes of a JKS file, with its version. */
const jksMagic = Buffer.from('feedfeed00000002', 'hex');

function formsOf(contents: Contents, faults: string[]): readonly Form[] {
  const forms: Form[] = [];
  for (const [kind, content] of contents) {
    if (kind === 'pkcs12') continue;
    if (kind === 'jks') {
      // keytool made it of the same key and chain, and nothing here can open it
      if (!content.subarray(0, jksMagic.length).equals(jksMagic))
        faults.push('the jks file is none');
      continue;
    }
    const decoded = pemDecode(content.toString('latin1'));
    if (!decoded.ok) faults.push(`the ${kind} file is no PEM: ${decoded.error.message}`);
    const ders = (label: string): readonly Buffer[] =>
      decoded.ok
        ? decoded.value.filter((block) => block.label === label).map(({ der }) => der)
        : [];
    forms.push({
      kind,
      certificates: ders('CERTIFICATE'),
      keys: ders('PRIVATE KEY'),
      crls: ders('X509 CRL'),
    });
    if (kind === 'combined' && /\n\s*\n/.test(content.toString('latin1')))
      faults.push('the combined file has a blank line, which HAProxy refuses');
  }
  return forms;
}

async function openStore(
  { target }: SetExpectation,
  contents: Contents,
  { files }: OfflineCheckDependencies,
  faults: string[],
): Promise<Form | undefined> {
  const { pkcs12 } = target.layout;
  const bytes = contents.get('pkcs12');
  if (pkcs12 === undefined || bytes === undefined) return undefined;
  try {
    const password = await readPassword(pkcs12.passwordFile, files);
    const { chainDer, privateKeyPkcs8Der } = await readPkcs12(bytes, password);
    return { kind: 'pkcs12', certificates: chainDer, keys: [privateKeyPkcs8Der], crls: [] };
  } catch (thrown) {
    faults.push(`the pkcs12 file can not be opened: ${(thrown as Error).message}`);
    return undefined;
  }
}

function contentFaults(expectation: SetExpectation, forms: readonly Form[]): readonly string[] {
  const faults: string[] = [];
  const chain = chainOf(forms, faults);
  if (chain === undefined) return [...faults, 'no file has the whole chain'];
  const leaf = parseCertificate(chain[0] as Buffer);
  if (!leaf.ok) return [...faults, `the leaf is no certificate: ${leaf.error.message}`];
  faults.push(...keyFaults(forms, leaf.value));
  faults.push(...trustFaults(expectation, chain, forms));
  faults.push(...leafFaults(expectation, leaf.value));
  return faults;
}

/** Leaf first. Files that hold the same certificates must agree. */
function chainOf(forms: readonly Form[], faults: string[]): readonly Buffer[] | undefined {
  const of = (kind: FileKind): readonly Buffer[] | undefined =>
    forms.find((form) => form.kind === kind)?.certificates;
  const [cert, issuers] = [of('cert'), of('chain')];
  const chains: (readonly [string, readonly Buffer[] | undefined])[] = [
    ...(['fullchain', 'combined', 'pkcs12'] as const).map((kind) => [kind, of(kind)] as const),
    ['cert with chain', cert && issuers && [...cert, ...issuers]],
  ];
  const whole = chains.filter(([, ders]) => ders !== undefined && ders.length > 0);
  const [first, ...others] = whole as (readonly [string, readonly Buffer[]])[];
  if (first === undefined) return undefined;
  const [name, chain] = first;
  for (const [other, ders] of others)
    if (!sameDers(chain, ders)) faults.push(`${other} and ${name} hold other certificates`);
  if (cert !== undefined && !sameDers(cert, chain.slice(0, 1)))
    faults.push('the cert file holds another leaf, or more than the leaf');
  return chain;
}

const keyKinds: readonly FileKind[] = ['key', 'combined', 'pkcs12'];

function keyFaults(forms: readonly Form[], leaf: ParsedCertificate): readonly string[] {
  return forms.flatMap(({ kind, keys }) => {
    const expected = keyKinds.includes(kind) ? 1 : 0;
    if (keys.length !== expected) return [`the ${kind} file holds ${keys.length} private keys`];
    if (expected === 0) return [];
    try {
      const key = createPrivateKey({ key: keys[0] as Buffer, format: 'der', type: 'pkcs8' });
      return spkiOf(createPublicKey(key)).equals(leaf.spkiDer)
        ? []
        : [`the private key in the ${kind} file does not fit the certificate`];
    } catch {
      return [`the private key in the ${kind} file can not be read`];
    }
  });
}

function trustFaults(
  { target, wanted: subject, rootsDer, crlsDer, federatedDer, now }: SetExpectation,
  chainDer: readonly Buffer[],
  forms: readonly Form[],
): readonly string[] {
  const faults: string[] = [];
  const verified =
    subject.kind === 'names'
      ? verifyChain({ chainDer, roots: rootsDer, now, purpose: 'server' })
      : verifyX509Svid({ chainDer, bundle: () => rootsDer, now });
  if (!verified.ok)
    faults.push(`the chain does not hold: ${verified.error.code}, ${verified.error.message}`);
  const of = (wanted: FileKind): Form | undefined => forms.find(({ kind }) => kind === wanted);
  const [ca, crl] = [of('ca'), of('crl')];
  if (crl === undefined && target.layout.crl !== undefined && crlsDer.length > 0)
    faults.push('the crl file is missing');
  if (ca !== undefined && !sameDers(sorted(ca.certificates), sorted(rootsDer)))
    faults.push(`the ca file does not hold exactly the roots of ${trusted[subject.kind]}`);
  if (crl !== undefined && !sameDers(crl.crls, crlsDer))
    faults.push('the crl file does not hold the CRLs of the trust domain');
  for (const trustDomain of Object.keys(target.layout.federated)) {
    const { certificates = [] } = of(federatedKind(trustDomain)) ?? {};
    if (!sameDers(sorted(certificates), sorted(federatedDer.get(trustDomain) ?? [])))
      faults.push(`the file of ${trustDomain} does not hold exactly its roots`);
  }
  return faults;
}

const trusted = { identity: 'the trust bundle', names: 'names' } as const;

function subjectFaults(
  { target, wanted }: Pick<SetExpectation, 'target' | 'wanted'>,
  leaf: ParsedCertificate,
): readonly string[] {
  if (wanted.kind === 'names') return namesFaults(leaf, wanted);
  const faults: string[] = [];
  for (const id of new Set([wanted.spiffeId.toString(), target.spiffeId?.toString()]))
    if (id !== undefined && !leaf.uriSans.includes(id))
      faults.push(`the certificate is not for ${id}, but for ${leaf.uriSans.join() || 'none'}`);
  for (const name of wanted.dnsNames)
    if (!leaf.dnsSans.includes(name)) faults.push(`the certificate lacks the name ${name}`);
  return faults;
}

function leafFaults(
  { target, set, wanted, previous }: SetExpectation,
  leaf: ParsedCertificate,
): readonly string[] {
  const faults = [...subjectFaults({ target, wanted }, leaf)];
  if (leaf.serialHex !== set.serial) faults.push(`the certificate has serial ${leaf.serialHex}`);
  if (sha256Hex(leaf.raw) !== set.leafSha256)
    faults.push('the certificate is another one than the set names');
  const keyType = keyTypeOfSpki(leaf.spkiDer);
  if (!keyType.ok) faults.push(keyType.error.message);
  else if (keyType.value !== target.keyType)
    faults.push(`the key is ${keyType.value}, the target wants ${target.keyType}`);
  if (previous !== undefined && leaf.notAfter <= previous.notAfter)
    faults.push(
      `the certificate ends at ${iso(leaf.notAfter)}, not after that of ${previous.name} (${iso(previous.notAfter)})`,
    );
  return faults;
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
const sorted = (ders: readonly Buffer[]): readonly Buffer[] =>
  [...ders].sort((a, b) => a.compare(b));
const sameDers = (a: readonly Buffer[], b: readonly Buffer[]): boolean =>
  a.length === b.length && a.every((der, index) => der.equals(b[index] as Buffer));
