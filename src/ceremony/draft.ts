import { readFileSync } from 'node:fs';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock, Random } from '../common/runtime/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import {
  certificatesFromPem,
  checkCrlSignature,
  keyTypeOfSpki,
  parseCertificate,
  parseCrl,
  csrFromPem,
  sha256Hex,
  verifyChain,
  type KeyType,
  type ParsedCertificate,
} from '../common/x509/index.ts';
import {
  authorityIdentity,
  buildAuthorityTbs,
  buildCrlTbs,
  lint,
  lintCrl,
  newSerial,
  parseCsr,
  readCrlTwice,
  readTwice,
  type AuthorityProfile,
} from '../certs/index.ts';
import { checkProof } from '../hsm/proof.ts';
import type { LoadedPlan } from './plan.ts';
import type { Facts } from './transcript.ts';

/** The object that the token must sign, and the facts that a person confirms first. */
export interface Draft {
  readonly tbsDer: Buffer;
  /** undefined: the root itself. */
  readonly issuer: ParsedCertificate | undefined;
  readonly signerKeyType: KeyType;
  readonly out: string;
  /** Shown to the person who confirms, and written into the transcript. */
  readonly facts: Facts;
  /**
   * Called before signing: two independent readers must agree on the object.
   *
   * @throws PkiError LINT_FAILED
   */
  readonly readTwice: () => Promise<void>;
  /**
   * Called after signing: the signed object must be exactly the drafted one.
   *
   * @throws PkiError LINT_FAILED, CRL_INVALID, CHAIN_UNTRUSTED
   */
  readonly check: (signedDer: Buffer) => void;
  /** The PEM label, and the objects that follow in the file. */
  readonly label: 'CERTIFICATE' | 'X509 CRL';
  readonly appended: readonly Buffer[];
}

export interface DraftTools {
  readonly clock: Clock;
  readonly random: Random;
}

const day = 86_400;

/** The draft of a root with this public key. */
export function draftRoot({ plan }: LoadedPlan, spkiDer: Buffer, tools: DraftTools): Draft {
  const { lifeDays, out, keyType } = plan.root as NonNullable<typeof plan.root>;
  const now = tools.clock.now();
  return certificateDraft(
    plan.trustDomain,
    {
      profile: 'root',
      issuer: undefined,
      spkiDer,
      notBefore: now - plan.clockSkewSeconds,
      notAfter: now + lifeDays * day,
    },
    { signerKeyType: keyType, out, appended: [], facts: {} },
    tools,
  );
}

/**
 * The draft of an object that an existing root signs. Everything that can be refused is refused
 * here, before a token is opened.
 */
export function draftBelow(loaded: LoadedPlan, tools: DraftTools): Draft {
  const { plan, kind, file } = loaded;
  const section = plan[kind] as { readonly issuer: string };
  const issuer = readIssuer(file(section.issuer), plan.trustDomain, tools.clock.now());
  if (kind === 'intermediate') return draftIntermediate(loaded, issuer, tools);
  return kind === 'crossCertificate'
    ? draftCross(loaded, issuer, tools)
    : draftCrl(loaded, issuer, tools);
}

function draftIntermediate(
  { plan, file }: LoadedPlan,
  issuer: ParsedCertificate,
  tools: DraftTools,
): Draft {
  const {
    csr: csrPath,
    csrSha256,
    for: purpose,
    lifeDays,
    crlUrl,
    out,
  } = plan.intermediate as NonNullable<typeof plan.intermediate>;
  const csrDer = readCsr(file(csrPath));
  const digest = sha256Hex(csrDer);
  if (digest !== csrSha256)
    throw new PkiError(
      'CSR_DIGEST_MISMATCH',
      `${csrPath} has the SHA-256 ${digest}, the plan says ${csrSha256}`,
    );
  const csr = unwrap(parseCsr(csrDer));
  unwrap(checkProof(csr.proof));
  const id = TrustDomain.of(plan.trustDomain).id;
  const foreign = csr.uriSans.find((uri) => uri !== id) ?? csr.dnsSans[0] ?? csr.otherSanKinds[0];
  if (foreign !== undefined)
    throw new PkiError(
      'CSR_IDENTITY_MISMATCH',
      `the CSR asks for ${foreign}: the only SAN of an intermediate of this trust domain is ${id}`,
      { next: 'Take the CSR from "meshca authority csr" of the server of this trust domain.' },
    );
  if (csr.spkiDer.equals(issuer.spkiDer))
    throw new PkiError('KEY_RESERVED', 'the key in the CSR is that of the root');
  return certificateDraft(
    plan.trustDomain,
    {
      profile: purpose === 'server' ? 'intermediate' : 'downstream',
      issuer,
      spkiDer: csr.spkiDer,
      ...lifeBelow(plan, issuer, lifeDays, tools),
      ...(crlUrl === undefined ? {} : { crlUrl }),
    },
    {
      signerKeyType: unwrap(keyTypeOfSpki(issuer.spkiDer)),
      out,
      appended: [issuer.raw],
      facts: { csrSha256: digest, for: purpose },
    },
    tools,
  );
}

