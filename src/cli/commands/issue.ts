import { createPrivateKey, type KeyObject } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { TrustDomain } from '../../common/spiffe/index.ts';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../common/x509/index.ts';
import {
  endTokenCertificate,
  issueWithToken,
  newTokenKey,
  type TokenClientOptions,
  type TokenSvid,
} from '../../common/wire/token-client.ts';
import { whileItMayPass } from '../../common/wire/token-retry.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { readBytes, writeWhole } from '../files.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';
import { fingerprintsOf } from '../server-issuer.ts';
import {
  rootsInPem,
  tokenCallTimeoutMs,
  tokenClientOf,
  type TokenClientFlags,
} from '../token-client-options.ts';
import { jobToken, type TokenSourceFlags } from '../token-source.ts';
import { unreachable } from '../unreachable.ts';

interface IssueFlags extends TokenSourceFlags, TokenClientFlags {
  readonly spiffeId?: string;
  readonly ttl?: string;
  readonly out: string;
  readonly wait: string;
}

/** What `give-back` needs, beside the certificate and its key. */
interface Issued {
  readonly server: string;
  readonly trustDomain: string;
  readonly issuersSha256: readonly string[];
  readonly serial: string;
  readonly notAfter: number;
}

const names = {
  chain: 'svid.pem',
  key: 'svid_key.pem',
  bundle: 'bundle.pem',
  issued: 'issued.json',
} as const;

/** Certificates for jobs of pipelines, without an agent. */
export function issueCommands(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('issue')
    .description('obtain a certificate for minutes with the token of a CI job; needs --server')
    .option('--oidc', 'by a token of an OIDC issuer or cluster (tokens.issuers of the server)')
    .option('--token-file <file>', 'file with the token')
    .option('--token-env <name>', 'variable with the token')
    .option('--token-stdin', 'the token comes on standard input')
    .option('--audience <text>', 'GitHub Actions: the audience to ask for; default meshca')
    .option('--trust-domain <name>', 'the trust domain of the server')
    .option(
      '--root-fingerprint <sha256>',
      'of a root of the server, where no --bundle is there; several with commas',
    )
    .option('--spiffe-id <id>', 'the identity that is wanted, if the token gives several')
    .option('--ttl <duration>', 'life, for example 5m; default: as the entry says')
    .option(
      '--wait <duration>',
      'how long to try again while the CA can not answer; 0: not at all',
      '30s',
    )
    .option(
      '--out <folder>',
      'folder for svid.pem, svid_key.pem (0600) and bundle.pem; made if it is not there',
      'svid',
    )
    .action(action<IssueFlags>(context, outcome, (options) => issue(context, options)));
  program
    .command('give-back <folder>')
    .description(
      'end of a job: delete the key, give the certificate of "meshca issue" back, revoke it if it is revocable',
    )
    .action(
      action<object>(context, outcome, (options, [folder]) =>
        giveBack(context, options, folder as string),
      ),
    );
}

async function issue(context: CliContext, options: IssueFlags & GlobalOptions): Promise<void> {
  const issuersSha256 = fingerprintsOf(options.issuerFingerprint);
  const client = tokenClientOf(context, options, issuersSha256);
  const ttlSeconds = options.ttl === undefined ? 0 : parseDuration(options.ttl);
  const waitMs = options.wait === '0' ? 0 : parseDuration(options.wait) * 1000;
  const folder = resolve(options.out);
  prepareFolder(folder);
  const token = await jobToken(context, options);
  const key = await newTokenKey();
  const { signal } = context;
  const explain = (error: PkiError): PkiError => unreachable(error, client.server);
  const svid = await whileItMayPass({ waitMs, signal, explain }, () =>
    issueWithToken(client, { token, key, ttlSeconds, spiffeId: options.spiffeId ?? '' }),
  ).catch((thrown: unknown) => {
    throw signal.aborted ? interrupted() : thrown;
  });
  write(folder, svid, {
    server: client.server,
    trustDomain: client.trustDomain.name,
    issuersSha256,
    serial: svid.serial,
    notAfter: svid.notAfter,
  });
  const shown = {
    ...svid,
    folder,
    privateKey: undefined,
    chainDer: undefined,
    rootsDer: undefined,
  };
  if (options.json) json(context, shown);
  else
    facts(context, [
      ['identity', svid.spiffeId],
      ['serial', svid.serial],
      ['entry', svid.entryId],
      ['ends', `${instant(svid.notAfter)} (${until(svid.notAfter, context.now())})`],
      [
        'written',
        [names.chain, names.key, names.bundle].map((each) => join(folder, each)).join(', '),
      ],
    ]);
}

/** The server ends a call whose caller has left only until the certificate is on record. */
const interrupted = (): PkiError =>
  new PkiError('CANCELLED', 'interrupted while the server was asked for the certificate', {
    next:
      'The server may have used the token up. The certificate has no key then, and ends by ' +
      'itself. Run the command again, with a new token if that one was used.',
  });

