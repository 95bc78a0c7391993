import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { isUuid, uuidv7 } from '../../common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  keyTypes,
  pemEncode,
  pkcs8Of,
  type KeyType,
} from '../../common/x509/index.ts';
import { action, collect, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { expectFolder, writeWhole } from '../files.ts';
import { facts, instant, json, parseDuration } from '../output.ts';

interface MintFlags {
  readonly spiffeId?: string;
  readonly dns?: readonly string[];
  readonly ttl?: string;
  readonly keyType: string;
  readonly admin?: boolean;
  readonly write: string;
  readonly result?: string;
  readonly replace?: boolean;
}

interface Minted {
  readonly spiffeId: string;
  readonly serial: string;
  readonly notAfter: number;
  readonly chainDer: readonly Buffer[];
  readonly rootsDer: readonly Buffer[];
}

/**
 * Issues one certificate by hand. Its key is made here. If the call waits for approval, the key is
 * kept here until its certificate comes.
 */
export function mintCommand(program: Command, context: CliContext, outcome: Outcome): void {
  program
    .command('mint')
    .description(
      'issue one certificate for an identity by hand; the key is made here and never leaves this machine',
    )
    .option('--spiffe-id <id>', 'the identity')
    .option('--dns <name>', 'repeat: DNS names', collect)
    .option('--ttl <duration>', 'life')
    .option('--key-type <type>', keyTypes.join(', '), 'ec-p256')
    .option('--admin', 'the certificate may use the admin API within its roles')
    .requiredOption('--write <dir>', 'existing folder for svid.pem, key.pem (0600) and bundle.pem')
    .option('--replace', 'replace these files if they exist')
    .option(
      '--result <operation>',
      'under dual control, instead of --spiffe-id: get the certificate of a call that has been approved',
    )
    .action(
      action<MintFlags>(context, outcome, async (options) => {
        if ((options.spiffeId === undefined) === (options.result === undefined))
          throw new PkiError('INVALID_REQUEST', 'give either --spiffe-id or --result');
        expectFolder(options.write);
        if (options.replace !== true) expectNone(options);
        const minted =
          options.result === undefined
            ? await mint(context, options, options.spiffeId as string)
            : await collectHeld(context, options, options.result);
        const paths = {
          svid: join(options.write, 'svid.pem'),
          key: keyPath(options),
          bundle: join(options.write, 'bundle.pem'),
        };
        writeWhole(paths.svid, certificatesToPem(minted.chainDer), 0o644);
        writeWhole(paths.bundle, certificatesToPem(minted.rootsDer), 0o644);
        if (options.json)
          json(context, {
            serial: minted.serial,
            spiffeId: minted.spiffeId,
            notAfter: minted.notAfter,
            files: paths,
          });
        else
          facts(context, [
            ['spiffe id', minted.spiffeId],
            ['serial', minted.serial],
            ['ends', instant(minted.notAfter)],
            ['written', Object.values(paths).join('\n')],
          ]);
      }),
    );
}

/** Called before a certificate is made whose key would replace another. Throws INVALID_REQUEST. */
function expectNone({ write }: MintFlags): void {
  for (const name of ['svid.pem', 'key.pem', 'bundle.pem'])
    if (existsSync(join(write, name)))
      throw new PkiError('INVALID_REQUEST', `${join(write, name)} exists already`, {
        next: 'Name another folder, or add --replace.',
      });
}

const keyPath = ({ write }: MintFlags): string => join(write, 'key.pem');
const waitingKeyPath = ({ write }: MintFlags, operation: string): string =>
  join(write, `key.${operation}.pem`);

async function mint(
  context: CliContext,
  options: MintFlags & GlobalOptions,
  spiffeId: string,
): Promise<Minted> {
  if (!(keyTypes as readonly string[]).includes(options.keyType))
    throw new PkiError(
      'KEY_UNSUPPORTED',
      `--key-type ${JSON.stringify(options.keyType)} is unknown`,
    );
  const { privateKey } = await generateKeyPairAsync(options.keyType as KeyType);
  const keyPem = pemEncode('PRIVATE KEY', pkcs8Of(privateKey));
  try {
    const minted = await withAdmin(context, options, 'Certificates', (calls) =>
      calls.call('MintX509Svid', {
        spiffeId,
        dnsNames: [...(options.dns ?? [])],
        csrDer: createCsr(privateKey),
        ttlSeconds: options.ttl === undefined ? 0 : parseDuration(options.ttl),
        admin: options.admin ?? false,
        requestId: uuidv7(),
      }),
    );
    writeWhole(keyPath(options), keyPem, 0o600);
    return minted;
  } catch (thrown) {
    const error = PkiError.from(thrown);
    const operation = error.detail['operationId'];
    if (
      error.code !== 'APPROVAL_REQUIRED' ||
      typeof operation !== 'string' ||
      // it becomes part of a file name
      !isUuid(operation)
    )
      throw error;
    // the approval covers a certificate with exactly this key
    writeWhole(waitingKeyPath(options, operation), keyPem, 0o600);
    throw new PkiError(error.code, error.message, {
      cause: error,
      detail: error.detail,
      next:
        `${error.next} The key is kept in ${waitingKeyPath(options, operation)}. Within an ` +
        `hour of the approval: meshca mint --result ${operation} --write ${options.write}`,
    });
  }
}

async function collectHeld(
  context: CliContext,
  options: MintFlags & GlobalOptions,
  operation: string,
): Promise<Minted> {
  const waiting = waitingKeyPath(options, operation);
  // the result can be taken once, so the key is looked up first
  if (!isUuid(operation) || !existsSync(waiting))
    throw new PkiError(
      'NOT_FOUND',
      `there is no key for the operation ${operation} in ${options.write}`,
      {
        next: 'Give the operation and the folder that "meshca mint" named when the call began to wait.',
      },
    );
  const { responseJson } = await withAdmin(context, options, 'Approvals', (calls) =>
    calls.call('TakeResult', { id: operation }),
  );
  const { serial, spiffeId, notAfter, chainDer, rootsDer } = JSON.parse(responseJson) as {
    serial: string;
    spiffeId: string;
    notAfter: number;
    chainDer: string[];
    rootsDer: string[];
  };
  renameSync(waiting, keyPath(options));
  const bytes = (texts: readonly string[]): Buffer[] =>
    texts.map((text) => Buffer.from(text, 'base64'));
  return {
    serial,
    spiffeId,
    notAfter: Number(notAfter),
    chainDer: bytes(chainDer),
    rootsDer: bytes(rootsDer),
  };
}
