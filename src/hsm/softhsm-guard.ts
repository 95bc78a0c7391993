import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { PkiError } from '../common/errors/index.ts';
import { notPermitted } from '../common/unix/path-permission.ts';

import { errorFields, type Logger } from '../common/runtime/index.ts';
import type { TokenConfig } from './token-port.ts';

const defaultConf = '/etc/softhsm/softhsm2.conf';
/** SoftHSM reads only names that end in `.object`. */
const copyName = 'token.object.meshca-copy';

/**
 * Protects SoftHSM 2.6 tokens from loss. At each C_Login SoftHSM truncates the file `token.object`
 * and writes it again, without a sync. If the process is killed in between, or the power fails, the
 * file is empty. Then the key that encrypts all private keys of the token is lost. Therefore,
 * before one of our processes may log in, a complete `token.object` is copied beside it, and a
 * broken one is restored from its copy. The copy holds nothing that the original does not, with the
 * same permissions.
 *
 * Does nothing for other modules, and if the token directory can not be read. Call it before each
 * fork. It is cheap: two small files per token.
 */
export function guardSoftHsm(
  token: Pick<TokenConfig, 'modulePath' | 'environment'>,
  logger: Logger,
): void {
  if (!basename(token.modulePath).startsWith('libsofthsm')) return;
  for (const dir of tokenDirectories(token.environment?.['SOFTHSM2_CONF'] ?? defaultConf)) {
    try {
      guardOne(dir, logger);
    } catch (error) {
      // moved away meanwhile, or not writable for us: the token itself decides whether it can be
      // used
      logger.debug({ ...errorFields(error), dir }, 'a SoftHSM token could not be guarded');
    }
  }
}

/**
 * Why SoftHSM does not find its configuration or a token: this user may not use the files. SoftHSM
 * itself reports a general error then, or no token. Undefined where that is not the reason.
 */
export function softHsmDenied(
  token: Pick<TokenConfig, 'modulePath' | 'environment'>,
  thrown: unknown,
): PkiError | undefined {
  const { code } = PkiError.from(thrown);
  if (!basename(token.modulePath).startsWith('libsofthsm')) return undefined;
  if (code !== 'HSM_UNAVAILABLE' && code !== 'HSM_TOKEN_NOT_FOUND' && code !== 'HSM_FAILED')
    return undefined;
  const confPath = token.environment?.['SOFTHSM2_CONF'] ?? defaultConf;
  const unread = notPermitted(confPath, thrown, 'read');
  if (unread !== undefined) return unread;
  const root = existsSync(confPath) ? tokenRoot(confPath) : undefined;
  if (root === undefined) return undefined;
  return [root, ...tokenDirectories(confPath)]
    .map((path) => notPermitted(path, thrown))
    .find((error) => error !== undefined);
}

function guardOne(dir: string, logger: Logger): void {
  const [path, copyPath] = [join(dir, 'token.object'), join(dir, copyName)];
  if (!existsSync(path)) return;
  let present = readFileSync(path);
  // another process may be writing it at this moment: look again before it counts as broken
  for (let looks = 0; !isWholeObject(present) && looks < 5; looks += 1) {
    pause(20);
    present = readFileSync(path);
  }
  if (isWholeObject(present)) {
    // compare without the generation, which each login raises
    if (!existsSync(copyPath) || !readFileSync(copyPath).subarray(8).equals(present.subarray(8)))
      writeWhole(copyPath, present, path);
    return;
  }
  const copy = existsSync(copyPath) ? readFileSync(copyPath) : undefined;
  if (copy === undefined || !isWholeObject(copy)) {
    logger.error(
      { path, bytes: present.length },
      'a SoftHSM token is broken (its token.object is incomplete) and has no copy: restore ' +
        'the token directory from a backup',
    );
    return;
  }
  writeWhole(path, copy, copyPath);
  logger.warn(
    { path },
    'a SoftHSM token was broken, as after a process was killed during its login; its ' +
      'token.object was restored from the copy',
  );
}

/** Writes the complete file or nothing, durably. Owner and mode are those of the file `like`. */
function writeWhole(path: string, bytes: Buffer, like: string): void {
  // SoftHSM writes it in place; two of our processes at once write the same bytes
  const temporary = `${path}.tmp-${randomBytes(6).toString('hex')}`;
  const file = openSync(temporary, 'wx', statSync(like).mode & 0o777);
  try {
    writeFileSync(file, bytes);
    fsyncSync(file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  renameSync(temporary, path);
  const dir = openSync(join(path, '..'), 'r');
  fsyncSync(dir);
  closeSync(dir);
}

/** The folder above those of the tokens, with the file backend. */
function tokenRoot(confPath: string): string | undefined {
  const conf = readFileSync(confPath, 'utf8');
  const setting = (name: string): string | undefined =>
    new RegExp(`^[ \\t]*${name.replace('.', '\\.')}[ \\t]*=[ \\t]*(.+?)[ \\t]*$`, 'm').exec(
      conf,
    )?.[1];
  return (setting('objectstore.backend') ?? 'file') === 'file'
    ? setting('directories.tokendir')
    : undefined;
}

/** The folders of the tokens in a softhsm2.conf with the file backend. */
function tokenDirectories(confPath: string): readonly string[] {
  try {
    const root = tokenRoot(confPath);
    if (root === undefined) return [];
    return readdirSync(root, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(root, entry.name));
  } catch {
    return [];
  }
}

/**
 * Checks the format of SoftHSM's object file: the generation (8 bytes), then attributes to the end.
 * Each attribute has a type (8 bytes), a kind (8 bytes) and a value. Kind 1 is a boolean (1 byte),
 * kind 2 a number (8 bytes), kind 3 bytes after their length (8 bytes). A token's own object has no
 * other kinds.
 */
export function isWholeObject(bytes: Buffer): boolean {
  let [offset, attributes] = [8, 0];
  while (offset < bytes.length) {
    if (offset + 16 > bytes.length) return false;
    const kind = bytes.readBigUInt64BE(offset + 8);
    offset += 16;
    if (kind === 1n) offset += 1;
    else if (kind === 2n) offset += 8;
    else if (kind === 3n) {
      if (offset + 8 > bytes.length) return false;
      const length = bytes.readBigUInt64BE(offset);
      if (length > BigInt(bytes.length)) return false;
      offset += 8 + Number(length);
    } else return false;
    attributes += 1;
  }
  return attributes > 0 && offset === bytes.length;
}

/** Blocks for a moment. Used only if a token seems broken, when nothing could be signed anyway. */
const pause = (ms: number): void =>
  void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
