import { fail, PkiError, unwrap, type Result } from '../../common/errors/index.ts';
import { uuidv7 } from '../../common/runtime/index.ts';
import { keyTypeOfSpki, sha256Hex, type ParsedCertificate } from '../../common/x509/index.ts';
import { checkAuthorityChain, confirmReading, type AuthorityChain } from '../../certs/index.ts';
import { preparingAuthority, type Authority, type AuthorityState } from '../../domain/index.ts';
import { requireUnblocked } from '../../ledger/index.ts';
import { authorityEvent } from '../authority-event.ts';
import type { ImportedAuthority } from './imported-authority.ts';
import type { SourceDependencies } from './source-dependencies.ts';
import { awaitedId } from './adopt.ts';
import { requestedKey } from './request.ts';

export interface ImportInput {
  readonly authority: Authority;
  readonly certificatesDer: readonly Buffer[];
  /** SHA-256 of the root's DER in hex, if the caller knows the expected root. */
  readonly rootSha256?: string;
}

/**
 * Checks a chain against the key in the token and the rules for foreign authorities. Two
 * independent readers must agree on each certificate. Writes nothing.
 *
 * @throws the codes of `checkAuthorityChain`, CHAIN_UNTRUSTED for another root than expected, and
 *   KEY_BLOCKED
 */
export async function checkImport(
  dependencies: SourceDependencies,
  { authority, certificatesDer, rootSha256 }: ImportInput,
): Promise<{ readonly chain: AuthorityChain; readonly spkiDer: Buffer }> {
  const spkiDer = await requestedKey(dependencies, authority);
  const chain = unwrap(
    checkAuthorityChain({
      certificatesDer,
      spkiDer,
      trustDomain: dependencies.trustDomain,
      now: dependencies.clock.now(),
      minimumLifeSeconds: dependencies.minimumLifeSeconds,
      plannedLifeSeconds: dependencies.plan.lifeSeconds,
    }),
  );
  for (const certificate of [chain.authority, ...chain.above, chain.root]) {
    requireUnblocked(dependencies.blockedKeys, certificate.spkiDer);
    unwrap(await readAgain(certificate));
  }
  const rootDigest = sha256Hex(chain.root.raw);
  if (rootSha256 !== undefined && rootSha256 !== rootDigest) {
    throw new PkiError(
      'CHAIN_UNTRUSTED',
      `the chain ends in the root ${rootDigest}, not in ${rootSha256}`,
      { next: 'Find out who made this chain before you trust it.' },
    );
  }
  return { chain, spkiDer };
}

async function readAgain(certificate: ParsedCertificate): Promise<Result<void>> {
  const confirmed = await confirmReading(certificate.tbsDer, certificate);
  return confirmed.ok
    ? confirmed
    : fail(
        'CERTIFICATE_MALFORMED',
        `the certificate ${certificate.serialHex}: ${confirmed.error.message}`,
      );
}

/**
 * Records the root and the intermediates above, then completes the authority itself. Each step is
 * durable, and the authority is completed last. So a repeated import after a crash finds the
 * earlier records and continues. All of them are left in state `prepared`.
 */
export async function recordImport(
  dependencies: SourceDependencies,
  actor: string,
  authority: Authority,
  { chain, spkiDer }: { readonly chain: AuthorityChain; readonly spkiDer: Buffer },
): Promise<ImportedAuthority> {
  // a waiting rotation of the root expects the new root under this ID
  const root = await external(dependencies, actor, {
    kind: 'root',
    certificate: chain.root,
    parentId: null,
    id: await awaitedId('root', dependencies),
  });
  const above: Authority[] = [];
  let parent = root;
  for (const certificate of [...chain.above].reverse()) {
    parent = await external(dependencies, actor, {
      kind: 'issuing',
      certificate,
      parentId: parent.id,
    });
    above.unshift(parent);
  }
  const { raw, subjectKeyId, notBefore, notAfter, serialHex } = chain.authority;
  const done = await dependencies.authorities.complete(
    { id: authority.id, version: authority.version },
    {
      spkiDer,
      certificateDer: raw,
      subjectKeyId: subjectKeyId as string,
      notBefore,
      notAfter,
      parentId: parent.id,
    },
    authorityEvent(
      dependencies,
      { actor, kind: 'authority.imported', authority },
      {
        serial: serialHex,
        sha256: sha256Hex(raw),
        rootSha256: sha256Hex(chain.root.raw),
        parent: parent.id,
        notAfter,
        warnings: chain.warnings,
      },
    ),
  );
  return { authority: done, root, above, warnings: chain.warnings, activated: false };
}

const usable: readonly AuthorityState[] = ['preparing', 'prepared', 'published', 'active', 'old'];

/** A certificate whose key is not ours. */
interface ForeignCertificate {
  readonly kind: 'root' | 'issuing';
  readonly certificate: ParsedCertificate;
  readonly parentId: string | null;
  /** Default: a new one. */
  readonly id?: string | undefined;
}

/**
 * Returns the record of a certificate whose key is not ours. The record is found by the
 * certificate's digest, or made. An import does not restore a certificate that was taken out of
 * trust.
 */
async function external(
  dependencies: SourceDependencies,
  actor: string,
  foreign: ForeignCertificate,
): Promise<Authority> {
  const record = await recordOf(dependencies, actor, foreign);
  if (record.state !== 'preparing') return record;
  const { certificate, parentId } = foreign;
  const { notBefore, notAfter, serialHex, subjectKeyId, spkiDer, raw } = certificate;
  return dependencies.authorities.complete(
    { id: record.id, version: record.version },
    {
      spkiDer,
      certificateDer: raw,
      subjectKeyId: subjectKeyId ?? null,
      notBefore,
      notAfter,
      ...(parentId === null ? {} : { parentId }),
    },
    authorityEvent(
      dependencies,
      { actor, kind: 'authority.imported', authority: record },
      { serial: serialHex, sha256: sha256Hex(raw), notAfter, token: 'external' },
    ),
  );
}

/** The existing record, or a new one in state `preparing`. */
async function recordOf(
  dependencies: SourceDependencies,
  actor: string,
  { kind, certificate, parentId, id }: ForeignCertificate,
): Promise<Authority> {
  const sha256 = sha256Hex(certificate.raw);
  const recorded = (await dependencies.authorities.list()).find(
    (authority) =>
      authority.ckaId === sha256 || authority.certificateDer?.equals(certificate.raw) === true,
  );
  if (recorded !== undefined && !usable.includes(recorded.state)) {
    throw new PkiError(
      'CONFLICT',
      `the chain leads through ${kind} authority ${recorded.id}, which is ${recorded.state} here`,
      { next: 'Have the authority certified below a CA that was not taken out of trust.' },
    );
  }
  if (recorded !== undefined && recorded.state !== 'preparing') return recorded;
  const { clock } = dependencies;
  const record: Authority =
    recorded ??
    preparingAuthority({
      id: id ?? uuidv7(clock.nowMs()),
      kind,
      keyType: unwrap(keyTypeOfSpki(certificate.spkiDer)),
      token: 'external',
      ckaId: sha256,
      parentId,
      createdAt: clock.now(),
    });
  if (recorded === undefined)
    await dependencies.authorities.create(
      record,
      authorityEvent(
        dependencies,
        { actor, kind: 'authority.prepare', authority: record },
        { token: 'external', sha256 },
      ),
    );
  return record;
}