function draftCross(
  { plan, file }: LoadedPlan,
  issuer: ParsedCertificate,
  tools: DraftTools,
): Draft {
  const {
    subject: subjectPath,
    subjectSha256,
    lifeDays,
    crlUrl,
    out,
  } = plan.crossCertificate as NonNullable<typeof plan.crossCertificate>;
  const subject = readIssuer(file(subjectPath), plan.trustDomain, tools.clock.now());
  const digest = sha256Hex(subject.raw);
  if (digest !== subjectSha256)
    throw new PkiError(
      'CSR_DIGEST_MISMATCH',
      `${subjectPath} has the SHA-256 ${digest}, the plan says ${subjectSha256}`,
    );
  if (subject.spkiDer.equals(issuer.spkiDer))
    throw new PkiError(
      'AUTHORITY_UNFIT',
      'issuer and subject of the cross-certificate are the same root',
    );
  const { notBefore, notAfter } = lifeBelow(plan, issuer, lifeDays, tools);
  if (notAfter > subject.notAfter)
    throw tooLong('the root that it certifies', subject, tools.clock.now());
  return certificateDraft(
    plan.trustDomain,
    {
      profile: 'cross',
      issuer,
      spkiDer: subject.spkiDer,
      subjectDer: subject.subjectDer,
      subjectMarked: subject.serverAuthority,
      notBefore: Math.max(notBefore, subject.notBefore),
      notAfter,
      ...(crlUrl === undefined ? {} : { crlUrl }),
    },
    {
      signerKeyType: unwrap(keyTypeOfSpki(issuer.spkiDer)),
      out,
      appended: [],
      facts: { subjectSha256: digest },
    },
    tools,
  );
}

function draftCrl({ plan }: LoadedPlan, issuer: ParsedCertificate, { clock }: DraftTools): Draft {
  const { number, lifeDays, revoked, out } = plan.crl as NonNullable<typeof plan.crl>;
  const thisUpdate = clock.now();
  const nextUpdate = thisUpdate + lifeDays * day;
  if (nextUpdate > issuer.notAfter) throw tooLong('the root that signs it', issuer, thisUpdate);
  const entries = revoked.map(({ serial, revokedAt, reason }) => ({
    serialHex: serial,
    revokedAt: Math.floor(Date.parse(revokedAt) / 1000),
    ...(reason === undefined ? {} : { reason }),
  }));
  const future = entries.find((entry) => entry.revokedAt > thisUpdate);
  if (future !== undefined)
    throw new PkiError(
      'PLAN_INVALID',
      `the certificate ${future.serialHex} would be revoked in the future`,
    );
  const meant = { issuer, number: BigInt(number), thisUpdate, nextUpdate, revoked: entries };
  const tbsDer = buildCrlTbs(meant);
  unwrap(lintCrl(tbsDer, meant));
  return {
    tbsDer,
    issuer,
    signerKeyType: unwrap(keyTypeOfSpki(issuer.spkiDer)),
    out,
    label: 'X509 CRL',
    appended: [],
    facts: {
      what: 'crl',
      number,
      thisUpdate,
      nextUpdate,
      revoked: entries.map((entry) => entry.serialHex),
      issuerSha256: sha256Hex(issuer.raw),
    },
    readTwice: async () => unwrap(await readCrlTwice(tbsDer)),
    check: (signedDer) => {
      const signed = unwrap(parseCrl(signedDer));
      if (!signed.tbsDer.equals(tbsDer))
        throw new PkiError('LINT_FAILED', 'the signed CRL differs from the draft');
      unwrap(checkCrlSignature(signed, issuer));
    },
  };
}

interface CertificateInput {
  readonly profile: AuthorityProfile;
  readonly issuer: ParsedCertificate | undefined;
  readonly spkiDer: Buffer;
  readonly subjectDer?: Buffer;
  readonly subjectMarked?: boolean;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly crlUrl?: string;
}

