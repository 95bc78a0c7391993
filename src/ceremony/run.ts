import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { PkiError, unwrap } from '../common/errors/index.ts';
import type { Clock, Logger, Random } from '../common/runtime/index.ts';
import { version } from '../common/runtime/version.ts';
import { generateKeyPairAsync, pemEncode, sha256Hex, spkiOf } from '../common/x509/index.ts';
import { assembleSigned } from '../certs/index.ts';
import {
  keyLabelPrefix,
  openTokenAdmin,
  readPinFile,
  type KeyHandle,
  type TokenAdmin,
  type TokenConfig,
} from '../hsm/index.ts';
import { draftBelow, draftRoot, type Draft } from './draft.ts';
import { loadPlan, type LoadedPlan } from './plan.ts';
import { certificateFacts, TranscriptWriter, type Facts } from './transcript.ts';

export interface CeremonyOptions {
  readonly planPath: string;
  readonly dryRun: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Path of the Node binary, for the process that uses the token. */
  readonly execPath: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Shows the facts before anything is signed. */
  readonly show: (facts: Facts) => void;
  /** Resolves to undefined if nobody can be asked. */
  readonly confirm: (question: string) => Promise<boolean | undefined>;
}

export interface CeremonyOutcome {
  readonly kind: string;
  readonly facts: Facts;
  /** Absent after a dry run. */
  readonly files?: { readonly out: string; readonly transcript: string };
  /** SHA-256 of the signed object, and of the certificate that signed the transcript. */
  readonly sha256?: string;
  readonly signer?: string;
}

/** Attributes that a key must have. Otherwise `findKey` refuses it (HSM_KEY_UNFIT). */
const keyAttributes = { local: true, alwaysSensitive: true, neverExtractable: true } as const;

/** A ceremony before anything is signed. */
interface Ceremony {
  readonly loaded: LoadedPlan;
  readonly drafted: Draft;
  /** The key that will sign; undefined: it must still be made. */
  readonly known: KeyHandle | undefined;
  readonly token: TokenAdmin;
  readonly files: { readonly out: string; readonly transcript: string };
  readonly options: CeremonyOptions;
}

/**
 * Runs the ceremony of a plan. First everything is read, built, linted and parsed by a second
 * reader. Then it is shown, confirmed and signed. The signed bytes must be the linted ones, and the
 * signature must verify, before anything is written. Files are never overwritten. If a crash left a
 * root's key without its certificate, the same plan with another transcript finishes it: the CKA_ID
 * follows from the plan.
 */
export async function runCeremony(options: CeremonyOptions): Promise<CeremonyOutcome> {
  const loaded = unwrap(await loadPlan(options.planPath));
  const { plan, kind, file } = loaded;
  const drafted =
    kind === 'root'
      ? draftRoot(loaded, await throwawayKey(loaded), options)
      : draftBelow(loaded, options);
  await drafted.readTwice();
  const files = { out: file(drafted.out), transcript: file(plan.transcript) };
  assertNew(Object.values(files));
  await using token = await openTokenAdmin(tokenOf(loaded, options), {
    execPath: options.execPath,
    clock: options.clock,
    logger: options.logger,
  });
  // in a dry run too: a wrong token should be noticed before the day of the ceremony
  const existing = await findKey(loaded, drafted, token);
  const facts = kind === 'root' ? rootFacts(drafted, existing) : drafted.facts;
  options.show({ ...facts, plan: loaded.sha256, token: plan.token.label, out: files.out });
  if (options.dryRun) return { kind, facts };
  const answer = await options.confirm('Sign exactly this? Type yes: ');
  if (answer !== true)
    throw new PkiError(
      'CEREMONY_DECLINED',
      answer === undefined
        ? 'nobody can be asked here: standard input is not a terminal'
        : 'the answer was not yes',
    );
  return await hold({ loaded, drafted, known: existing, token, files, options });
}

function assertNew(paths: readonly string[]): void {
  for (const path of paths)
    if (existsSync(path))
      throw new PkiError('ALREADY_EXISTS', `${path} already exists and is not overwritten`, {
        next: 'Archive it, and let the plan name a new file.',
      });
}

/**
 * A root is drafted with a temporary key before its own exists, so that the digests of the draft
 * are meaningless.
 */
const rootFacts = ({ facts, signerKeyType }: Draft, existing: KeyHandle | undefined): Facts => ({
  what: 'root',
  keyType: signerKeyType,
  notBefore: facts['notBefore'] ?? 0,
  notAfter: facts['notAfter'] ?? 0,
  key:
    existing === undefined
      ? 'will be made in the token'
      : `is already in the token (CKA_ID ${existing.ckaId})`,
});

async function hold(ceremony: Ceremony): Promise<CeremonyOutcome> {
  const transcript = new TranscriptWriter(ceremony.files.transcript, ceremony.options.clock);
  try {
    return await signOnRecord(ceremony, transcript);
  } catch (thrown) {
    const { code, message } = PkiError.from(thrown);
    transcript.record('failed', { code, message });
    transcript.close();
    throw thrown;
  }
}