/** The folder is for its owner alone: it holds a key. */
function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
  } catch (thrown) {
    throw new PkiError(
      'INVALID_REQUEST',
      `${folder} can not be used (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
      { next: 'Name a folder of your own with --out.' },
    );
  }
}

function write(folder: string, svid: TokenSvid, issued: Issued): void {
  // first: "give-back" knows by it that the key is one of ours
  writeWhole(join(folder, names.issued), `${JSON.stringify(issued)}\n`, 0o600);
  writeWhole(join(folder, names.key), pemEncode('PRIVATE KEY', pkcs8Of(svid.privateKey)), 0o600);
  writeWhole(join(folder, names.chain), certificatesToPem(svid.chainDer), 0o644);
  writeWhole(join(folder, names.bundle), certificatesToPem(svid.rootsDer), 0o644);
}

/** What "meshca issue" wrote into a folder. */
interface Written {
  readonly issued: Issued;
  readonly trustDomain: TrustDomain;
  readonly privateKey: KeyObject;
  readonly chainDer: readonly Buffer[];
  readonly roots: readonly Buffer[];
}

/** @throws PkiError INVALID_REQUEST, also where a file is damaged */
function readWritten(at: (name: string) => string): Written {
  try {
    const issued = JSON.parse(readBytes(at(names.issued)).toString('utf8')) as Issued;
    return {
      issued: { ...issued, issuersSha256: [...issued.issuersSha256] },
      trustDomain: unwrap(TrustDomain.parseName(issued.trustDomain)),
      privateKey: createPrivateKey(readBytes(at(names.key))),
      chainDer: rootsInPem(readBytes(at(names.chain)), at(names.chain)),
      roots: rootsInPem(readBytes(at(names.bundle)), at(names.bundle)),
    };
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    throw new PkiError('INVALID_REQUEST', `a file is damaged: ${(thrown as Error).message}`);
  }
}

/** Reads the files, and deletes all but the bundle in any case: nobody finds the key here any more. */
function takeWritten(at: (name: string) => string): Written {
  let written: Written | undefined;
  let unreadable: PkiError | undefined;
  try {
    written = readWritten(at);
  } catch (thrown) {
    unreadable = PkiError.from(thrown);
  }
  for (const name of [names.key, names.chain, names.issued]) rmSync(at(name), { force: true });
  if (written !== undefined) return written;
  throw new PkiError(
    'INVALID_REQUEST',
    `the key is deleted, but its certificate is not given back: ${unreadable?.message ?? ''}`,
    {
      next:
        'The certificate ends by itself, within minutes. To revoke a revocable one before: ' +
        'find it with "meshca certificate list --kind token", then "meshca certificate revoke ' +
        'SERIAL".',
    },
  );
}

async function giveBack(
  context: CliContext,
  options: GlobalOptions,
  folder: string,
): Promise<void> {
  const at = (name: string): string => join(folder, name);
  if (!existsSync(at(names.issued)))
    throw new PkiError('NOT_FOUND', `${folder} holds nothing that "meshca issue" wrote`, {
      next: 'Name the folder of --out of "meshca issue". After the first give-back it holds no key any more.',
    });
  const { issued, trustDomain, privateKey, chainDer, roots } = takeWritten(at);
  const { server, issuersSha256, serial, notAfter } = issued;
  const client: TokenClientOptions = {
    server,
    trustDomain,
    trust: {
      kind: 'bundle',
      roots: () => roots,
      issuers: () =>
        issuersSha256.length === 0
          ? { kind: 'mark' }
          : { kind: 'keys', sha256Hex: new Set(issuersSha256) },
      settings: { root: '--bundle', issuer: '--issuer-fingerprint' },
    },
    timeoutMs: tokenCallTimeoutMs,
    signal: context.signal,
    now: context.now,
  };
  try {
    const { revoked } = await endTokenCertificate(client, { privateKey, chainDer });
    if (options.json) json(context, { serial, revoked, notAfter });
    else
      context.out(
        `given back ${serial}: the key is deleted, ` +
          `${revoked ? 'and the certificate is revoked' : `and the certificate ends at ${instant(notAfter)}`}\n`,
      );
  } catch (thrown) {
    const error = context.signal.aborted
      ? new PkiError('CANCELLED', 'interrupted')
      : unreachable(PkiError.from(thrown), server);
    throw new PkiError(
      error.code,
      `the key is deleted, but ${serial} may not be given back: ${error.message}`,
      {
        cause: error,
        detail: error.detail,
        next:
          `The certificate ends at ${instant(notAfter)}. To revoke a revocable one before: ` +
          `meshca certificate revoke ${serial}`,
      },
    );
  }
}