function certificateDraft(
  trustDomainName: string,
  input: CertificateInput,
  rest: Pick<Draft, 'signerKeyType' | 'out' | 'appended' | 'facts'>,
  { clock, random }: DraftTools,
): Draft {
  const trustDomain = TrustDomain.of(trustDomainName);
  const serial = newSerial(clock.nowMs(), random);
  const { profile, issuer, spkiDer, notBefore, notAfter } = input;
  const tbsDer = buildAuthorityTbs({ ...input, serial, trustDomain });
  unwrap(lint(tbsDer, profile, { ...input, subject: authorityIdentity(trustDomain) }));
  return {
    tbsDer,
    issuer,
    label: 'CERTIFICATE',
    ...rest,
    facts: {
      what: profile,
      serial: serial.toString('hex'),
      notBefore,
      notAfter,
      publicKeySha256: sha256Hex(spkiDer),
      ...(issuer === undefined ? {} : { issuerSha256: sha256Hex(issuer.raw) }),
      ...rest.facts,
    },
    readTwice: async () => unwrap(await readTwice(tbsDer)),
    check: (signedDer) => {
      const signed = unwrap(parseCertificate(signedDer));
      // these bytes passed the lint, so that a new parse would show nothing
      if (!signed.tbsDer.equals(tbsDer))
        throw new PkiError('LINT_FAILED', 'the signed certificate differs from the draft');
      unwrap(
        verifyChain({ chainDer: [signedDer], roots: [issuer?.raw ?? signedDer], now: clock.now() }),
      );
    },
  };
}

/**
 * Reads a root of ours from a file: self-signed, valid now, of this trust domain, and allowed to
 * sign.
 */
function readIssuer(path: string, trustDomainName: string, now: number): ParsedCertificate {
  const ders = certificatesFromPem(readText(path));
  if (!ders.ok) throw new PkiError('CERTIFICATE_MALFORMED', `${path}: ${ders.error.message}`);
  const issuer = unwrap(parseCertificate(ders.value[0] as Buffer));
  if (!issuer.isCa || issuer.keyUsage?.names.has('keyCertSign') !== true)
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `${path} is not a CA certificate that may sign certificates`,
      {
        next: 'Give the certificate of the root.',
      },
    );
  const expected = TrustDomain.of(trustDomainName).id;
  if (issuer.uriSans.length !== 1 || issuer.uriSans[0] !== expected)
    throw new PkiError(
      'TRUST_DOMAIN_FOREIGN',
      `${path} is for ${issuer.uriSans.join(', ') || 'no trust domain'}, the plan is for ${expected}`,
      { next: 'Take the root of the trust domain that the plan names.' },
    );
  if (now > issuer.notAfter)
    throw new PkiError(
      'CERTIFICATE_EXPIRED',
      `${path} expired at ${new Date(issuer.notAfter * 1000).toISOString()}`,
      { next: 'Hold the ceremony for a new root first.' },
    );
  if (now < issuer.notBefore)
    throw new PkiError(
      'CERTIFICATE_NOT_YET_VALID',
      `${path} is not valid before ${new Date(issuer.notBefore * 1000).toISOString()}`,
      { next: 'Check the clock of this machine.' },
    );
  if (!issuer.subjectDer.equals(issuer.issuerDer))
    throw new PkiError('AUTHORITY_UNFIT', `${path} is not a root: another CA signed it`, {
      next: 'Give the certificate of the root.',
    });
  unwrap(verifyChain({ chainDer: [issuer.raw], roots: [issuer.raw], now }));
  return issuer;
}

function readCsr(path: string): Buffer {
  const csr = csrFromPem(readText(path));
  if (!csr.ok) throw new PkiError('CSR_MALFORMED', `${path}: ${csr.error.message}`);
  return csr.value;
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new PkiError(
      'PLAN_INVALID',
      `${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
    );
  }
}

/** A life is never shortened silently: one that does not fit below its issuer is refused. */
function lifeBelow(
  plan: { readonly clockSkewSeconds: number },
  issuer: ParsedCertificate,
  lifeDays: number,
  { clock }: DraftTools,
): { readonly notBefore: number; readonly notAfter: number } {
  const now = clock.now();
  const notAfter = now + lifeDays * day;
  if (notAfter > issuer.notAfter) throw tooLong('the root that signs it', issuer, now);
  return { notBefore: Math.max(now - plan.clockSkewSeconds, issuer.notBefore), notAfter };
}

const tooLong = (issuerName: string, certificate: ParsedCertificate, now: number): PkiError =>
  new PkiError(
    'ISSUER_LIFETIME',
    `it would outlive ${issuerName}, which ends at ${new Date(certificate.notAfter * 1000).toISOString()}`,
    {
      next:
        'Lower lifeDays to at most ' +
        `${Math.max(0, Math.floor((certificate.notAfter - now) / day))}, or hold the ceremony ` +
        'for a new root first.',
    },
  );