/** Each step is recorded in the transcript before the next one begins. */
async function signOnRecord(
  ceremony: Ceremony,
  transcript: TranscriptWriter,
): Promise<CeremonyOutcome> {
  const { loaded, drafted, token, files, options } = ceremony;
  const { kind } = loaded;
  const key = await keyOnRecord(ceremony, transcript);
  const draft = kind === 'root' ? draftRoot(loaded, key.spkiDer, options) : drafted;
  await draft.readTwice();
  transcript.record('intent', {
    ...draft.facts,
    tbsSha256: sha256Hex(draft.tbsDer),
    lint: 'passed',
  });
  const signed = assembleSigned(draft.tbsDer, key.keyType, await token.sign(key, draft.tbsDer));
  draft.check(signed);
  transcript.record('signed', {
    ...(draft.label === 'CERTIFICATE'
      ? certificateFacts(signed)
      : { sha256: sha256Hex(signed), der: signed.toString('base64') }),
    lint: 'passed',
  });
  const text = [
    pemEncode(draft.label, signed),
    ...draft.appended.map((der) => pemEncode('CERTIFICATE', der)),
  ].join('');
  writeNew(files.out, text);
  transcript.record('file', { path: draft.out, sha256: sha256Hex(Buffer.from(text)) });
  const signer = draft.issuer?.raw ?? signed;
  await transcript.finish(signer, (bytes) => token.sign(key, bytes));
  return {
    kind,
    facts: draft.facts,
    files,
    sha256: sha256Hex(signed),
    signer: sha256Hex(signer),
  };
}

/** Records the plan and the key. A missing key is made now. */
async function keyOnRecord(
  { loaded, known, token, options }: Ceremony,
  transcript: TranscriptWriter,
): Promise<KeyHandle> {
  const { plan, kind } = loaded;
  transcript.record('plan', {
    ceremony: kind,
    trustDomain: plan.trustDomain,
    note: plan.note ?? '',
    sha256: loaded.sha256,
    text: readFileSync(options.planPath, 'utf8'),
    software: `meshca ${version}`,
  });
  const key = known ?? (await makeRootKey(loaded, token, transcript));
  transcript.record('key', {
    ckaId: key.ckaId,
    keyType: key.keyType,
    publicKeySha256: sha256Hex(key.spkiDer),
    token: plan.token.label,
    made: known === undefined,
    attributes: keyAttributes,
  });
  return key;
}

/**
 * The key that will sign: the key of the issuer's certificate; for a root, the key that an
 * interrupted ceremony of this plan made.
 */
async function findKey(
  loaded: LoadedPlan,
  drafted: Draft,
  token: TokenAdmin,
): Promise<KeyHandle | undefined> {
  const keys = await token.listKeys();
  if (drafted.issuer === undefined) {
    const rootKey = await token.findKey(rootKeyId(loaded));
    return rootKey === undefined
      ? undefined
      : { ckaId: rootKey.ckaId, keyType: drafted.signerKeyType, spkiDer: rootKey.spkiDer };
  }
  const { spkiDer } = drafted.issuer;
  const match = keys.find((key) => key.spkiDer.equals(spkiDer));
  if (match === undefined) {
    throw new PkiError(
      'HSM_KEY_NOT_FOUND',
      `none of the ${keys.length} keys in the token ${loaded.plan.token.label} belongs to ` +
        `the issuer's certificate (SHA-256 of its public key: ${sha256Hex(spkiDer)})`,
      {
        next: 'Connect the token of this root, or give the certificate of the root in this token.',
      },
    );
  }
  await token.findKey(match.ckaId);
  return { ckaId: match.ckaId, keyType: drafted.signerKeyType, spkiDer };
}

async function makeRootKey(
  loaded: LoadedPlan,
  token: TokenAdmin,
  transcript: TranscriptWriter,
): Promise<KeyHandle> {
  const ckaId = rootKeyId(loaded);
  const { keyType } = loaded.plan.root as NonNullable<typeof loaded.plan.root>;
  transcript.record('generate', { ckaId, keyType });
  const { spkiDer } = await token.generateKey({
    ckaId,
    label: `${keyLabelPrefix}${loaded.plan.trustDomain}/root/${ckaId}`,
    keyType,
  });
  return { ckaId, keyType, spkiDer };
}

/**
 * 16 octets that follow from the plan without the name of its transcript, so that the same plan
 * finds the key that it made.
 */
function rootKeyId({ plan }: LoadedPlan): string {
  const { transcript: _transcript, ...rest } = plan;
  return createHash('sha256')
    .update(`meshca ceremony root key\0${JSON.stringify(rest)}`)
    .digest('hex')
    .slice(0, 32);
}

/**
 * A public key of the right type, so that a root can be drafted and linted before its key exists.
 * Nothing is signed for it.
 */
const throwawayKey = async ({ plan }: LoadedPlan): Promise<Buffer> =>
  spkiOf((await generateKeyPairAsync(plan.root?.keyType ?? 'ec-p384')).publicKey);

function tokenOf({ plan, file }: LoadedPlan, options: CeremonyOptions): TokenConfig {
  const { module, softhsmConf, label, pinFile, pinEnv } = plan.token;
  return {
    modulePath: module,
    tokenLabel: label,
    pin: pinOf(label, pinFile === undefined ? undefined : file(pinFile), pinEnv, options),
    ...(softhsmConf === undefined ? {} : { environment: { SOFTHSM2_CONF: file(softhsmConf) } }),
  };
}

function pinOf(
  label: string,
  pinFile: string | undefined,
  pinEnv: string | undefined,
  { env, logger }: CeremonyOptions,
): string {
  if (pinFile !== undefined) return readPinFile(pinFile, label, logger);
  const pin = pinEnv === undefined ? undefined : env[pinEnv];
  if (pin === undefined || pin === '')
    throw new PkiError(
      'HSM_PIN_MISSING',
      pinEnv === undefined
        ? 'the plan has neither token.pinFile nor token.pinEnv'
        : `the variable ${pinEnv} with the PIN is not set`,
    );
  return pin;
}

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: 'wx', mode: 0o644, flush: true });
  } catch (thrown) {
    throw new PkiError(
      'PLAN_INVALID',
      `${path} can not be written (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      {
        next: 'The signed object is in the transcript (field der of the record "signed"): copy it from there.',
      },
    );
  }
}
